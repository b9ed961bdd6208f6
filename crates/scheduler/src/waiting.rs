//! The waiting requests, in order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::earlier;
use super::members::Members;
use super::queue_policy::{QueuePolicy, TimeoutAction};
use super::request::Schedulable;

/// Requests of one bucket, by rank.
pub(crate) type Bucket<T> = VecDeque<Entry<T>>;

/// All waiting requests.
#[derive(Debug)]
pub(crate) struct WaitingRequests<T> {
    /// By shape, so that an unusual request never cuts a batch short. An empty
    /// bucket is removed.
    buckets: HashMap<Box<[i64]>, Bucket<T>>,
    /// By level; an empty one is removed.
    by_level: BTreeMap<u64, LevelCount>,
    count: usize,
    /// The number of the next request.
    next_number: u64,
    /// No request is late before this: the earliest deadline of the waiting
    /// requests, or of one that has left since.
    next_deadline: Option<Instant>,
}

/// How many wait.
#[derive(Debug, Clone, Copy, Default)]
struct LevelCount {
    requests: usize,
    rows: u64,
}

/// A request and its rank.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) rank: Rank,
    /// When its time is over; `None` once it is delayed.
    pub(crate) deadline: Option<Instant>,
    /// From when on it can't be answered before its client stops waiting, even
    /// if it starts at once.
    pub(crate) hopeless: Option<Instant>,
    /// It was left for another instance once, and isn't left again.
    pub(crate) was_left: bool,
    pub(crate) request: T,
}

/// The order of requests, by these fields in sequence.
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

    /// How many requests of a level wait.
    pub(crate) fn len_of_level(&self, level: u64) -> usize {
        self.by_level.get(&level).map_or(0, |count| count.requests)
    }

    /// The waiting requests of this level and of the levels before it, and their
    /// rows.
    pub(crate) fn before(&self, level: u64) -> (u64, u64) {
        let counts = self.by_level.range(..=level).map(|(_, count)| (count.requests as u64, count.rows));
        counts.fold((0, 0), |(requests, rows), (more, of_them)| (requests + more, rows + of_them))
    }

    /// When the next request may be late.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Each shape with its requests; there is at least one.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&[i64], &Bucket<T>)> {
        self.buckets.iter().map(|(shape, bucket)| (&**shape, bucket))
    }

    /// The shape of all waiting requests, if it is one.
    pub(crate) fn only_shape(&self) -> Option<&[i64]> {
        let mut shapes = self.buckets.keys();
        shapes.next().filter(|_| shapes.next().is_none()).map(|shape| &**shape)
    }

    /// How many shapes wait.
    pub(crate) fn shapes(&self) -> usize {
        self.buckets.len()
    }

    /// How many other shapes wait.
    pub(crate) fn other_shapes(&self, shape: &[i64]) -> usize {
        self.buckets.len() - usize::from(self.buckets.contains_key(shape))
    }

    /// Inserts a request at its place.
    pub(crate) fn insert(
        &mut self,
        request: T,
        level: u64,
        deadline: Option<Instant>,
        hopeless: Option<Instant>,
    ) {
        self.next_deadline = earlier(self.next_deadline, earlier(deadline, hopeless));
        self.count += 1;
        let count = self.by_level.entry(level).or_default();
        count.requests += 1;
        count.rows += u64::from(request.rows());
        let rank = Rank { level, delayed: false, number: self.next_number };
        self.next_number += 1;
        let entry = Entry { rank, deadline, hopeless, was_left: false, request };
        match self.buckets.get_mut(entry.request.bucket()) {
            Some(bucket) => insert(bucket, entry),
            None => {
                let shape = Box::from(entry.request.bucket());
                self.buckets.insert(shape, VecDeque::from([entry]));
            }
        }
    }

    /// Takes some requests of a shape out. The others of the shape are marked
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

    /// Takes out the requests of clients that have gone.
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

    /// Takes out the requests that are late at `now` and are to be refused, and
    /// those whose clients won't wait for their answers. Late requests that are to
    /// be delayed go behind the others of their level.
    pub(crate) fn take_expired(&mut self, policy: &QueuePolicy, now: Instant) -> Vec<T> {
        if self.next_deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let over = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        let late = |entry: &Entry<T>| over(entry.deadline) || over(entry.hopeless);
        let mut refused = Vec::new();
        let mut next_deadline = None;
        self.buckets.retain(|_, bucket| {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(bucket).into_iter().partition(late);
            *bucket = kept;
            for mut entry in out {
                if over(entry.hopeless) {
                    refused.push(entry);
                    continue;
                }
                match policy.policy(entry.rank.level).timeout_action {
                    TimeoutAction::Reject => refused.push(entry),
                    TimeoutAction::Delay => {
                        entry.rank.delayed = true;
                        entry.deadline = None;
                        insert(bucket, entry);
                    }
                }
            }
            for entry in bucket.iter() {
                next_deadline = earlier(next_deadline, earlier(entry.deadline, entry.hopeless));
            }
            !bucket.is_empty()
        });
        self.next_deadline = next_deadline;
        self.uncount(&refused);
        refused.sort_unstable_by_key(|entry| entry.rank);
        refused.into_iter().map(|entry| entry.request).collect()
    }

    /// Takes all requests out, in no order.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.count = 0;
        self.by_level.clear();
        self.next_deadline = None;
        self.buckets.drain().flat_map(|(_, bucket)| bucket).map(|entry| entry.request).collect()
    }

    /// Removes these requests from the counts.
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

/// Inserts at its place: the end, except for a higher level or a delayed
/// request.
fn insert<T>(bucket: &mut Bucket<T>, entry: Entry<T>) {
    if bucket.back().is_none_or(|last| last.rank < entry.rank) {
        bucket.push_back(entry);
    } else {
        let place = bucket.partition_point(|other| other.rank < entry.rank);
        bucket.insert(place, entry);
    }
}
