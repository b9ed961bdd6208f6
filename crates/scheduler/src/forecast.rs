//! Forecasts from the running batches and from learned times: how large a batch
//! should be, how long to wait for more, and which requests can't be answered
//! in time.

use std::fmt;
use std::time::{Duration, Instant};

use super::ablation::{Heuristic, off};
use super::earlier;
use super::learned::Learned;
use super::running::RunningBatches;
use super::sizing::{efficient, left_for_another, shared, within};
use super::times::BatchTimes;

/// The divisor of a latency target that gives the share of one batch: a request
/// that just missed a batch waits for that batch and then runs.
pub const SHARE_OF_TARGET: u32 = 2;

/// The time of a batch outside of its run: waking an instance and sending
/// answers take a part of it.
const BESIDE: Duration = Duration::from_millis(1);

/// A request may be left for a batch that is forecast to be sooner, if it has
/// this multiple of the largest batches' duration left.
const FORECASTS_OFF_BY: u32 = 2;

/// Batches ahead that are counted one by one.
const COUNTED: u64 = 64;

/// Why a request isn't worth accepting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// The time that it would take.
    pub needs: Duration,
    /// The time that it may take.
    pub allowed: Duration,
    /// What the allowed time ends with.
    pub bound: Bound,
}

/// The limit that a request would miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The model's latency target for its answer.
    Target,
    /// How long a request of this model may be expected to wait.
    Wait,
    /// Its own or its level's time limit for the start of its run.
    TimeLimit,
    /// Its client's deadline for its answer.
    Deadline,
}

/// `the queue ahead and its own run need 120 ms, the latency target is 50 ms`
impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needs, allowed] = [self.needs, self.allowed].map(|time| time.as_secs_f64() * 1e3);
        match self.bound {
            Bound::Target => write!(
                f,
                "the queue ahead and its own run need {needs:.0} ms, the latency target is {allowed:.0} ms"
            ),
            Bound::Wait => {
                write!(f, "the queue ahead needs {needs:.0} ms, at most {allowed:.0} ms are allowed")
            }
            Bound::TimeLimit => {
                write!(f, "the queue ahead needs {needs:.0} ms, its time limit is {allowed:.0} ms")
            }
            Bound::Deadline => write!(
                f,
                "the queue ahead and its own run need {needs:.0} ms, its deadline is in {allowed:.0} ms"
            ),
        }
    }
}

/// The requests in front of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ahead {
    /// How many there are.
    pub(crate) requests: u64,
    /// Their rows, of all shapes.
    pub(crate) rows: u64,
    /// Other shapes, each of which needs a batch of its own.
    pub(crate) other_shapes: u64,
}

/// The batches in front of a request, as they are forecast.
#[derive(Debug, Clone, Copy)]
struct Backlog {
    batches: u64,
    /// The rows of each.
    size: u64,
    /// How long each takes.
    took: Duration,
}

/// A batch that could leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchCandidate<'a> {
    pub(crate) shape: &'a [i64],
    /// The rows of the batch.
    pub(crate) rows: u32,
    /// These rows, and all behind them that other instances could take now.
    pub(crate) waiting: u32,
    /// The earliest arrival among its requests.
    pub(crate) oldest: Option<Instant>,
    /// The earliest deadline among its requests.
    pub(crate) deadline: Option<Instant>,
}

/// The limits of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// It must run by then.
    pub(crate) run: Option<Instant>,
    /// It must be answered by then.
    pub(crate) answer: Option<Instant>,
    /// How long it may be expected to wait.
    pub(crate) wait: Option<Duration>,
}

/// The inputs of a forecast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forecast<'a> {
    /// How many instances take batches. Zero if that isn't known; then nothing
    /// is shared.
    pub(crate) instances: usize,
    /// The most rows in a batch; `None` if each request runs by itself.
    pub(crate) max_batch_size: Option<u32>,
    pub(crate) target: Option<Duration>,
    pub(crate) learned: &'a Learned,
    pub(crate) running: &'a RunningBatches,
}

impl Forecast<'_> {
    /// Instances without work, including the one that asks.
    pub(crate) fn free(&self) -> usize {
        self.instances.saturating_sub(self.running.len()).max(1)
    }

    /// How many rows of this batch should leave `now`, if the rest is better
    /// left for another instance. The other instance is busy, but will be free
    /// before this one is again. `None` if all rows should leave:
    ///
    /// - There is a target, which has its own rule.
    /// - The earliest of `limits` is near.
    /// - The instance that asks isn't the only free one.
    pub(crate) fn size_beside_another(
        &self,
        batch: &BatchCandidate<'_>,
        limits: impl Iterator<Item = Instant>,
        now: Instant,
    ) -> Option<u32> {
        if off(Heuristic::DeferToOther) {
            return None;
        }
        if self.running.len() + 1 != self.instances || self.target.is_some() || self.learned.tries_whole() {
            return None;
        }
        let times = self.learned.times.of(batch.shape)?;
        let soon = self.running.iter().filter_map(|(_, batch)| batch.ends_in(now)).min()?;
        let rows = left_for_another(times, batch.rows, soon);
        if rows >= batch.rows {
            return None;
        }
        // Requests that come meanwhile join the ones left, and forecasts may be
        // wrong: no request is to be late because of that.
        let longest = times.settled(self.usual_size(times).max(batch.rows))? * FORECASTS_OFF_BY;
        let near = limits.min().is_some_and(|limit| limit.saturating_duration_since(now) < longest);
        (!near).then_some(rows)
    }

    /// The most rows that this batch should have.
    pub(crate) fn size(&self, batch: &BatchCandidate<'_>) -> u32 {
        let rows = batch.rows;
        let Some(times) = self.learned.times.of(batch.shape) else { return rows };
        let whole = if self.learned.tries_whole() { rows } else { efficient(times, rows) };
        let mut most = self.within_target(times, whole);
        let free = self.free();
        if free > 1 && !off(Heuristic::Shared) {
            most = most.min(shared(times, batch.waiting, free, most));
        }
        most.max(1)
    }

    /// Whether further rows would not improve this batch, even if it could wait
    /// for them.
    pub(crate) fn is_full(&self, batch: &BatchCandidate<'_>, max: u32) -> bool {
        let Some(times) = self.learned.times.of(batch.shape) else { return false };
        batch.rows < max && self.within_target(times, efficient(times, max)) <= batch.rows
    }

    /// The latest time for a batch to leave, so that its first request is
    /// answered within the target, and each within its deadline. `None` if
    /// there is no target and no deadline, or if nothing is known.
    pub(crate) fn latest(&self, batch: &BatchCandidate<'_>) -> Option<Instant> {
        let oldest = batch.oldest?;
        let by = earlier(self.target.and_then(|target| oldest.checked_add(target)), batch.deadline)?;
        let took = self.learned.margin.on(self.learned.times.of(batch.shape)?.at_most(batch.rows)?) + BESIDE;
        Some(by.checked_sub(took).unwrap_or(oldest))
    }

    /// Until when a batch that could leave waits for more requests, by the
    /// target.
    pub(crate) fn coalesce_until(&self, batch: &BatchCandidate<'_>, now: Instant) -> Option<Instant> {
        let target = self.target?;
        if self.free() > 1 || off(Heuristic::Coalesce) {
            return None;
        }
        let times = self.learned.times.of(batch.shape)?;
        let until = self.learned.arrivals.worth_waiting(times, batch.rows, now)?;
        let together = times.at_most(batch.rows.saturating_add(1))?;
        let latest = earlier(batch.oldest?.checked_add(target), batch.deadline)?.checked_sub(together)?;
        (now < latest).then(|| until.min(latest))
    }

    /// How long a request of this shape would wait that comes `now`, with
    /// `ahead` in front of it. A request whose shape isn't known yet is forecast
    /// as one of the waiting ones. `None` if too little is known.
    pub(crate) fn wait(&self, shape: Option<&[i64]>, ahead: Ahead, now: Instant) -> Option<Duration> {
        let start = self.start(self.backlog(shape, ahead)?, now)?;
        Some(start.saturating_duration_since(now))
    }

    /// Whether a request that comes `now`, with `ahead` in front of it, would
    /// be answered too late, or start too late.
    pub(crate) fn late(
        &self,
        shape: Option<&[i64]>,
        rows: u32,
        ahead: Ahead,
        limits: Limits,
        now: Instant,
    ) -> Option<Late> {
        if self.target.is_none() && limits == Limits::default() {
            return None;
        }
        let backlog = self.backlog(shape, ahead)?;
        let start = self.start(backlog, now)?;
        let waits = start.saturating_duration_since(now);
        if waits.is_zero() {
            // It can't be answered sooner, however long it takes.
            return None;
        }
        if let Some(limit) = limits.run.filter(|limit| start > *limit) {
            let allowed = limit.saturating_duration_since(now);
            return Some(Late { needs: waits, allowed, bound: Bound::TimeLimit });
        }
        // A request that the next batch takes waits for no longer than a run,
        // and without it an instance of a slow model would often be idle.
        if let Some(allowed) = limits.wait.filter(|_| backlog.batches > 0) {
            let needs = self.learned.wait_margin.on(waits);
            if needs > allowed {
                return Some(Late { needs, allowed, bound: Bound::Wait });
            }
        }
        let left = limits.answer.map(|deadline| deadline.saturating_duration_since(now));
        let (allowed, bound) = match (self.target, left) {
            (Some(target), Some(left)) if left < target => (left, Bound::Deadline),
            (Some(target), _) => (target, Bound::Target),
            (None, Some(left)) => (left, Bound::Deadline),
            (None, None) => return None,
        };
        let times = match shape {
            Some(shape) => self.learned.times.of(shape)?,
            None => &self.learned.times.all,
        };
        // With the rows before it in its batch, and the rows that come
        // meanwhile.
        let beside = (ahead.rows % backlog.size) as f64
            + f64::from(rows)
            + self.learned.arrivals.rate(now) * waits.as_secs_f64();
        let own = match self.max_batch_size {
            Some(_) => (beside.min(backlog.size as f64) as u32).max(rows),
            None => rows,
        };
        let needs = self.learned.margin.on(waits + times.at_most(own)?);
        (needs > allowed).then_some(Late { needs, allowed, bound })
    }

    /// The size of batches if enough requests wait.
    fn usual_size(&self, times: &BatchTimes) -> u32 {
        let largest = times.trusted(u32::MAX).next_back().map_or(1, |(rows, _)| rows);
        self.within_target(times, efficient(times, largest))
    }

    /// The largest size up to `most` that leaves a latency target its share;
    /// one row if no size does.
    fn within_target(&self, times: &BatchTimes, most: u32) -> u32 {
        match self.target {
            Some(target) => within(times, target / SHARE_OF_TARGET, most).unwrap_or(1),
            None => most,
        }
    }

    /// The batches of what is ahead. If only this shape waits, they take what its
    /// batches take. Otherwise they take what batches took on average.
    fn backlog(&self, shape: Option<&[i64]>, ahead: Ahead) -> Option<Backlog> {
        let own = shape.filter(|_| ahead.other_shapes == 0).and_then(|shape| self.learned.times.of(shape));
        let (size, batches) = match self.max_batch_size {
            Some(max) => {
                let size = self.usual_size(own.unwrap_or(&self.learned.times.all)).min(max).max(1);
                (size, ahead.rows / u64::from(size) + ahead.other_shapes)
            }
            None => {
                let each = ahead.rows.checked_div(ahead.requests).unwrap_or(1);
                (u32::try_from(each).unwrap_or(u32::MAX), ahead.requests)
            }
        };
        let took = match own {
            Some(times) => times.settled(size),
            None => self.learned.times.all.on_average(size),
        };
        Some(Backlog { batches, size: u64::from(size), took: took? })
    }

    /// When the batch behind these would start.
    fn start(&self, Backlog { batches, took, .. }: Backlog, now: Instant) -> Option<Instant> {
        let instances = self.instances.max(1);
        // A batch that is overdue may end at any moment.
        let mut free: Vec<Instant> = self.running.iter().map(|(_, batch)| batch.until.max(now)).collect();
        free.sort_unstable();
        if free.len() < instances {
            free.resize(instances, now);
            free.sort_unstable();
        }
        let rounds = u32::try_from(batches.saturating_sub(COUNTED) / instances as u64).unwrap_or(u32::MAX);
        for _ in 0..batches.min(COUNTED) {
            let next = free.remove(0) + took;
            let place = free.partition_point(|other| *other <= next);
            free.insert(place, next);
        }
        // More batches than instances, if stages overlap: they run one after
        // another, so the one that frees an instance counts.
        let first = free.len().saturating_sub(instances);
        free.get(first).and_then(|at| at.checked_add(took.saturating_mul(rounds)))
    }
}
