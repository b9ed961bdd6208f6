//! The work of one generator thread: ask the schedule, send, record.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::client::{Answer, Client, Failure, Keep};
use super::generator::StageOrder;
use super::load::Load;
use super::requests::{Picker, Prepared};
use super::schedule::{End, Schedule, Share, Ticket};
use super::tally::Tally;
use super::timer::Timer;
use cresset_clock as clock;

/// A client that can't connect waits this long before it tries again: a server
/// that is restarting needs its processor for that.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The dispatcher lets connections move after this many late requests.
const AT_ONCE: usize = 32;

/// What the clients of a thread share.
pub(super) struct Shared {
    order: Arc<StageOrder>,
    schedule: RefCell<Schedule>,
    picker: RefCell<Picker>,
    pub(super) tally: RefCell<Tally>,
    pub(super) under_way: RefCell<u64>,
    end: Arc<End>,
}

impl Shared {
    pub(super) fn new(order: &Arc<StageOrder>, share: Share, end: Arc<End>, began: Instant) -> Result<Self> {
        let windows = super::schedule::Windows::of(&order.stage, began);
        Ok(Self {
            schedule: RefCell::new(Schedule::begin(&order.stage, share, order.seed, began)),
            picker: RefCell::new(order.requests.picker(share, order.seed)),
            tally: RefCell::new(Tally::new(windows, Arc::clone(&end), order.limit)?),
            under_way: RefCell::new(0),
            order: Arc::clone(order),
            end,
        })
    }

    /// The next request, unless the stage has ended.
    fn next(&self, now: Instant) -> Option<Ticket> {
        if self.end.passed(now) {
            return None;
        }
        self.schedule.borrow_mut().next(now)
    }

    /// Sends one request and records its result.
    async fn send(&self, client: &mut Client, ticket: Ticket, now: Instant) -> (Instant, bool) {
        let number = self.picker.borrow_mut().pick();
        let prepared = &self.order.requests.all[number];
        *self.under_way.borrow_mut() += 1;
        let result = exchange(client, prepared, now).await;
        let end = clock::now();
        *self.under_way.borrow_mut() -= 1;
        let mut tally = self.tally.borrow_mut();
        tally.record(ticket, end, &result);
        tally.reconnects += client.take_reconnects();
        (end, !matches!(result, Err(Failure::Connect { .. })))
    }
}

async fn exchange(client: &mut Client, prepared: &Prepared, now: Instant) -> Result<Answer, Failure> {
    let Some(expected) = &prepared.expected else {
        return client.send(&prepared.payload, now, Keep::Errors).await;
    };
    let answer = client.send(&prepared.payload, now, Keep::Everything).await?;
    if answer.status.is_ok() {
        expected.check(&answer).map_err(Failure::Wrong)?;
    }
    Ok(answer)
}

/// The connections that a thread begins with: all for a closed loop, one for an
/// open loop, to check that the server answers.
pub(super) async fn connect(order: &StageOrder, share: Share) -> Result<Vec<Client>> {
    let count = match order.stage.load {
        Load::Closed { concurrency } => share.of(concurrency.get() as u64),
        Load::Open { .. } => 1,
    };
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        connecting.spawn_local(Client::connect(Arc::clone(&order.site), order.timeout));
    }
    let mut clients = Vec::new();
    while let Some(client) = connecting.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

/// Sends all requests of the schedule, and waits for every answer.
pub(super) async fn run(
    clients: Vec<Client>,
    shared: Rc<Shared>,
    share: Share,
    began: Instant,
) -> Result<()> {
    tokio::time::sleep_until(began.into()).await;
    match shared.order.stage.load {
        Load::Closed { .. } => closed(clients, shared).await,
        Load::Open { .. } => open(clients, shared, share).await,
    }
}

async fn closed(clients: Vec<Client>, shared: Rc<Shared>) -> Result<()> {
    let mut workers = JoinSet::new();
    for client in clients {
        workers.spawn_local(work(client, Rc::clone(&shared)));
    }
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(())
}

/// One client of a closed loop.
async fn work(mut client: Client, shared: Rc<Shared>) {
    let mut now = clock::now();
    while let Some(ticket) = shared.next(now) {
        let (end, connected) = shared.send(&mut client, ticket, now).await;
        now = end;
        if !connected {
            tokio::time::sleep(BACK_OFF).await;
            now = clock::now();
        }
    }
}

/// The connections of an open loop. They are made as the load needs them, up to
/// a limit. Beyond it, requests wait here, and the wait counts as latency.
struct Pool {
    idle: Vec<Client>,
    made: usize,
    most: usize,
    waiting: VecDeque<Ticket>,
}

async fn open(clients: Vec<Client>, shared: Rc<Shared>, share: Share) -> Result<()> {
    let timer = Timer::new().context("cannot make a timer")?;
    let most = share.of(shared.order.max_connections.get() as u64).max(1) as usize;
    let made = clients.len();
    let pool = Rc::new(RefCell::new(Pool { idle: clients, made, most, waiting: VecDeque::new() }));
    let mut sending = JoinSet::new();
    let mut at_once = 0;
    let mut next = shared.next(clock::now());
    while let Some(ticket) = next {
        let now = clock::now();
        if ticket.due > now || at_once >= AT_ONCE {
            at_once = 0;
            timer.until(ticket.due).await?;
            // Finished tasks take memory until they are joined.
            while sending.try_join_next().is_some() {}
            // The stage may have ended during the sleep.
            if shared.end.passed(clock::now()) {
                break;
            }
            continue;
        }
        at_once += 1;
        dispatch(ticket, &pool, &shared, &mut sending);
        next = shared.next(now);
    }
    while let Some(sent) = sending.join_next().await {
        sent?;
    }
    Ok(())
}

fn dispatch(ticket: Ticket, pool: &Rc<RefCell<Pool>>, shared: &Rc<Shared>, sending: &mut JoinSet<()>) {
    let client = {
        let mut pool = pool.borrow_mut();
        match pool.idle.pop() {
            Some(client) => client,
            None if pool.made < pool.most => {
                pool.made += 1;
                Client::new(Arc::clone(&shared.order.site), shared.order.timeout)
            }
            None => {
                pool.waiting.push_back(ticket);
                shared.tally.borrow_mut().held += 1;
                return;
            }
        }
    };
    sending.spawn_local(serve(client, ticket, Rc::clone(pool), Rc::clone(shared)));
}

/// One connection of an open loop: serves this request, then waiting ones.
async fn serve(mut client: Client, ticket: Ticket, pool: Rc<RefCell<Pool>>, shared: Rc<Shared>) {
    let mut now = clock::now();
    shared.tally.borrow_mut().sent(ticket, now);
    let mut ticket = ticket;
    loop {
        (now, _) = shared.send(&mut client, ticket, now).await;
        let waiting = pool.borrow_mut().waiting.pop_front();
        match waiting {
            Some(next) => ticket = next,
            None => break,
        }
    }
    pool.borrow_mut().idle.push(client);
}
