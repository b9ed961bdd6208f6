//! The dynamic batcher: it decides which requests run together, and when. Plain
//! state: no clock, no threads, no model.

use std::time::{Duration, Instant};

use super::batching_policy::{BatchingPolicy, Leaves};
use super::earlier;
use super::forecast::{Ahead, Forecast, Late, Limits};
use super::learned::{Learned, Ran};
use super::members::Cut;
use super::queue_policy::QueuePolicy;
use super::request::{Batch, CloseReason, Overload, Schedulable};
use super::running::{RunningBatch, RunningBatches, Ticket};
use super::timing_policy::TimingPolicy;
use super::waiting::{Bucket, Rank, WaitingRequests};

/// How batches are formed, as configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Which requests may wait, and which go first.
    pub queue: QueuePolicy,
    /// Which requests run together.
    pub batching: BatchingPolicy,
    /// When they run.
    pub timing: TimingPolicy,
    /// How many instances take batches; they share the waiting requests. Zero
    /// if that isn't known.
    pub instances: usize,
    /// How long an instance without work spins before it parks its thread. It
    /// spins only if the last work came within that time. Waking a thread takes
    /// tens of microseconds, which is more than a light model takes. Spinning
    /// costs processor time, but another thread gets the processor as soon as
    /// it wants it.
    pub spin_before_park: Duration,
}

/// What a free instance should do.
#[derive(Debug)]
pub enum Decision<T> {
    /// Run this, and finish it under this ticket.
    Run(Batch<T>, Ticket),
    /// Nothing may leave before this time, unless a request comes.
    WaitUntil(Instant),
    /// No request waits.
    Idle,
}

/// The requests that wait for an instance, and the batches that run.
///
/// It guarantees the following; each is held by a property test:
///
/// - A batch never has more rows or elements than the maximum.
/// - Requests of one bucket and level that are in time leave in the order of
///   their arrival. (If lengths differ, only the first of them is sure to be in
///   the next batch.)
/// - Every accepted request leaves exactly once.
/// - A request waits for other reasons than a free instance only up to the
///   delay. With a latency target it may also wait for others to join it, as
///   long as the target allows it. Without a target, a request never waits if
///   no delay is configured.
/// - A request that is late when an instance asks doesn't run if its policy
///   refuses late requests.
///
/// A free instance may leave some requests for another one that will be free
/// before it is done; no request is left twice.
#[derive(Debug)]
pub struct Batcher<T> {
    pub(crate) policy: Policy,
    pub(crate) learned: Learned,
    pub(crate) waiting: WaitingRequests<T>,
    pub(crate) running: RunningBatches,
    draining: bool,
}

impl<T: Schedulable> Batcher<T> {
    /// An empty batcher.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            learned: Learned::default(),
            waiting: WaitingRequests::default(),
            running: RunningBatches::default(),
            draining: false,
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no request waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.len() == 0
    }

    /// Accepts a request, or returns it if the maximum number waits. Returns
    /// the time at which it is to be refused if it still waits, if there is
    /// one.
    ///
    /// # Errors
    /// The request, if the queue or its level is full.
    pub fn push(&mut self, request: T) -> Result<Option<Instant>, T> {
        let queue = &self.policy.queue;
        let level = queue.level(request.priority());
        if !queue.has_room(level, self.waiting.len(), self.waiting.len_of_level(level)) {
            return Err(request);
        }
        let policy = queue.policy(level);
        let deadline = policy.deadline(request.arrival(), request.timeout());
        let refused_at = deadline.filter(|_| policy.refuses());
        let hopeless = self.hopeless(&request);
        self.learned.arrived(request.arrival(), request.rows());
        self.waiting.insert(request, level, deadline, hopeless);
        Ok(refused_at)
    }

    /// When it is too late for this request to start, by its client's deadline
    /// and by what its rows alone take. `None` if it could start at once: then
    /// it runs, so that times which are out of date are learned anew.
    fn hopeless(&self, request: &T) -> Option<Instant> {
        let starts = self.waiting.len() == 0 && self.running.len() < self.policy.instances.max(1);
        let deadline = request.deadline().filter(|_| !starts && self.policy.batching.lengths.is_none())?;
        let alone = self.learned.times.of(request.bucket())?.expected(request.rows())?;
        deadline.checked_sub(alone)
    }

    /// Why this request, at its arrival, isn't worth accepting: it would be
    /// answered too late. `None` if it is worth it, or if nothing is known.
    #[must_use]
    pub fn late(&self, request: &T) -> Option<Late> {
        let level = self.policy.queue.level(request.priority());
        let policy = self.policy.queue.policy(level);
        let run = policy.refused_at(request.arrival(), request.timeout());
        let ahead = self.ahead(level, self.waiting.other_shapes(request.bucket()));
        // If lengths differ, rows don't determine a batch's duration. So its
        // client's deadline alone is no reason to refuse a request by a guess.
        let answer = request.deadline().filter(|_| self.policy.batching.lengths.is_none());
        let wait = self.policy.queue.max_wait.filter(|_| !request.follows());
        let limits = Limits { run, answer, wait };
        self.forecast().late(Some(request.bucket()), request.rows(), ahead, limits, request.arrival())
    }

    /// Why a request that came `now` would be refused, whatever its level, its
    /// shape and its own limits. `None` if some request might be accepted. So many
    /// rows are `coming`, as if they waited.
    #[must_use]
    pub fn overload(&self, coming: u64, now: Instant) -> Option<Overload> {
        let queue = &self.policy.queue;
        if queue.is_full(self.waiting.len()) {
            return Some(Overload::Full { wait: self.wait(now) });
        }
        let mut ahead = self.ahead_of_all();
        ahead.rows += coming;
        ahead.requests += coming;
        if ahead.rows == 0 {
            return None;
        }
        // Levels may have time limits that differ, and requests only shorten
        // them.
        let policy = queue.policy(queue.default_level);
        let run = policy.refused_at(now, None).filter(|_| queue.levels == 0);
        let limits = Limits { run, answer: None, wait: queue.max_wait };
        self.forecast().late(self.waiting.only_shape(), 1, ahead, limits, now).map(Overload::Late)
    }

    /// How long a request that came `now` would wait at least; `None` if too
    /// little is known.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.forecast().wait(self.waiting.only_shape(), self.ahead_of_all(), now)
    }

    /// The requests in front of a request of the first level, if it has a shape
    /// that waits.
    fn ahead_of_all(&self) -> Ahead {
        self.ahead(self.policy.queue.first_level(), self.waiting.shapes().saturating_sub(1))
    }

    fn ahead(&self, level: u64, other_shapes: usize) -> Ahead {
        let (requests, rows) = self.waiting.before(level);
        Ahead { requests, rows, other_shapes: other_shapes as u64 }
    }

    /// What an instance that is free at `now` should do, once the caller has taken
    /// the late requests out ([`Batcher::take_expired`]). Of several batches that
    /// may leave, it is the one with the first request in order.
    pub fn next(&mut self, now: Instant) -> Decision<T> {
        let mut best: Option<(Rank, &[i64], Cut)> = None;
        let mut wake: Option<Instant> = None;
        for (shape, bucket) in self.waiting.buckets() {
            let Some(first) = bucket.front().map(|entry| entry.rank) else { continue };
            let formed = self.policy.batching.form(bucket, &self.learned.padding);
            let leaves = self.policy.timing.leaves(formed, now, self.draining);
            match self.adjust_for_latency(shape, bucket, leaves, now) {
                Leaves::Now(cut) => {
                    if best.as_ref().is_none_or(|(other, ..)| first < *other) {
                        best = Some((first, shape, cut));
                    }
                }
                Leaves::At(due) => wake = earlier(wake, Some(due)),
            }
        }
        match (best, wake) {
            (Some((_, shape, cut)), _) => {
                let shape = Box::from(shape);
                let (batch, ticket) = self.hand_out(shape, cut, now);
                Decision::Run(batch, ticket)
            }
            // A request is taken out when its time is over: the rest may have a
            // preferred size.
            (None, Some(due)) => {
                Decision::WaitUntil(self.waiting.next_deadline().map_or(due, |deadline| due.min(deadline)))
            }
            (None, None) => Decision::Idle,
        }
    }

    /// The batch into which no further request would fit, if there is one; of
    /// several, the one with the first request in order.
    pub fn next_full(&mut self, now: Instant) -> Option<(Batch<T>, Ticket)> {
        let full = self.waiting.buckets().filter_map(|(shape, bucket)| {
            let cut = match self.full_by_size(bucket) {
                Some(cut) => match self.adjust_for_latency(shape, bucket, Leaves::Now(cut), now) {
                    Leaves::Now(cut) => cut,
                    Leaves::At(_) => return None,
                },
                None => self.full_by_time(shape, bucket)?,
            };
            Some((bucket.front()?.rank, shape, cut))
        });
        let (_, shape, cut) = full.min_by_key(|(rank, ..)| *rank)?;
        let shape = Box::from(shape);
        Some(self.hand_out(shape, cut, now))
    }

    /// The batch that may leave this bucket at any time, because no further
    /// request fits into it.
    fn full_by_size(&self, bucket: &Bucket<T>) -> Option<Cut> {
        let batching = &self.policy.batching;
        let largest = batching.max_batch_size.unwrap_or(0);
        let rows: u64 = bucket.iter().map(|entry| u64::from(entry.request.rows())).sum();
        // `form` decides; this only tells whether to ask it.
        if rows < u64::from(largest) && batching.max_elements.is_none() {
            return None;
        }
        let oldest = bucket.front()?.request.arrival();
        let formed = batching.form(bucket, &self.learned.padding);
        match self.policy.timing.leaves(formed, oldest, false) {
            Leaves::Now(cut) => cut.reason.is_of_size().then_some(cut),
            Leaves::At(_) => None,
        }
    }

    fn hand_out(&mut self, shape: Box<[i64]>, cut: Cut, now: Instant) -> (Batch<T>, Ticket) {
        let Cut { members, rows, could, reason, leaves_some } = cut;
        let requests = self.waiting.take(&shape, members, leaves_some);
        let batch = Batch { requests, rows, reason };
        let ticket = self.note_leaving(shape, &batch, could, now);
        (batch, ticket)
    }

    /// A part of a batch leaves again, under its own ticket.
    pub fn leave_again(&mut self, batch: &Batch<T>, now: Instant) -> Ticket {
        self.note_leaving(Box::from(batch.bucket()), batch, batch.rows, now)
    }

    fn note_leaving(&mut self, shape: Box<[i64]>, batch: &Batch<T>, could: u32, now: Instant) -> Ticket {
        let rows = batch.rows;
        self.learned.left(rows, could);
        let expected = self.learned.times.of(&shape).and_then(|times| times.expected(rows));
        let until = now + expected.unwrap_or_default();
        let learns = self.policy.timing.latency_target.is_some() || self.policy.queue.max_wait.is_some();
        let arrivals =
            if learns { batch.requests.iter().map(Schedulable::arrival).collect() } else { Vec::new() };
        self.running.hand_out(RunningBatch { shape, rows, left: now, until, arrivals })
    }

    /// A batch is finished: each of its requests was answered, or is to run
    /// again in a batch of its own. `ran` tells how it ran, if it was
    /// undisturbed from start to end.
    pub fn finish(&mut self, ticket: Ticket, ran: Option<Ran>) {
        let Some(batch) = self.running.take_back(ticket) else { return };
        if let Some(ran) = ran {
            let (timing, queue) = (&self.policy.timing, &self.policy.queue);
            self.learned.ran(&batch, ran, timing.latency_target, queue.max_wait);
        }
    }

    /// A run of `rows` of this shape on the server's own account took this
    /// long.
    pub fn tried(&mut self, shape: &[i64], rows: u32, took: Duration) {
        self.learned.tried(shape, rows, took);
    }

    /// The model was replaced, so its times are no longer valid.
    pub fn forget_times(&mut self) {
        self.learned.times.forget();
    }

    /// From now on no request waits for others.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Batches have at most `most` rows from now on; `None` runs each request
    /// by itself.
    pub fn share_batches(&mut self, most: Option<u32>) {
        self.policy.batching.max_batch_size = most;
    }

    /// Takes out the requests of clients that have gone.
    pub fn take_cancelled(&mut self) -> Vec<T> {
        self.waiting.take_cancelled()
    }

    /// Takes out the requests that are late at `now` and are to be refused, and
    /// those whose clients won't wait for their answers. Late requests that are to
    /// be delayed go behind the others of their level.
    pub fn take_expired(&mut self, now: Instant) -> Vec<T> {
        self.waiting.take_expired(&self.policy.queue, now)
    }

    /// Takes all requests out, in no order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.waiting.take_all()
    }

    pub(crate) fn forecast(&self) -> Forecast<'_> {
        Forecast {
            instances: self.policy.instances,
            max_batch_size: self.policy.batching.max_batch_size,
            target: self.policy.timing.latency_target,
            learned: &self.learned,
            running: &self.running,
        }
    }
}

impl CloseReason {
    /// Whether a batch leaves only because of its size, whatever the time.
    fn is_of_size(self) -> bool {
        match self {
            Self::Full | Self::Preferred | Self::Single => true,
            Self::Ready | Self::Efficient | Self::Delay | Self::Drain | Self::Retry | Self::Halved => false,
        }
    }
}
