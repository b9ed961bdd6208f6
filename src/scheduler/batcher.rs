//! The dynamic batcher: a pure state machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::forecast::Forecast;
use super::levels::{Levels, deadline};
use super::overhead::Overhead;
use super::pick::{Members, Picked};
use super::{Lengths, RowSize};
use crate::model_config::{DynamicBatching, TimeoutAction};

/// What the batcher must know of a request that waits.
pub trait Waiting {
    /// How many rows it brings; at least 1.
    fn rows(&self) -> u32;
    /// Requests run together only where these are equal: the shapes behind
    /// the batch dimension, and the datatypes.
    fn bucket(&self) -> &[i64];
    /// How large its rows are; nothing where no limit asks for it.
    fn size(&self) -> RowSize {
        RowSize::default()
    }
    /// When it came.
    fn arrival(&self) -> Instant;
    /// Whether nobody waits for the answer any more.
    fn cancelled(&self) -> bool;
    /// The priority level that it asks for; zero for none.
    fn priority(&self) -> u64;
    /// How long it asks to wait at most.
    fn timeout(&self) -> Option<Duration>;
    /// When nobody wants the answer any more; `None` for never.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// Tells who asked that its time is over.
    fn expire(self);
}

/// How batches are formed.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The most rows in a batch; `None` runs each request by itself.
    pub max_batch_size: Option<u32>,
    /// The most elements in a batch's largest input, padding included; a
    /// request that has more by itself runs alone.
    pub max_elements: Option<u64>,
    /// How requests of different lengths run together; `None` where a bucket's
    /// requests are all of one shape.
    pub lengths: Option<Lengths>,
    /// What was learned of the cost of batches whose lengths differ.
    pub(super) overhead: Overhead,
    /// Sizes at which a batch leaves without waiting for its delay, ascending.
    pub preferred_batch_sizes: Vec<u32>,
    /// How long the oldest request may wait for company, from its arrival.
    pub max_queue_delay: Duration,
    /// How many requests may wait where their level's policy doesn't say.
    pub capacity: usize,
    /// Who goes first, and who may wait for how long.
    pub levels: Levels,
    /// How many instances take batches; they share what waits. Zero where that
    /// isn't known.
    pub instances: usize,
    /// Within this time from their arrival requests should be answered: who
    /// can't be is refused at once, and sizes and waiting for company keep to
    /// it.
    pub latency_target: Option<Duration>,
    /// How long an instance that finds nothing looks out for more before it
    /// sleeps, if the last time something came within that: being woken takes
    /// tens of microseconds, which is more than a light model takes. It costs
    /// processor time, of which others have as much as they want.
    pub lookout: Duration,
}

impl Policy {
    /// The policy that a configuration asks for; `capacity` is the server's
    /// bound where the configuration has none.
    #[must_use]
    pub fn new(max_batch_size: u32, batching: Option<&DynamicBatching>, capacity: usize) -> Self {
        let Some(batching) = batching.filter(|_| max_batch_size > 0) else {
            return Self {
                max_batch_size: None,
                max_elements: None,
                lengths: None,
                overhead: Overhead::default(),
                preferred_batch_sizes: Vec::new(),
                max_queue_delay: Duration::ZERO,
                capacity,
                levels: Levels::new(None),
                instances: 0,
                latency_target: None,
                lookout: Duration::ZERO,
            };
        };
        Self {
            max_batch_size: Some(max_batch_size),
            max_elements: None,
            lengths: None,
            overhead: Overhead::default(),
            preferred_batch_sizes: batching.preferred_batch_sizes.clone(),
            max_queue_delay: batching.max_queue_delay,
            capacity,
            levels: Levels::new(Some(batching)),
            instances: 0,
            latency_target: None,
            lookout: Duration::ZERO,
        }
    }
}

/// Why a batch left when it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// No further request would have fitted.
    Full,
    /// It reached a preferred size, or can't grow to one any more.
    Preferred,
    /// An instance was free and no delay is asked for.
    Ready,
    /// It had as many rows as are best: further ones would take each of them
    /// longer, are another instance's that is free or will be, or aren't warm
    /// yet.
    Efficient,
    /// Its oldest request had waited for the whole delay, or for as much of it as
    /// a target or a deadline leaves.
    Delay,
    /// The model runs each request by itself.
    Single,
    /// The server is stopping: nothing waits for company any more.
    Drain,
    /// It is one request of a batch that failed, run again by itself.
    Retry,
    /// It is a part of a batch that there wasn't memory for.
    Halved,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Preferred,
        Self::Ready,
        Self::Efficient,
        Self::Delay,
        Self::Single,
        Self::Drain,
        Self::Retry,
        Self::Halved,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Preferred => "preferred",
            Self::Ready => "ready",
            Self::Efficient => "efficient",
            Self::Delay => "delay",
            Self::Single => "single",
            Self::Drain => "drain",
            Self::Retry => "retry",
            Self::Halved => "halved",
        }
    }
}

/// Requests that run together, in the order in which they are served; never
/// empty.
#[derive(Debug)]
pub struct Batch<T> {
    /// By level, and within one in the order of their arrival.
    pub requests: Vec<T>,
    /// The sum of their rows.
    pub rows: u32,
    /// Why it left.
    pub reason: CloseReason,
}

impl<T: Waiting> Batch<T> {
    /// What its requests have in common: the bucket of each.
    #[must_use]
    pub fn bucket(&self) -> &[i64] {
        self.requests.first().map_or(&[], Waiting::bucket)
    }
}

/// What a free instance is to do.
#[derive(Debug)]
pub enum Decision<T> {
    /// Run this.
    Run(Batch<T>),
    /// Nothing may leave before this time, unless something comes.
    WaitUntil(Instant),
    /// Nothing waits.
    Idle,
}

/// The requests that wait for an instance.
///
/// Promises, each held by a property test: a batch never has more rows or
/// elements than the maximum, requests of one bucket and level that are in time
/// leave in the order in which they came (where lengths differ, only the first
/// of them is sure to be in the next batch), every request that was taken in
/// leaves exactly once, none waits longer than the delay for anything but an
/// instance, and none that was late when it was asked for runs where its policy
/// says that it is refused. With a latency target some wait for company, as long
/// as the target bears it; without one nobody does for whom no delay is asked.
///
/// Of what a free instance could take some may be left for another one that will
/// be free before it is done; nobody is left so twice.
#[derive(Debug)]
pub struct Batcher<T> {
    pub(super) policy: Policy,
    /// By shape, so that one odd request never cuts a batch short; each in the
    /// order of its entries' ranks. A bucket that is empty is removed.
    pub(super) buckets: HashMap<Box<[i64]>, VecDeque<Entry<T>>>,
    /// By level; one that is empty is removed.
    pub(super) waiting_by_level: BTreeMap<u64, LevelCount>,
    waiting: usize,
    /// The number of the next request.
    next_number: u64,
    /// Nobody is late before this: the earliest deadline of those that wait,
    /// or of one that left since.
    next_deadline: Option<Instant>,
    draining: bool,
    /// What is known of time.
    pub(super) forecast: Forecast,
}

/// How many wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LevelCount {
    requests: usize,
    pub(super) rows: u64,
}

/// A request and its place.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) rank: Rank,
    /// When its time is over; none once it is delayed.
    pub(super) deadline: Option<Instant>,
    /// It was left for another instance once, and isn't again.
    pub(super) was_left: bool,
    pub(super) request: T,
}

/// Who goes first: the fields in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) level: u64,
    /// Its time is over, and its policy lets it run behind the others.
    pub(super) delayed: bool,
    /// In the order of arrival.
    number: u64,
}

impl<T: Waiting> Batcher<T> {
    /// An empty one.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            forecast: Forecast::new(policy.instances, policy.latency_target),
            policy,
            buckets: HashMap::new(),
            waiting_by_level: BTreeMap::new(),
            waiting: 0,
            next_number: 0,
            next_deadline: None,
            draining: false,
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes a request in, or hands it back where as many wait as may. Gives
    /// the time at which it is to be refused if it still waits, if any.
    ///
    /// # Errors
    /// The request, when the queue, or that of its level, is full.
    pub fn push(&mut self, request: T) -> Result<Option<Instant>, T> {
        let level = self.policy.levels.level(request.priority());
        let policy = self.policy.levels.policy(level);
        let of_level = self.waiting_by_level.get(&level).map_or(0, |count| count.requests);
        let full = match policy.max_queue_size {
            0 => self.waiting >= self.policy.capacity,
            most => of_level >= most as usize,
        };
        if full {
            return Err(request);
        }
        let deadline = deadline(policy, request.arrival(), request.timeout());
        let refused_at = deadline.filter(|_| policy.timeout_action == TimeoutAction::Reject);
        self.next_deadline = earlier(self.next_deadline, deadline);
        self.waiting += 1;
        let count = self.waiting_by_level.entry(level).or_default();
        count.requests += 1;
        count.rows += u64::from(request.rows());
        self.forecast.arrived(request.arrival(), request.rows());
        let rank = Rank { level, delayed: false, number: self.next_number };
        self.next_number += 1;
        let entry = Entry { rank, deadline, was_left: false, request };
        match self.buckets.get_mut(entry.request.bucket()) {
            Some(bucket) => insert(bucket, entry),
            None => {
                let key = Box::from(entry.request.bucket());
                self.buckets.insert(key, VecDeque::from([entry]));
            }
        }
        Ok(refused_at)
    }

    /// A batch of requests of different lengths took so long; `size` is its
    /// rows times what they were padded to.
    pub fn ran(&mut self, size: u64, took: Duration) {
        self.policy.overhead.ran(size, took);
    }

    /// From now on nothing waits for company.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Batches have at most so many rows from now on; `None` runs each request
    /// by itself.
    pub fn share_batches(&mut self, most: Option<u32>) {
        self.policy.max_batch_size = most;
    }

    /// Takes out the requests that nobody waits for any more.
    pub fn take_cancelled(&mut self) -> Vec<T> {
        let mut cancelled = Vec::new();
        self.buckets.retain(|_, bucket| {
            let mut index = 0;
            while index < bucket.len() {
                if bucket[index].request.cancelled() {
                    cancelled.extend(bucket.remove(index));
                } else {
                    index += 1;
                }
            }
            !bucket.is_empty()
        });
        self.left(&cancelled);
        cancelled.into_iter().map(|entry| entry.request).collect()
    }

    /// Takes out the requests whose time is over at `now` and that are to be
    /// refused for it; those that are to be delayed go behind the others of
    /// their level.
    pub fn take_expired(&mut self, now: Instant) -> Vec<T> {
        if self.next_deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let late = |entry: &Entry<T>| entry.deadline.is_some_and(|deadline| deadline <= now);
        let mut refused = Vec::new();
        self.next_deadline = None;
        let (levels, next_deadline) = (&self.policy.levels, &mut self.next_deadline);
        self.buckets.retain(|_, bucket| {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(bucket).into_iter().partition(late);
            *bucket = kept;
            for mut entry in out {
                match levels.policy(entry.rank.level).timeout_action {
                    TimeoutAction::Reject => refused.push(entry),
                    TimeoutAction::Delay => {
                        entry.rank.delayed = true;
                        entry.deadline = None;
                        insert(bucket, entry);
                    }
                }
            }
            *next_deadline = bucket.iter().fold(*next_deadline, |next, entry| earlier(next, entry.deadline));
            !bucket.is_empty()
        });
        self.left(&refused);
        refused.sort_unstable_by_key(|entry| entry.rank);
        refused.into_iter().map(|entry| entry.request).collect()
    }

    /// What an instance that is free at `now` is to do, once those that are
    /// late by then were taken out. Of the batches that may leave, the one
    /// whose first request goes before the others' leaves.
    pub fn next(&mut self, now: Instant) -> Decision<T> {
        let mut best: Option<(Rank, &[i64], Cut)> = None;
        let mut wake: Option<Instant> = None;
        for (key, bucket) in &self.buckets {
            let Some(first) = bucket.front().map(|entry| entry.rank) else { continue };
            let leaves = self.policy.cut(bucket, now, self.draining);
            match self.revise(key, bucket, leaves, now) {
                Leaves::Now(cut) => {
                    if best.as_ref().is_none_or(|(other, ..)| first < *other) {
                        best = Some((first, key, cut));
                    }
                }
                Leaves::At(due) => wake = earlier(wake, Some(due)),
            }
        }
        match (best, wake) {
            (Some((_, key, cut)), _) => {
                let (key, could): (Box<[i64]>, u32) = (Box::from(key), cut.could);
                let batch = self.take(&key, cut);
                let arrivals = batch.requests.iter().map(Waiting::arrival);
                self.forecast.left(key, batch.rows, could, arrivals, now);
                Decision::Run(batch)
            }
            // A request whose time is over is taken away then: what remains may be of a
            // preferred size.
            (None, Some(due)) => {
                Decision::WaitUntil(self.next_deadline.map_or(due, |deadline| due.min(deadline)))
            }
            (None, None) => Decision::Idle,
        }
    }

    /// The batch that no further request would fit into, if there is one; of
    /// several the one whose first request goes before the others'.
    pub fn next_full(&mut self, now: Instant) -> Option<Batch<T>> {
        let full = self.buckets.iter().filter_map(|(key, bucket)| {
            let cut = self.policy.full_cut(bucket);
            let cut = match cut.map(|cut| self.revise(key, bucket, Leaves::Now(cut), now)) {
                Some(Leaves::Now(cut)) => cut,
                Some(Leaves::At(_)) => return None,
                None => self.full_by_time(key, bucket)?,
            };
            Some((bucket.front()?.rank, key, cut))
        });
        let (_, key, cut) = full.min_by_key(|(rank, ..)| *rank)?;
        let (key, could) = (key.clone(), cut.could);
        let batch = self.take(&key, cut);
        let arrivals = batch.requests.iter().map(Waiting::arrival);
        self.forecast.left(key, batch.rows, could, arrivals, now);
        Some(batch)
    }

    /// Takes all out, in no order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.waiting = 0;
        self.waiting_by_level.clear();
        self.next_deadline = None;
        self.buckets.drain().flat_map(|(_, bucket)| bucket).map(|entry| entry.request).collect()
    }

    #[cfg(test)]
    pub(super) fn waiting_for_test(&self) -> impl Iterator<Item = &T> {
        self.buckets.values().flatten().map(|entry| &entry.request)
    }

    fn take(&mut self, key: &[i64], cut: Cut) -> Batch<T> {
        let Cut { members, rows, reason, leaves_some, .. } = cut;
        let mut entries = Vec::new();
        if let Some(bucket) = self.buckets.get_mut(key) {
            entries = members.take_out(bucket);
            if leaves_some {
                bucket.iter_mut().for_each(|entry| entry.was_left = true);
            }
            if bucket.is_empty() {
                self.buckets.remove(key);
            }
        }
        self.left(&entries);
        let requests = entries.into_iter().map(|entry| entry.request).collect();
        Batch { requests, rows, reason }
    }

    /// These don't wait any more.
    fn left(&mut self, entries: &[Entry<T>]) {
        self.waiting -= entries.len();
        for Entry { rank: Rank { level, .. }, request, .. } in entries {
            if let Some(count) = self.waiting_by_level.get_mut(level) {
                count.requests -= 1;
                count.rows = count.rows.saturating_sub(u64::from(request.rows()));
                if count.requests == 0 {
                    self.waiting_by_level.remove(level);
                }
            }
        }
    }
}

/// At its place: the end, but for a higher level or a delayed request.
fn insert<T>(bucket: &mut VecDeque<Entry<T>>, entry: Entry<T>) {
    if bucket.back().is_none_or(|last| last.rank < entry.rank) {
        bucket.push_back(entry);
    } else {
        let place = bucket.partition_point(|other| other.rank < entry.rank);
        bucket.insert(place, entry);
    }
}

pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// When a bucket's first batch leaves.
pub(super) enum Leaves {
    Now(Cut),
    At(Instant),
}

/// What of a bucket leaves.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) members: Members,
    pub(super) rows: u32,
    /// How many it would have if sizes cost nothing.
    pub(super) could: u32,
    pub(super) reason: CloseReason,
    /// The others of its bucket are left for another instance.
    pub(super) leaves_some: bool,
}

impl Cut {
    pub(super) fn of(members: Members, rows: u32, reason: CloseReason) -> Self {
        Self { members, rows, could: rows, reason, leaves_some: false }
    }
}

impl Policy {
    /// The batch that leaves this bucket whenever it can, because nothing more
    /// fits into it.
    fn full_cut<T: Waiting>(&self, bucket: &VecDeque<Entry<T>>) -> Option<Cut> {
        let largest = self.max_batch_size.unwrap_or(0);
        let rows: u64 = bucket.iter().map(|entry| u64::from(entry.request.rows())).sum();
        // `cut` decides; this only tells whether asking is worth it.
        if rows < u64::from(largest) && self.max_elements.is_none() {
            return None;
        }
        let oldest = bucket.front()?.request.arrival();
        match self.cut(bucket, oldest, false) {
            Leaves::Now(cut) => match cut.reason {
                CloseReason::Full | CloseReason::Preferred | CloseReason::Single => Some(cut),
                CloseReason::Ready
                | CloseReason::Efficient
                | CloseReason::Delay
                | CloseReason::Drain
                | CloseReason::Retry
                | CloseReason::Halved => None,
            },
            Leaves::At(_) => None,
        }
    }

    /// The batch that may leave this bucket, which isn't empty.
    fn cut<T: Waiting>(&self, bucket: &VecDeque<Entry<T>>, now: Instant, draining: bool) -> Leaves {
        let Some(max) = self.max_batch_size else {
            let rows = bucket.front().map_or(1, |entry| entry.request.rows());
            return Leaves::Now(Cut::of(Members::First(1), rows, CloseReason::Single));
        };
        let Picked { mut members, full } = self.pick(bucket, max);
        let mut rows = 0;
        // As many of the members, with so many rows.
        let mut preferred: Option<(usize, u32)> = None;
        let mut beyond: Option<(usize, u32)> = None;
        let largest_preferred = self.preferred_batch_sizes.last();
        let mut oldest = now;
        for (count, entry) in (1..).zip(members.places().filter_map(|place| bucket.get(place))) {
            let before = (count - 1, rows);
            rows += entry.request.rows();
            oldest = oldest.min(entry.request.arrival());
            // No company makes a preferred size of what stands before this one, or of this
            // one where it is the first. (Triton's rule: that leaves by itself.)
            if beyond.is_none() && largest_preferred.is_some_and(|largest| rows > *largest) {
                beyond = Some(if count == 1 { (1, rows) } else { before });
            }
            if self.preferred_batch_sizes.binary_search(&rows).is_ok() {
                preferred = Some((count, rows));
            }
        }

        if let Some((count, rows)) = preferred {
            members.truncate(count);
            return Leaves::Now(Cut::of(members, rows, CloseReason::Preferred));
        }
        let due = oldest + self.max_queue_delay;
        if let Some((count, rows)) = beyond.filter(|_| !full && !draining && now < due) {
            members.truncate(count);
            return Leaves::Now(Cut::of(members, rows, CloseReason::Preferred));
        }
        let reason = if full {
            CloseReason::Full
        } else if draining {
            CloseReason::Drain
        } else if self.max_queue_delay.is_zero() {
            CloseReason::Ready
        } else if now >= due {
            CloseReason::Delay
        } else {
            return Leaves::At(due);
        };
        Leaves::Now(Cut::of(members, rows, reason))
    }
}
