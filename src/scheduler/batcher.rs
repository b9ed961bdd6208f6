//! The dynamic batcher: a pure state machine.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model_config::DynamicBatching;

/// What the batcher must know of a request that waits.
pub trait Waiting {
    /// How many rows it brings; at least 1.
    fn rows(&self) -> u32;
    /// Requests run together only where these are equal: the shapes behind
    /// the batch dimension, and the datatypes.
    fn bucket(&self) -> &[i64];
    /// When it came.
    fn arrival(&self) -> Instant;
    /// Whether nobody waits for the answer any more.
    fn cancelled(&self) -> bool;
}

/// How batches are formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The most rows in a batch; `None` runs each request by itself.
    pub max_batch_size: Option<u32>,
    /// Sizes at which a batch leaves without waiting for its delay, ascending.
    pub preferred_batch_sizes: Vec<u32>,
    /// How long the oldest request may wait for company, from its arrival.
    pub max_queue_delay: Duration,
    /// How many requests may wait.
    pub capacity: usize,
}

impl Policy {
    /// The policy that a configuration asks for; `capacity` is the server's
    /// bound where the configuration has none.
    #[must_use]
    pub fn new(max_batch_size: u32, batching: Option<&DynamicBatching>, capacity: usize) -> Self {
        let Some(batching) = batching.filter(|_| max_batch_size > 0) else {
            return Self {
                max_batch_size: None,
                preferred_batch_sizes: Vec::new(),
                max_queue_delay: Duration::ZERO,
                capacity,
            };
        };
        Self {
            max_batch_size: Some(max_batch_size),
            preferred_batch_sizes: batching.preferred_batch_sizes.clone(),
            max_queue_delay: batching.max_queue_delay,
            capacity: match batching.max_queue_size {
                0 => capacity,
                size => size as usize,
            },
        }
    }
}

/// Why a batch left when it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// No further request would have fitted.
    Full,
    /// It reached a preferred size.
    Preferred,
    /// An instance was free and no delay is asked for.
    Ready,
    /// Its oldest request had waited for the whole delay.
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
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Preferred,
        Self::Ready,
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
            Self::Delay => "delay",
            Self::Single => "single",
            Self::Drain => "drain",
            Self::Retry => "retry",
            Self::Halved => "halved",
        }
    }
}

/// Requests that run together, oldest first; never empty.
#[derive(Debug)]
pub struct Batch<T> {
    /// In the order of their arrival.
    pub requests: Vec<T>,
    /// The sum of their rows.
    pub rows: u32,
    /// Why it left.
    pub reason: CloseReason,
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
/// Promises, each held by a property test: a batch never has more rows than
/// the maximum, requests of one bucket leave in the order in which they came,
/// every request that was taken in leaves exactly once, and none waits longer
/// than the delay for anything but a free instance.
#[derive(Debug)]
pub struct Batcher<T> {
    policy: Policy,
    /// By shape, so that one odd request never cuts a batch short. A bucket
    /// that is empty is removed.
    buckets: HashMap<Box<[i64]>, VecDeque<T>>,
    waiting: usize,
    draining: bool,
}

impl<T: Waiting> Batcher<T> {
    /// An empty one.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, buckets: HashMap::new(), waiting: 0, draining: false }
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

    /// Takes a request in, or hands it back where as many wait as may.
    ///
    /// # Errors
    /// The request, when the queue is full.
    pub fn push(&mut self, request: T) -> Result<(), T> {
        if self.waiting >= self.policy.capacity {
            return Err(request);
        }
        self.waiting += 1;
        match self.buckets.get_mut(request.bucket()) {
            Some(bucket) => bucket.push_back(request),
            None => {
                let key = Box::from(request.bucket());
                self.buckets.insert(key, VecDeque::from([request]));
            }
        }
        Ok(())
    }

    /// From now on nothing waits for company.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes out the requests that nobody waits for any more.
    pub fn take_cancelled(&mut self) -> Vec<T> {
        let mut cancelled = Vec::new();
        self.buckets.retain(|_, bucket| {
            let mut index = 0;
            while index < bucket.len() {
                if bucket[index].cancelled() {
                    cancelled.extend(bucket.remove(index));
                } else {
                    index += 1;
                }
            }
            !bucket.is_empty()
        });
        self.waiting -= cancelled.len();
        cancelled
    }

    /// What an instance that is free at `now` is to do. Of the batches that
    /// may leave, the one whose oldest request is the oldest goes first.
    pub fn next(&mut self, now: Instant) -> Decision<T> {
        let mut best: Option<(Instant, &[i64], Cut)> = None;
        let mut wake: Option<Instant> = None;
        for (key, bucket) in &self.buckets {
            let Some(oldest) = bucket.front().map(Waiting::arrival) else { continue };
            match self.policy.cut(bucket, now, self.draining) {
                Some(cut) => {
                    if best.as_ref().is_none_or(|(other, ..)| oldest < *other) {
                        best = Some((oldest, key, cut));
                    }
                }
                None => {
                    let due = oldest + self.policy.max_queue_delay;
                    wake = Some(wake.map_or(due, |other| other.min(due)));
                }
            }
        }
        match (best, wake) {
            (Some((_, key, cut)), _) => {
                let key = Box::from(key);
                Decision::Run(self.take(&key, cut))
            }
            (None, Some(due)) => Decision::WaitUntil(due),
            (None, None) => Decision::Idle,
        }
    }

    /// The batch that no further request would fit into, if there is one; of
    /// several that with the oldest request.
    pub fn next_full(&mut self) -> Option<Batch<T>> {
        let full = self.buckets.iter().filter_map(|(key, bucket)| {
            let cut = self.policy.full_cut(bucket)?;
            Some((bucket.front()?.arrival(), key, cut))
        });
        let (_, key, cut) = full.min_by_key(|(arrival, ..)| *arrival)?;
        let key = key.clone();
        Some(self.take(&key, cut))
    }

    /// Takes all out, in no order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.waiting = 0;
        self.buckets.drain().flat_map(|(_, bucket)| bucket).collect()
    }

    #[cfg(test)]
    pub(super) fn buckets_for_test(&self) -> impl Iterator<Item = &VecDeque<T>> {
        self.buckets.values()
    }

    fn take(&mut self, key: &[i64], cut: Cut) -> Batch<T> {
        let mut requests = Vec::with_capacity(cut.count);
        if let Some(bucket) = self.buckets.get_mut(key) {
            requests.extend(bucket.drain(..cut.count));
            if bucket.is_empty() {
                self.buckets.remove(key);
            }
        }
        self.waiting -= requests.len();
        Batch { requests, rows: cut.rows, reason: cut.reason }
    }
}

/// How much of a bucket leaves.
#[derive(Debug, Clone, Copy)]
struct Cut {
    count: usize,
    rows: u32,
    reason: CloseReason,
}

impl Policy {
    /// The batch that leaves this bucket whenever it can, because nothing more
    /// fits into it.
    fn full_cut<T: Waiting>(&self, bucket: &VecDeque<T>) -> Option<Cut> {
        let largest = self.max_batch_size.unwrap_or(0);
        let rows: u64 = bucket.iter().map(|request| u64::from(request.rows())).sum();
        // `cut` decides; this only tells whether asking is worth it.
        if rows < u64::from(largest) {
            return None;
        }
        let oldest = bucket.front()?.arrival();
        self.cut(bucket, oldest, false).filter(|cut| match cut.reason {
            CloseReason::Full | CloseReason::Preferred | CloseReason::Single => true,
            CloseReason::Ready
            | CloseReason::Delay
            | CloseReason::Drain
            | CloseReason::Retry
            | CloseReason::Halved => false,
        })
    }

    /// The batch that may leave this bucket now, if any.
    fn cut<T: Waiting>(&self, bucket: &VecDeque<T>, now: Instant, draining: bool) -> Option<Cut> {
        let first = bucket.front()?;
        let Some(max) = self.max_batch_size else {
            return Some(Cut { count: 1, rows: first.rows(), reason: CloseReason::Single });
        };

        let mut rows = 0;
        let mut count = 0;
        let mut full = false;
        let mut preferred: Option<Cut> = None;
        for request in bucket {
            // The first goes whatever its size: a larger request was refused
            // before it came here, or runs as it is.
            if count > 0 && rows + request.rows() > max {
                full = true;
                break;
            }
            rows += request.rows();
            count += 1;
            if self.preferred_batch_sizes.binary_search(&rows).is_ok() {
                preferred = Some(Cut { count, rows, reason: CloseReason::Preferred });
            }
        }
        full |= rows >= max;

        if preferred.is_some() {
            return preferred;
        }
        let reason = if full {
            CloseReason::Full
        } else if draining {
            CloseReason::Drain
        } else if self.max_queue_delay.is_zero() {
            CloseReason::Ready
        } else if now >= first.arrival() + self.max_queue_delay {
            CloseReason::Delay
        } else {
            return None;
        };
        Some(Cut { count, rows, reason })
    }
}
