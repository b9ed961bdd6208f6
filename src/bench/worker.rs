//! The one loop: ask the schedule, send, record.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;

use super::client::{Client, Failure, Keep};
use super::cpu;
use super::payload::Payload;
use super::plan::{Schedule, Stage, Turn};
use super::site::Site;
use super::tally::Tally;
use crate::clock;

/// A client that can't connect waits this long before it tries again: a server
/// that is starting anew needs its processor for that.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A stage that has ended.
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// How long its window was open.
    pub(super) open_for: Duration,
    /// The generator's processor time as a part of the whole stage.
    pub(super) own_cpu: Option<f64>,
    /// By SIGINT: what was under way then is not counted.
    pub(super) interrupted: bool,
}

/// What the clients of a stage share; they live on one thread.
struct Shared {
    schedule: RefCell<Schedule>,
    tally: RefCell<Tally>,
    payload: Rc<Payload>,
}

/// Runs one stage: all connections first, then the load.
pub(super) async fn run(
    stage: &Stage,
    site: &Rc<Site>,
    payload: &Rc<Payload>,
    timeout: Duration,
    interrupt: &mut Signal,
) -> Result<Measured> {
    let clients = connect(stage.load.clients(), site, timeout).await?;
    let (began, cpu_before) = (clock::now(), cpu::thread_time());
    let schedule = Schedule::begin(stage, began);
    let shared = Rc::new(Shared {
        tally: RefCell::new(Tally::new(schedule.window())?),
        schedule: RefCell::new(schedule),
        payload: Rc::clone(payload),
    });

    let mut workers = JoinSet::new();
    for client in clients {
        workers.spawn_local(work(client, Rc::clone(&shared)));
    }
    let interrupted = tokio::select! {
        ended = finish(&mut workers) => { ended?; false }
        _ = interrupt.recv() => true,
    };
    workers.shutdown().await;

    let ended = clock::now();
    let elapsed = (ended - began).as_secs_f64();
    let own_cpu = cpu_before
        .zip(cpu::thread_time())
        .map(|(before, after)| after.saturating_sub(before).as_secs_f64() / elapsed);
    let Shared { schedule, tally, .. } = Rc::into_inner(shared).context("a client outlived its stage")?;
    let tally = tally.into_inner();
    let open_for = schedule.into_inner().open_for(tally.last, ended);
    Ok(Measured { tally, open_for, own_cpu, interrupted })
}

async fn finish(workers: &mut JoinSet<()>) -> Result<()> {
    while let Some(worker) = workers.join_next().await {
        worker?;
    }
    Ok(())
}

/// Makes all connections at once; the first that fails is the answer.
async fn connect(count: usize, site: &Rc<Site>, timeout: Duration) -> Result<Vec<Client>> {
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        connecting.spawn_local(Client::connect(Rc::clone(site), timeout));
    }
    let mut clients = Vec::with_capacity(count);
    while let Some(client) = connecting.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

/// Sends until the schedule says stop.
async fn work(mut client: Client, shared: Rc<Shared>) {
    let mut now = clock::now();
    loop {
        let turn = shared.schedule.borrow_mut().turn(now);
        let ticket = match turn {
            Turn::Send(ticket) => ticket,
            Turn::Stop => return,
        };
        let result = client.send(&shared.payload, now, Keep::Errors).await;
        now = clock::now();
        {
            let mut tally = shared.tally.borrow_mut();
            tally.record(ticket, now, &result);
            tally.reconnects += client.take_reconnects();
        }
        if let Err(Failure::Connect { .. }) = result {
            tokio::time::sleep(BACK_OFF).await;
            now = clock::now();
        }
    }
}
