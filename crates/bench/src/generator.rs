//! One generator thread: its own runtime, its clients, and its messages.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::cpu;
use super::plan::Stage;
use super::requests::Requests;
use super::schedule::{End, Share};
use super::site::Site;
use super::tally::{Interval, Tally};
use super::worker::{self, Shared};

/// What all threads of a stage do.
#[derive(Debug)]
pub(super) struct StageOrder {
    pub(super) stage: Stage,
    pub(super) site: Arc<Site>,
    pub(super) requests: Arc<Requests>,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    /// An answer later than this doesn't count as good.
    pub(super) limit: Option<Duration>,
    /// Of an open loop, for all threads together.
    pub(super) max_connections: NonZeroUsize,
}

/// Signals from the conductor to a thread.
#[derive(Debug, Clone)]
pub(super) struct Baton {
    /// When to begin, set once all threads are ready.
    pub(super) began: watch::Receiver<Option<Instant>>,
    /// No more requests are sent; requests under way are waited for.
    pub(super) end: Arc<End>,
    /// Stop at once.
    pub(super) abort: CancellationToken,
}

/// A thread's messages to the conductor.
#[derive(Debug)]
pub(super) enum Word {
    /// It is connected.
    Ready,
    /// What was counted since the last message; the first is the warm-up.
    Interval { counts: Interval, under_way: u64 },
    /// It is done.
    Done(Result<Box<Counts>>),
}

/// All that one thread measured.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) tally: Tally,
    pub(super) processor_time: Duration,
}

/// Runs one thread's share; returns when it is done.
pub(super) fn run(
    order: &Arc<StageOrder>,
    share: Share,
    baton: Baton,
    words: &mpsc::UnboundedSender<(usize, Word)>,
) {
    let done = generate(order, share, baton, words).map(Box::new);
    // The conductor may have given up after an error of another thread.
    let _ = words.send((share.thread, Word::Done(done)));
}

fn generate(
    order: &Arc<StageOrder>,
    share: Share,
    baton: Baton,
    words: &mpsc::UnboundedSender<(usize, Word)>,
) -> Result<Counts> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the generator's runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let Baton { mut began, end, abort } = baton;
        let clients = worker::connect(order, share).await?;
        words.send((share.thread, Word::Ready))?;
        let began = began.wait_for(Option::is_some).await?.context("no time to begin at")?;

        let cpu_before = cpu::thread_time();
        let shared = Rc::new(Shared::new(order, share, end, began)?);
        tokio::select! {
            done = worker::run(clients, Rc::clone(&shared), share, began) => done?,
            failed = report(&shared, order, share, began, words) => failed?,
            () = abort.cancelled() => {}
        }
        let processor_time = cpu::thread_time().saturating_sub(cpu_before);
        send_interval(&shared, share, words)?;
        // Aborted clients still hold it: what it counted is taken out.
        let empty = Tally::new(super::schedule::Windows::of(&order.stage, began), Arc::default(), None)?;
        Ok(Counts { tally: shared.tally.replace(empty), processor_time })
    })
}

/// Sends the counts at the end of the warm-up and at every interval after it.
async fn report(
    shared: &Shared,
    order: &StageOrder,
    share: Share,
    began: Instant,
    words: &mpsc::UnboundedSender<(usize, Word)>,
) -> Result<()> {
    let mut due = began + order.stage.warm_up;
    loop {
        tokio::time::sleep_until(due.into()).await;
        send_interval(shared, share, words)?;
        due += order.stage.interval();
    }
}

fn send_interval(shared: &Shared, share: Share, words: &mpsc::UnboundedSender<(usize, Word)>) -> Result<()> {
    let counts = shared.tally.borrow_mut().take_interval()?;
    let under_way = *shared.under_way.borrow();
    words.send((share.thread, Word::Interval { counts, under_way }))?;
    Ok(())
}
