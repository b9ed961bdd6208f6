//! One stage from its first connection to its last answer: starts the threads,
//! listens to them, and says when the stage ends.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::generator::{self, Baton, Counts, StageOrder, Word};
use super::load::Load;
use super::progress::Progress;
use super::schedule::{End, Share, Windows};
use super::series::{Point, Series};
use super::statistics::{ServerTimes, Snapshot, Statistician};
use super::tally::{PartTally, Tally};
use cresset_clock as clock;

/// Between the message that all threads are ready and the first request.
const RUN_UP: Duration = Duration::from_millis(2);
/// How often the progress line is updated.
const TICK: Duration = Duration::from_millis(250);

/// A stage that has ended.
#[derive(Debug)]
pub(super) struct Measured {
    /// The parts that were reached.
    pub(super) parts: Vec<MeasuredPart>,
    pub(super) series: Vec<Point>,
    pub(super) lag: Histogram<u64>,
    pub(super) held: u64,
    pub(super) reconnects: u64,
    /// The generator's processor time as a part of the whole stage: of all
    /// threads, and of the busiest.
    pub(super) own_cpu: f64,
    pub(super) busiest: f64,
    /// Whether windows in a row agreed; `None` if stability wasn't asked for.
    pub(super) stable: Option<bool>,
    /// Whether SIGINT ended it: requests under way at that time are not
    /// counted.
    pub(super) interrupted: bool,
}

/// A part of a stage.
#[derive(Debug)]
pub(super) struct MeasuredPart {
    pub(super) tally: PartTally,
    /// How long its window was open in the end.
    pub(super) open_for: Duration,
    pub(super) server: Option<ServerTimes>,
}

/// What all stages of a run share.
pub(super) struct Stand<'a> {
    pub(super) threads: usize,
    pub(super) statistician: Option<&'a Statistician>,
    pub(super) interrupt: &'a mut Signal,
    pub(super) progress: &'a mut Progress,
}

/// Runs one stage: all connections first, then the load.
pub(super) async fn run(order: StageOrder, stand: &mut Stand<'_>) -> Result<Measured> {
    let order = Arc::new(order);
    let mut stage = Running::start(&order, stand.threads)?;
    let measured = stage.conduct(&order, stand).await;
    // After an error the other threads are still running.
    stage.abort.cancel();
    for thread in stage.threads.drain(..) {
        // The thread has sent all its messages; a panic has been printed.
        let _ = thread.join();
    }
    measured
}

struct Running {
    threads: Vec<thread::JoinHandle<()>>,
    words: mpsc::UnboundedReceiver<(usize, Word)>,
    began: watch::Sender<Option<Instant>>,
    end: Arc<End>,
    abort: CancellationToken,
}

impl Running {
    fn start(order: &Arc<StageOrder>, threads: usize) -> Result<Self> {
        let threads = match order.stage.load {
            Load::Closed { concurrency } => threads.min(concurrency.get()),
            Load::Open { .. } => threads,
        };
        let (say, words) = mpsc::unbounded_channel();
        let (began, told) = watch::channel(None);
        let (end, abort) = (Arc::new(End::default()), CancellationToken::new());
        let mut running = Self { threads: Vec::new(), words, began, end, abort };
        for thread in 0..threads {
            let (share, order, say) = (Share { thread, threads }, Arc::clone(order), say.clone());
            let baton =
                Baton { began: told.clone(), end: Arc::clone(&running.end), abort: running.abort.clone() };
            let spawned = thread::Builder::new()
                .name(format!("load-{thread}"))
                .spawn(move || generator::run(&order, share, baton, &say))
                .context("cannot start a thread");
            match spawned {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    running.abort.cancel();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }

    async fn conduct(&mut self, order: &StageOrder, stand: &mut Stand<'_>) -> Result<Measured> {
        self.all_ready(stand.interrupt).await?;
        // Without a warm-up this is the last moment before the first request.
        let first = match stand.statistician.filter(|_| order.stage.warm_up.is_zero()) {
            Some(statistician) => Some(statistician.ask().await),
            None => None,
        };
        let began = clock::now() + RUN_UP;
        let windows = Windows::of(&order.stage, began);
        let snapshots = Snapshots::begin(stand.statistician, &windows, first);
        self.began.send_replace(Some(began));

        let (mut counts, mut interrupted, mut stable) = (Vec::new(), false, None);
        let mut series = Series::new(self.threads.len(), windows.opens, order.stage.interval());
        let mut tick = tokio::time::interval(TICK);
        while counts.len() < self.threads.len() {
            tokio::select! {
                word = self.words.recv() => match word.context("the generator's threads are gone")? {
                    (_, Word::Ready) => {}
                    (thread, Word::Interval { counts, under_way }) => {
                        series.add(thread, &counts, under_way, clock::now())?;
                        if let Some(rule) = order.stage.bounds.stable
                            && stable.is_none()
                            && series.is_stable(rule)
                        {
                            stable = Some(true);
                            self.end.say(clock::now());
                        }
                    }
                    (thread, Word::Done(done)) => {
                        series.done(thread, clock::now())?;
                        counts.push(*done?);
                    }
                },
                _ = tick.tick() => stand.progress.show(order, &windows, &series, clock::now()),
                _ = stand.interrupt.recv(), if !interrupted => {
                    interrupted = true;
                    self.end.say(clock::now());
                    self.abort.cancel();
                }
            }
        }
        let ended = clock::now();
        let stable = order.stage.bounds.stable.map(|_| stable.unwrap_or(false));
        let cpu = |counts: &Counts| counts.processor_time.as_secs_f64() / (ended - began).as_secs_f64();
        let (own_cpu, busiest) =
            (counts.iter().map(cpu).sum(), counts.iter().map(cpu).fold(0.0_f64, f64::max));

        let tally = merge(counts)?;
        let ran_out = order
            .stage
            .bounds
            .requests
            .is_some_and(|requests| requests.get() <= tally.parts.iter().map(|part| part.requests).sum());
        let server = snapshots.finish().await;
        // In an open loop the last request is answered before the planned end.
        let planned = windows.closes().filter(|_| !ran_out).unwrap_or(ended);
        let ended = self.end.said().unwrap_or(planned.max(ended));
        let parts = tally.parts.into_iter().enumerate().map(|(number, tally)| {
            let end = tally.last.filter(|_| ran_out).unwrap_or(ended);
            let opened = windows.opening(number);
            let end = windows.length.map_or(end, |length| end.min(opened + length));
            let server = server.get(number).copied().flatten();
            MeasuredPart { open_for: end.saturating_duration_since(opened), tally, server }
        });
        Ok(Measured {
            // A part that was never reached measured nothing; the first always
            // is.
            parts: parts
                .enumerate()
                .filter(|(n, part)| *n == 0 || !part.open_for.is_zero())
                .map(|(_, part)| part)
                .collect(),
            series: series.points(),
            lag: tally.lag,
            held: tally.held,
            reconnects: tally.reconnects,
            own_cpu,
            busiest,
            stable,
            interrupted,
        })
    }

    /// Waits until every thread is connected. Fails with the error of the first
    /// thread that can't connect.
    async fn all_ready(&mut self, interrupt: &mut Signal) -> Result<()> {
        let mut ready = 0;
        while ready < self.threads.len() {
            tokio::select! {
                word = self.words.recv() => match word.context("the generator's threads are gone")? {
                    (_, Word::Ready) => ready += 1,
                    (_, Word::Interval { .. }) => {}
                    (_, Word::Done(done)) => {
                        done?;
                        anyhow::bail!("a generator thread ended before it began");
                    }
                },
                _ = interrupt.recv() => anyhow::bail!("interrupted before anything was measured"),
            }
        }
        Ok(())
    }
}

fn merge(counts: Vec<Counts>) -> Result<Tally> {
    let mut tallies = counts.into_iter().map(|counts| counts.tally);
    let mut sum = tallies.next().context("there is no generator thread")?;
    for tally in tallies {
        sum.add(tally)?;
    }
    Ok(sum)
}

/// The server's counters at the beginning of each part. The counters at the end
/// are asked for when the part is over.
struct Snapshots {
    statistician: Option<Statistician>,
    /// The counters of the first part, if they were taken already.
    first: Option<Option<Snapshot>>,
    taken: Vec<JoinHandle<Option<Snapshot>>>,
}

impl Snapshots {
    fn begin(
        statistician: Option<&Statistician>,
        windows: &Windows,
        first: Option<Option<Snapshot>>,
    ) -> Self {
        let take = |statistician: &Statistician| {
            (usize::from(first.is_some())..windows.parts)
                .map(|part| {
                    let (statistician, at) = (statistician.clone(), windows.opening(part));
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep_until(at.into()).await;
                        statistician.ask().await
                    })
                })
                .collect()
        };
        let taken = statistician.map(take).unwrap_or_default();
        Self { statistician: statistician.cloned(), first, taken }
    }

    /// The server's times in each part.
    async fn finish(self) -> Vec<Option<ServerTimes>> {
        let Some(statistician) = self.statistician else { return Vec::new() };
        let mut all: Vec<Option<Snapshot>> = self.first.into_iter().collect();
        for taken in self.taken {
            // A part that was never reached has none.
            all.push(if taken.is_finished() { taken.await.ok().flatten() } else { None });
        }
        all.push(statistician.ask().await);
        all.windows(2).map(|pair| pair[1]?.since(pair[0]?)).collect()
    }
}
