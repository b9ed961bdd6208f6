//! The requests that wait, in their order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::earlier;
use super::members::Members;
use super::queue_policy::{QueuePolicy, TimeoutAction};
use super::request::Schedulable;

/// Requests of one bucket, in the order of their ranks.
pub(crate) type Bucket<T> = VecDeque<Entry<T>>;

/// All requests that wait.
#[derive(Debug)]
pub(crate) struct WaitingRequests<T> {
    /// By shape, so that one odd request never cuts a batch short. A bucket that
    /// is empty is removed.
    buckets: HashMap<Box<[i64]>, Bucket<T>>,
    /// By level; one that is empty is removed.
    by_level: BTreeMap<u64, LevelCount>,
    count: usize,
    /// The number of the next request.
    next_number: u64,
    /// No request is late before this: the earliest deadline of the requests
    /// that wait, or of one that left since.
    next_deadline: Option<Instant>,
}

/// How many wait.
#[derive(Debug, Clone, Copy, Default)]
struct LevelCount {
    requests: usize,
    rows: u64,
}

/// A request and its place.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) rank: Rank,
    /// When its time is over; none once it is delayed.
    pub(crate) deadline: Option<Instant>,
    /// It was left for another instance once, and isn't again.
    pub(crate) was_left: bool,
    pub(crate) request: T,
}

/// Which request goes first: the fields in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) level: u64,
    /// Its time is over, and its policy lets it run behind the others.
    pub(crate) delayed: bool,
    /// In the order of arrival.
    number: u64,
}

impl<T> Default for WaitingRequests<T> {
    fn default() -> Self {
        Self {
            buckets: HashMap::new(),
            by_level: BTreeMap::new(),
            count: 0,
            next_number: 0,
            next_deadline: None,
        }
    }
}

impl<T: Schedulable> WaitingRequests<T> {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many wait in a level.
    pub(crate) fn len_of_level(&self, level: u64) -> usize {
        self.by_level.get(&level).map_or(0, |count| count.requests)
    }

    /// The rows that wait in this level and in those that go before it.
    pub(crate) fn rows_before(&self, level: u64) -> u64 {
        self.by_level.range(..=level).map(|(_, count)| count.rows).sum()
    }

    /// When the next request may be late.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Each shape with its requests, of which there is one at least.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&[i64], &Bucket<T>)> {
        self.buckets.iter().map(|(shape, bucket)| (&**shape, bucket))
    }

    /// How many shapes wait beside this one.
    pub(crate) fn other_shapes(&self, shape: &[i64]) -> usize {
        self.buckets.len() - usize::from(self.buckets.contains_key(shape))
    }

    /// Takes a request in at its place.
    pub(crate) fn insert(&mut self, request: T, level: u64, deadline: Option<Instant>) {
        self.next_deadline = earlier(self.next_deadline, deadline);
        self.count += 1;
        let count = self.by_level.entry(level).or_default();
        count.requests += 1;
        count.rows += u64::from(request.rows());
        let rank = Rank { level, delayed: false, number: self.next_number };
        self.next_number += 1;
        let entry = Entry { rank, deadline, was_left: false, request };
        match self.buckets.get_mut(entry.request.bucket()) {
            Some(bucket) => insert(bucket, entry),
            None => {
                let shape = Box::from(entry.request.bucket());
                self.buckets.insert(shape, VecDeque::from([entry]));
            }
        }
    }

    /// Takes some requests of a shape out. The others of that shape are marked
    /// if they are `left_for_another` instance.
    pub(crate) fn take(&mut self, shape: &[i64], members: Members, left_for_another: bool) -> Vec<T> {
        let mut entries = Vec::new();
        if let Some(bucket) = self.buckets.get_mut(shape) {
            entries = members.take_out(bucket);
            if left_for_another {
                bucket.iter_mut().for_each(|entry| entry.was_left = true);
            }
            if bucket.is_empty() {
                self.buckets.remove(shape);
            }
        }
        self.uncount(&entries);
        entries.into_iter().map(|entry| entry.request).collect()
    }

    /// Takes out the requests whose clients have gone.
    pub(crate) fn take_cancelled(&mut self) -> Vec<T> {
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
        self.uncount(&cancelled);
        cancelled.into_iter().map(|entry| entry.request).collect()
    }

    /// Takes out the requests whose time is over at `now` and that are to be
    /// refused for it. Those that are to be delayed go behind the others of
    /// their level.
    pub(crate) fn take_expired(&mut self, policy: &QueuePolicy, now: Instant) -> Vec<T> {
        if self.next_deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let late = |entry: &Entry<T>| entry.deadline.is_some_and(|deadline| deadline <= now);
        let mut refused = Vec::new();
        let mut next_deadline = None;
        self.buckets.retain(|_, bucket| {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(bucket).into_iter().partition(late);
            *bucket = kept;
            for mut entry in out {
                match policy.policy(entry.rank.level).timeout_action {
                    TimeoutAction::Reject => refused.push(entry),
                    TimeoutAction::Delay => {
                        entry.rank.delayed = true;
                        entry.deadline = None;
                        insert(bucket, entry);
                    }
                }
            }
            next_deadline = bucket.iter().fold(next_deadline, |next, entry| earlier(next, entry.deadline));
            !bucket.is_empty()
        });
        self.next_deadline = next_deadline;
        self.uncount(&refused);
        refused.sort_unstable_by_key(|entry| entry.rank);
        refused.into_iter().map(|entry| entry.request).collect()
    }

    /// Takes all out, in no order.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.count = 0;
        self.by_level.clear();
        self.next_deadline = None;
        self.buckets.drain().flat_map(|(_, bucket)| bucket).map(|entry| entry.request).collect()
    }

    /// These don't wait any more.
    fn uncount(&mut self, entries: &[Entry<T>]) {
        self.count -= entries.len();
        for Entry { rank: Rank { level, .. }, request, .. } in entries {
            if let Some(count) = self.by_level.get_mut(level) {
                count.requests -= 1;
                count.rows = count.rows.saturating_sub(u64::from(request.rows()));
                if count.requests == 0 {
                    self.by_level.remove(level);
                }
            }
        }
    }
}

/// At its place: the end, but for a higher level or a delayed request.
fn insert<T>(bucket: &mut Bucket<T>, entry: Entry<T>) {
    if bucket.back().is_none_or(|last| last.rank < entry.rank) {
        bucket.push_back(entry);
    } else {
        let place = bucket.partition_point(|other| other.rank < entry.rank);
        bucket.insert(place, entry);
    }
}
