//! What follows from the batches that run and from what was learned of them:
//! how large a batch should be, what is worth waiting for, and which requests
//! can't be answered in time.

use std::fmt;
use std::time::{Duration, Instant};

use super::ablation::{Heuristic, off};
use super::earlier;
use super::learned::Learned;
use super::running::RunningBatches;
use super::sizing::{efficient, left_for_another, shared, within};
use super::times::BatchTimes;

/// The share of a latency target that one batch may take: a request that comes
/// just after one left waits for that one and then runs.
pub const SHARE_OF_TARGET: u32 = 2;

/// What a batch that must be in time is given beside its run: waking an
/// instance and sending answers take a part of it.
const BESIDE: Duration = Duration::from_millis(1);

/// A request that has so many times as long as the largest batches take may be
/// left for a batch that is forecast to be sooner.
const FORECASTS_OFF_BY: u32 = 2;

/// Batches ahead that are counted one by one.
const COUNTED: u64 = 64;

/// Why a request isn't worth taking in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// How long it would take.
    pub needs: Duration,
    /// How long it may take.
    pub allowed: Duration,
    /// Until what.
    pub bound: Bound,
}

/// What a request would be too late for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The model's latency target: until it is answered.
    Target,
    /// The time limit of its own, or of its level: until it runs.
    TimeLimit,
    /// Its client's deadline: until it is answered.
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

/// What waits in front of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ahead {
    /// Rows of its own shape and of others.
    pub(crate) rows: u64,
    /// Other shapes, each of which has a batch of its own.
    pub(crate) other_shapes: u64,
}

/// A batch that could leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchCandidate<'a> {
    pub(crate) shape: &'a [i64],
    /// The rows that it would take.
    pub(crate) rows: u32,
    /// Those and all behind them that other instances could take now.
    pub(crate) waiting: u32,
    /// The earliest arrival among it.
    pub(crate) oldest: Option<Instant>,
    /// The earliest deadline among it.
    pub(crate) deadline: Option<Instant>,
}

/// When a request is too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// It must run by then.
    pub(crate) run: Option<Instant>,
    /// It must be answered by then.
    pub(crate) answer: Option<Instant>,
}

/// All that a forecast is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forecast<'a> {
    /// How many instances take batches; zero if that isn't known, and then
    /// nothing is shared out.
    pub(crate) instances: usize,
    pub(crate) target: Option<Duration>,
    pub(crate) learned: &'a Learned,
    pub(crate) running: &'a RunningBatches,
}

impl Forecast<'_> {
    /// Instances that have nothing to do, the one that asks among them.
    pub(crate) fn free(&self) -> usize {
        self.instances.saturating_sub(self.running.len()).max(1)
    }

    /// How many rows of this batch should leave `now`, where the rest is better
    /// left for another instance, which isn't free yet, but will be before this
    /// one is again. `None` where all should: there is a target, which has a way
    /// of its own, the earliest of its `limits` is near, or the instance that
    /// asks isn't the only one that is free.
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
        // Those who come meanwhile join those who are left, and forecasts may be
        // off: nobody is to be late for that.
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

    /// Whether further rows would make this batch no better, though it was to
    /// wait for some.
    pub(crate) fn is_full(&self, batch: &BatchCandidate<'_>, max: u32) -> bool {
        let Some(times) = self.learned.times.of(batch.shape) else { return false };
        batch.rows < max && self.within_target(times, efficient(times, max)) <= batch.rows
    }

    /// When a batch must leave, whatever it waits for, so that its first request
    /// is answered within the target, and each within its deadline. `None` where
    /// there is neither, or nothing is known.
    pub(crate) fn latest(&self, batch: &BatchCandidate<'_>) -> Option<Instant> {
        let oldest = batch.oldest?;
        let by = earlier(self.target.and_then(|target| oldest.checked_add(target)), batch.deadline)?;
        let took = self.learned.margin.on(self.learned.times.of(batch.shape)?.at_most(batch.rows)?) + BESIDE;
        Some(by.checked_sub(took).unwrap_or(oldest))
    }

    /// Until when a batch that could leave waits for company, by the target.
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

    /// Whether a request that comes `now`, with so much ahead of it, would be
    /// answered too late, or begin too late.
    pub(crate) fn late(
        &self,
        shape: &[i64],
        rows: u32,
        ahead: Ahead,
        limits: Limits,
        now: Instant,
    ) -> Option<Late> {
        if self.target.is_none() && limits == Limits::default() {
            return None;
        }
        let times = self.learned.times.of(shape)?;
        let size = u64::from(self.usual_size(times));
        let start = self.start(times, size, ahead, now)?;
        let waits = start.saturating_duration_since(now);
        if waits.is_zero() {
            // Whatever it takes: nobody could be faster.
            return None;
        }
        if let Some(limit) = limits.run.filter(|limit| start > *limit) {
            let allowed = limit.saturating_duration_since(now);
            return Some(Late { needs: waits, allowed, bound: Bound::TimeLimit });
        }
        let left = limits.answer.map(|deadline| deadline.saturating_duration_since(now));
        let (allowed, bound) = match (self.target, left) {
            (Some(target), Some(left)) if left < target => (left, Bound::Deadline),
            (Some(target), _) => (target, Bound::Target),
            (None, Some(left)) => (left, Bound::Deadline),
            (None, None) => return None,
        };
        // With those before it in its batch, and those that come meanwhile.
        let beside = (ahead.rows % size) as f64
            + f64::from(rows)
            + self.learned.arrivals.rate(now) * waits.as_secs_f64();
        let own = (beside.min(size as f64) as u32).max(rows);
        let needs = self.learned.margin.on(waits + times.at_most(own)?);
        (needs > allowed).then_some(Late { needs, allowed, bound })
    }

    /// The size of batches where enough wait.
    fn usual_size(&self, times: &BatchTimes) -> u32 {
        let largest = times.trusted(u32::MAX).next_back().map_or(1, |(rows, _)| rows);
        self.within_target(times, efficient(times, largest))
    }

    /// The largest size up to `most` that leaves a latency target its share; one
    /// row where none does.
    fn within_target(&self, times: &BatchTimes, most: u32) -> u32 {
        match self.target {
            Some(target) => within(times, target / SHARE_OF_TARGET, most).unwrap_or(1),
            None => most,
        }
    }

    /// When the batch begins that a request would be in which comes now.
    fn start(&self, times: &BatchTimes, size: u64, ahead: Ahead, now: Instant) -> Option<Instant> {
        let took = times.settled(u32::try_from(size).unwrap_or(u32::MAX))?;
        let instances = self.instances.max(1);
        // What has run for longer than it should ends at any moment.
        let mut free: Vec<Instant> = self.running.iter().map(|(_, batch)| batch.until.max(now)).collect();
        free.sort_unstable();
        if free.len() < instances {
            free.resize(instances, now);
            free.sort_unstable();
        }
        let batches = ahead.rows / size.max(1) + ahead.other_shapes;
        let rounds = u32::try_from(batches.saturating_sub(COUNTED) / instances as u64).unwrap_or(u32::MAX);
        for _ in 0..batches.min(COUNTED) {
            let next = free.remove(0) + took;
            let place = free.partition_point(|other| *other <= next);
            free.insert(place, next);
        }
        // More batches than instances, where stages overlap: one behind the
        // other, so that the last but those counts.
        let first = free.len().saturating_sub(instances);
        free.get(first).and_then(|at| at.checked_add(took.saturating_mul(rounds)))
    }
}
