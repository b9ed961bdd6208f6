//! The batcher behind a lock, and the instances that wait for it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batcher::{Batcher, Decision, Policy};
use super::forecast::Late;
use super::learned::Ran;
use super::request::{Batch, Overload, Schedulable};
use super::running::Ticket;
use super::sync::{AtomicU64, Mutex, MutexGuard, park_timeout, thread};
use super::wake::{News, Sleepers};
use cresset_clock as clock;

/// The minimum interval between two scans of all waiting requests for late
/// ones.
const SCAN: Duration = Duration::from_millis(1);

/// A bounded queue of requests in front of a model's instances.
///
/// A request that [`Queue::submit`] accepted has one of three ends: it leaves
/// in exactly one batch, or it is dropped because it was cancelled, or it is
/// refused because its time is over. The lock is held only for the decision,
/// never while a model runs.
#[derive(Debug)]
pub struct Queue<T> {
    guarded: Mutex<Guarded<T>>,
    /// How many requests waited when the lock was last held for a submission or
    /// a batch: a hint for [`Queue::overload`].
    waiting: AtomicU64,
    /// Rows that are made ready for the queue.
    coming: AtomicU64,
    news: News,
    /// See [`Policy::spin_before_park`].
    spin_before_park: Duration,
}

/// The state behind the queue's lock.
#[derive(Debug)]
struct Guarded<T> {
    batcher: Batcher<T>,
    /// Parts of batches that are to run again, before all others.
    given_back: VecDeque<Batch<T>>,
    closed: bool,
    sleepers: Sleepers,
    /// How long the last instance without work waited.
    last_wait: Duration,
    /// When all waiting requests were last scanned for late ones.
    scanned: Option<Instant>,
    /// How many times a [`WakeGuard`] has woken an instance. A guard from
    /// before the last time has nothing left to do.
    wakes: u64,
}

/// An accepted request.
#[derive(Debug)]
#[must_use]
pub struct Submitted<'a, T: Schedulable> {
    /// When [`Queue::expire`] must be called, so that the request is answered
    /// on time, however busy the instances are.
    pub deadline: Option<Instant>,
    /// Wakes an instance when it is dropped; `None` if none waits.
    pub wake: Option<WakeGuard<'a, T>>,
}

/// The duty to wake an instance, done on drop. A task that has more to submit
/// keeps the guard until then: its submissions leave in one batch, and cost one
/// system call. Each submission that finds an instance asleep has a guard. The
/// first guard that is dropped wakes for all, so no submission depends on
/// another one's guard.
#[derive(Debug)]
pub struct WakeGuard<'a, T: Schedulable> {
    queue: &'a Queue<T>,
    number: u64,
}

impl<T: Schedulable> Drop for WakeGuard<'_, T> {
    fn drop(&mut self) {
        let mut guarded = self.queue.lock();
        if guarded.wakes == self.number {
            guarded.wakes += 1;
            self.queue.wake_one(guarded);
        }
    }
}

/// Rows that are made ready for the queue, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Coming<'a> {
    all: &'a AtomicU64,
    rows: u64,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.rows, Ordering::Relaxed);
    }
}

/// Why a request was refused; it is returned unchanged.
#[derive(Debug)]
pub enum Refused<T> {
    /// There is too much before it.
    Overload(T, Overload),
    /// The model is being stopped.
    Closed(T),
}

/// When an instance takes a batch that further requests might still join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The instance is free.
    Now,
    /// The instance expects to be free soon after this, so the batch should be
    /// collected then.
    At(Instant),
    /// Not before [`Queue::wake`].
    Later,
}

/// An instance that wants a batch, as the queue sees it. The queue asks again
/// after each [`Queue::wake`], under its lock: an implementation must not wait,
/// nor call the queue.
pub trait Taker {
    /// When it takes a batch that isn't full; a full one leaves at once.
    fn turn(&self) -> Turn {
        Turn::Now
    }

    /// Whether it has other work while no request waits.
    fn has_other_work(&self) -> bool {
        false
    }
}

/// An instance that is free, and only runs batches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Free;

impl Taker for Free {}

/// What an instance should do next.
#[derive(Debug)]
pub enum Next<'a, T: Schedulable> {
    /// Run this.
    Batch(Batch<T>, RunGuard<'a, T>),
    /// No request waits, and the instance has other work.
    OtherWork,
    /// End: no more requests will come.
    Closed,
}

/// A batch that an instance has taken. Dropping this tells the queue that the
/// batch is over: each of its requests was answered or given back.
#[derive(Debug)]
#[must_use]
pub struct RunGuard<'a, T: Schedulable> {
    queue: &'a Queue<T>,
    ticket: Ticket,
    ran: Option<Ran>,
}

impl<T: Schedulable> RunGuard<'_, T> {
    /// The batch is over, and was undisturbed from start to end.
    pub fn finish(mut self, ran: Ran) {
        self.ran = Some(ran);
    }
}

impl<T: Schedulable> Drop for RunGuard<'_, T> {
    fn drop(&mut self) {
        self.queue.lock().batcher.finish(self.ticket, self.ran);
    }
}

impl<T: Schedulable> Queue<T> {
    /// An open, empty queue.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let spin_before_park = policy.spin_before_park;
        let guarded = Guarded {
            batcher: Batcher::new(policy),
            given_back: VecDeque::new(),
            closed: false,
            sleepers: Sleepers::default(),
            last_wait: Duration::MAX,
            scanned: None,
            wakes: 0,
        };
        Self {
            guarded: Mutex::new(guarded),
            waiting: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            news: News::new(),
            spin_before_park,
        }
    }

    /// Accepts a request, or refuses it at once.
    ///
    /// # Errors
    /// The request with the reason for its refusal.
    pub fn submit(&self, request: T) -> Result<Submitted<'_, T>, Refused<T>> {
        let mut guarded = self.lock();
        if guarded.closed {
            return Err(Refused::Closed(request));
        }
        if let Some(late) = guarded.batcher.late(&request) {
            guarded = match self.make_room_in_time(guarded, &request, late) {
                Ok(guarded) => guarded,
                Err(late) => return Err(Refused::Overload(request, Overload::Late(late))),
            };
            if guarded.closed {
                return Err(Refused::Closed(request));
            }
        }
        let request = match guarded.batcher.push(request) {
            Ok(deadline) => return Ok(self.submitted(&guarded, deadline)),
            Err(request) => request,
        };
        // Full, but perhaps of requests whose clients have gone or whose time
        // is over: removing these makes room.
        let now = clock::now();
        let gone = guarded.batcher.take_cancelled();
        let late = guarded.batcher.take_expired(now);
        let result = match guarded.batcher.push(request) {
            Ok(deadline) => Ok(self.submitted(&guarded, deadline)),
            Err(request) => {
                Err(Refused::Overload(request, Overload::Full { wait: guarded.batcher.wait(now) }))
            }
        };
        drop(guarded);
        drop(gone);
        late.into_iter().for_each(T::expire);
        result
    }

    /// Why any request would be refused now. It costs one atomic read while no
    /// request waits, and a short lock otherwise. `None` promises nothing: what a
    /// request is decides, too, and [`Queue::submit`] knows it.
    pub fn overload(&self) -> Option<Overload> {
        // The next request would be the next batch's.
        let coming = self.coming.load(Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) == 0 && coming == 0 {
            return None;
        }
        let now = clock::now();
        let mut guarded = self.lock();
        if guarded.closed {
            return None;
        }
        let overload = guarded.batcher.overload(coming, now)?;
        let Some(gone) = guarded.take_cancelled_at_times(now) else { return Some(overload) };
        let overload = guarded.batcher.overload(coming, now);
        drop(guarded);
        drop(gone);
        overload
    }

    /// So many rows will be submitted soon: [`Queue::overload`] counts them as if
    /// they waited.
    pub fn coming(&self, rows: usize) -> Coming<'_> {
        let rows = rows as u64;
        self.coming.fetch_add(rows, Ordering::Relaxed);
        Coming { all: &self.coming, rows }
    }

    /// A request would be late, but perhaps because of requests whose clients
    /// have gone: removes these. Gives why it is late all the same.
    fn make_room_in_time<'a>(
        &'a self,
        mut guarded: MutexGuard<'a, Guarded<T>>,
        request: &T,
        late: Late,
    ) -> Result<MutexGuard<'a, Guarded<T>>, Late> {
        let Some(gone) = guarded.take_cancelled_at_times(clock::now()) else { return Err(late) };
        let late = guarded.batcher.late(request);
        drop(guarded);
        drop(gone);
        match late {
            Some(late) => Err(late),
            None => Ok(self.lock()),
        }
    }

    fn submitted(&self, guarded: &Guarded<T>, deadline: Option<Instant>) -> Submitted<'_, T> {
        self.note_waiting(guarded);
        let asleep = !guarded.sleepers.is_empty();
        let wake = asleep.then(|| WakeGuard { queue: self, number: guarded.wakes });
        Submitted { deadline, wake }
    }

    fn note_waiting(&self, guarded: &Guarded<T>) {
        self.waiting.store(guarded.batcher.len() as u64, Ordering::Relaxed);
    }

    /// Answers the requests whose time is over.
    pub fn expire(&self) {
        let late = self.lock().batcher.take_expired(clock::now());
        late.into_iter().for_each(T::expire);
    }

    /// Waits for the next batch for this instance.
    pub fn next(&self, instance: &impl Taker) -> Next<'_, T> {
        let mut guarded = self.lock();
        loop {
            if let Some(batch) = guarded.given_back.pop_front() {
                let ticket = guarded.batcher.leave_again(&batch, clock::now());
                return Next::Batch(batch, RunGuard { queue: self, ticket, ran: None });
            }
            let now = clock::now();
            guarded = match self.without_the_late(guarded, now) {
                Ok(guarded) => guarded,
                Err(unlocked) => {
                    guarded = unlocked;
                    continue;
                }
            };
            let turn = if guarded.closed { Turn::Now } else { instance.turn() };
            let reluctant = turn != Turn::Now;
            let decision = guarded.batcher.decide(turn, now);
            match decision {
                Decision::Run(batch, ticket) => {
                    self.note_waiting(&guarded);
                    // The rest may be for another idle instance.
                    if !(guarded.batcher.is_empty() && guarded.given_back.is_empty()) {
                        self.wake_one(guarded);
                    }
                    return Next::Batch(batch, RunGuard { queue: self, ticket, ran: None });
                }
                Decision::Idle if guarded.closed => return Next::Closed,
                Decision::Idle if instance.has_other_work() => return Next::OtherWork,
                Decision::WaitUntil(due) => {
                    let timeout = due.saturating_duration_since(clock::now());
                    guarded = self.sleep(guarded, reluctant, || park_timeout(timeout));
                }
                Decision::Idle => guarded = self.wait_for_news(guarded, reluctant),
            }
        }
    }

    /// The lock, if no request had to be dropped or answered. Otherwise the
    /// lock was released for that, because answering may run other code.
    fn without_the_late<'a>(
        &'a self,
        mut guarded: MutexGuard<'a, Guarded<T>>,
        now: Instant,
    ) -> Result<MutexGuard<'a, Guarded<T>>, MutexGuard<'a, Guarded<T>>> {
        let gone = guarded.batcher.take_cancelled();
        let late = guarded.batcher.take_expired(now);
        if gone.is_empty() && late.is_empty() {
            return Ok(guarded);
        }
        drop(guarded);
        drop(gone);
        late.into_iter().for_each(T::expire);
        Err(self.lock())
    }

    /// Waits until it is worth asking again.
    fn wait_for_news<'a>(
        &'a self,
        guarded: MutexGuard<'a, Guarded<T>>,
        reluctant: bool,
    ) -> MutexGuard<'a, Guarded<T>> {
        let spins = !reluctant && guarded.last_wait < self.spin_before_park;
        let (began, count) = (clock::now(), self.news.count());
        let mut guarded = self.sleep(guarded, reluctant, || {
            if spins {
                self.news.spin_before_park(count, began, self.spin_before_park);
            }
            thread::park();
        });
        guarded.last_wait = clock::now().saturating_duration_since(began);
        guarded
    }

    /// Waits until the thread is woken, or `park` returns by itself.
    fn sleep<'a>(
        &'a self,
        mut guarded: MutexGuard<'a, Guarded<T>>,
        reluctant: bool,
        park: impl FnOnce(),
    ) -> MutexGuard<'a, Guarded<T>> {
        let id = guarded.sleepers.enter(reluctant);
        drop(guarded);
        park();
        let mut guarded = self.lock();
        guarded.sleepers.leave(id);
        guarded
    }

    /// Wakes an instance that can take the work. If none is sure to take it,
    /// all are woken.
    fn wake_one(&self, mut guarded: MutexGuard<'_, Guarded<T>>) {
        match guarded.sleepers.take_willing() {
            Some(thread) => {
                self.news.tell();
                // The woken thread needs the lock.
                drop(guarded);
                thread.unpark();
            }
            None => self.wake_all(&guarded),
        }
    }

    fn wake_all(&self, guarded: &Guarded<T>) {
        self.news.tell();
        guarded.sleepers.unpark_all();
    }

    /// Makes every waiting instance ask for its turn again.
    pub fn wake(&self) {
        self.wake_all(&self.lock());
    }

    /// Takes back a batch that an instance couldn't run as one. It leaves again
    /// before all others, even if the queue is closed.
    pub fn give_back(&self, batch: Batch<T>) {
        let mut guarded = self.lock();
        guarded.given_back.push_back(batch);
        self.wake_one(guarded);
    }

    /// Takes nothing in any more, and hands out what waits unrun.
    pub fn close_and_take(&self) -> Vec<T> {
        let mut guarded = self.lock();
        guarded.closed = true;
        let mut waiting: Vec<T> = guarded.given_back.drain(..).flat_map(|batch| batch.requests).collect();
        waiting.extend(guarded.batcher.take_all());
        self.wake_all(&guarded);
        waiting
    }

    /// Accepts no more requests. Waiting ones leave at once, and then the
    /// instances end.
    pub fn close(&self) {
        let mut guarded = self.lock();
        guarded.closed = true;
        guarded.batcher.drain();
        self.wake_all(&guarded);
    }

    /// Whether no request waits, and more may come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let guarded = self.lock();
        guarded.batcher.is_empty() && guarded.given_back.is_empty() && !guarded.closed
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let guarded = self.lock();
        guarded.batcher.len() + guarded.given_back.iter().map(|batch| batch.requests.len()).sum::<usize>()
    }

    /// Whether no request waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A run of `rows` of this shape on the server's own account took this
    /// long.
    pub fn tried(&self, shape: &[i64], rows: u32, took: Duration) {
        self.lock().batcher.tried(shape, rows, took);
    }

    /// The model was replaced, so its times are no longer valid.
    pub fn forget_times(&self) {
        self.lock().batcher.forget_times();
    }

    /// Batches have at most `most` rows from now on; `None` runs each request
    /// by itself.
    pub fn share_batches(&self, most: Option<u32>) {
        let mut guarded = self.lock();
        guarded.batcher.share_batches(most);
        self.wake_all(&guarded);
    }

    #[cfg(test)]
    pub(crate) fn idle_for_test(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// The state is consistent between any two statements under the lock, so a
    /// panic while it was held does no damage.
    fn lock(&self) -> MutexGuard<'_, Guarded<T>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Schedulable> Guarded<T> {
    /// Takes out the requests of clients that have gone; `None` if that was done
    /// a moment ago. Scanning all waiting requests for each of many simultaneous
    /// requests would block the instances.
    fn take_cancelled_at_times(&mut self, now: Instant) -> Option<Vec<T>> {
        if self.scanned.is_some_and(|scanned| now.saturating_duration_since(scanned) < SCAN) {
            return None;
        }
        self.scanned = Some(now);
        Some(self.batcher.take_cancelled())
    }
}

impl<T: Schedulable> Batcher<T> {
    /// What an instance with this turn should do.
    fn decide(&mut self, turn: Turn, now: Instant) -> Decision<T> {
        let otherwise = match turn {
            Turn::Now => return self.next(now),
            Turn::At(due) if due <= now => return self.next(now),
            Turn::At(due) => Decision::WaitUntil(due),
            Turn::Later => Decision::Idle,
        };
        self.next_full(now).map_or(otherwise, |(batch, ticket)| Decision::Run(batch, ticket))
    }
}
