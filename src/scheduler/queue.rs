//! The batcher behind a lock, and the instances that wait on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Batch, Batcher, Decision, Late, Policy, Waiting};
use cresset_clock as clock;

/// A thread that gives its processor up for longer than this wasn't the only
/// one who wanted it.
const WANTED: Duration = Duration::from_micros(5);

/// How often all that wait are looked at, at most, for a request that is late.
const SCAN: Duration = Duration::from_millis(1);

/// A bounded queue of requests in front of a model's instances.
///
/// A request that [`Queue::submit`] took in leaves through exactly one batch,
/// or is dropped because it was cancelled, or refused because its time is
/// over; the lock is held for the decision alone, never while a model runs.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    /// Counts what may have made an instance's looking worth it.
    news: AtomicU64,
    /// As of [`Policy::lookout`].
    lookout: Duration,
}

#[derive(Debug)]
struct State<T> {
    batcher: Batcher<T>,
    /// Parts of batches that are to run again; before all others.
    given_back: VecDeque<Batch<T>>,
    closed: bool,
    /// Instances that wait for work and weren't called. Where there is none, a
    /// submission wakes nobody and costs no system call.
    sleepers: Vec<Sleeper>,
    /// How long the last one waited that had nothing to do.
    last_wait: Duration,
    /// When all that wait were last looked at for a request that was late.
    scanned: Option<Instant>,
    /// How many times a [`Call`] was made; one that was taken before the last
    /// is done.
    calls: u64,
}

/// An instance's thread that is parked, or about to be.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    /// It may not take what comes now: waking it may not do.
    reluctant: bool,
}

/// A request that was taken in.
#[derive(Debug)]
#[must_use]
pub struct Submitted<'a, T: Waiting> {
    /// When somebody must call [`Queue::expire`] for the request to be answered
    /// on time, however busy the instances are.
    pub deadline: Option<Instant>,
    /// Wakes an instance when it is dropped; `None` where none waits.
    pub call: Option<Call<'a, T>>,
}

/// The duty to wake an instance, done by dropping it. Whoever has more to submit
/// keeps it until then: what is submitted in between leaves in one batch, for
/// one system call. Everybody who finds an instance asleep has one, and the
/// first that is dropped does it for all: nobody depends on another one's.
#[derive(Debug)]
pub struct Call<'a, T: Waiting> {
    queue: &'a Queue<T>,
    number: u64,
}

impl<T: Waiting> Drop for Call<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if state.calls == self.number {
            state.calls += 1;
            self.queue.call(state);
        }
    }
}

/// Why a request wasn't taken in; it comes back whole.
#[derive(Debug)]
pub enum Refused<T> {
    /// As many wait as may.
    Full(T),
    /// It would be answered too late.
    Late(T, Late),
    /// The model is being stopped.
    Closed(T),
}

/// When an instance takes a batch that further requests might still join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is free.
    Now,
    /// It expects to be free so soon after this that the batch should be
    /// collected.
    At(Instant),
    /// Not before [`Queue::wake`].
    Later,
}

/// What an instance that asked is to do.
#[derive(Debug)]
pub enum Next<T> {
    /// Run this.
    Batch(Batch<T>),
    /// Nothing waits, and it has something else to do.
    Aside,
    /// End: nothing comes any more.
    Closed,
}

impl<T: Waiting> Queue<T> {
    /// An open, empty queue.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let lookout = policy.lookout;
        let state = State {
            batcher: Batcher::new(policy),
            given_back: VecDeque::new(),
            closed: false,
            sleepers: Vec::new(),
            last_wait: Duration::MAX,
            scanned: None,
            calls: 0,
        };
        Self { state: Mutex::new(state), news: AtomicU64::new(0), lookout }
    }

    /// Takes a request in, or refuses it at once.
    ///
    /// # Errors
    /// The request with the reason; nothing waits.
    pub fn submit(&self, request: T) -> Result<Submitted<'_, T>, Refused<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed(request));
        }
        if let Some(late) = state.batcher.late(&request) {
            // Perhaps for those whose clients have gone. Looking at all that wait
            // for each of many that come at once would keep the instances out.
            let now = clock::now();
            if state.scanned.is_some_and(|scanned| now.saturating_duration_since(scanned) < SCAN) {
                return Err(Refused::Late(request, late));
            }
            state.scanned = Some(now);
            let gone = state.batcher.take_cancelled();
            let late = state.batcher.late(&request);
            drop(state);
            drop(gone);
            if let Some(late) = late {
                return Err(Refused::Late(request, late));
            }
            state = self.lock();
            if state.closed {
                return Err(Refused::Closed(request));
            }
        }
        let request = match state.batcher.push(request) {
            Ok(deadline) => return Ok(self.submitted(&state, deadline)),
            Err(request) => request,
        };
        // Full, perhaps of requests whose clients have gone or whose time is
        // over: those make room.
        let gone = state.batcher.take_cancelled();
        let late = state.batcher.take_expired(clock::now());
        let result = match state.batcher.push(request) {
            Ok(deadline) => Ok(self.submitted(&state, deadline)),
            Err(request) => Err(Refused::Full(request)),
        };
        drop(state);
        drop(gone);
        late.into_iter().for_each(T::expire);
        result
    }

    fn submitted(&self, state: &State<T>, deadline: Option<Instant>) -> Submitted<'_, T> {
        let asleep = !state.sleepers.is_empty();
        let call = asleep.then(|| Call { queue: self, number: state.calls });
        Submitted { deadline, call }
    }

    /// Answers the requests whose time is over.
    pub fn expire(&self) {
        let late = self.lock().batcher.take_expired(clock::now());
        late.into_iter().for_each(T::expire);
    }

    /// What [`Batcher::ran`] is told.
    pub fn ran(&self, size: u64, took: Duration) {
        self.lock().batcher.ran(size, took);
    }

    /// Waits for the next batch; `None` once the queue is closed and empty.
    /// Called by an instance that is free.
    pub fn next_batch(&self) -> Option<Batch<T>> {
        self.next_batch_ahead(|| Turn::Now)
    }

    /// The same for an instance that collects a batch while it still computes
    /// others: one that is full leaves at once, any other when `turn` says,
    /// which is asked again after each [`Queue::wake`]. It must not wait, nor
    /// call the queue.
    pub fn next_batch_ahead(&self, turn: impl Fn() -> Turn) -> Option<Batch<T>> {
        match self.next(turn, || false) {
            Next::Batch(batch) => Some(batch),
            Next::Aside | Next::Closed => None,
        }
    }

    /// The same for an instance that has other things to do while nothing
    /// waits: `aside` says whether there are any, and is asked again after each
    /// [`Queue::wake`]. It must not wait, nor call the queue.
    pub fn next_batch_or(&self, aside: impl Fn() -> bool) -> Next<T> {
        self.next(|| Turn::Now, aside)
    }

    fn next(&self, turn: impl Fn() -> Turn, aside: impl Fn() -> bool) -> Next<T> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.given_back.pop_front() {
                state.batcher.again(&batch, clock::now());
                return Next::Batch(batch);
            }
            // Dropped outside the lock: answering may run other code.
            let now = clock::now();
            let gone = state.batcher.take_cancelled();
            let late = state.batcher.take_expired(now);
            if !gone.is_empty() || !late.is_empty() {
                drop(state);
                drop(gone);
                late.into_iter().for_each(T::expire);
                state = self.lock();
                continue;
            }
            let turn = turn();
            let reluctant = turn != Turn::Now;
            let decision = match turn {
                _ if state.closed => state.batcher.next(now),
                Turn::Now => state.batcher.next(now),
                Turn::At(due) if due <= now => state.batcher.next(now),
                Turn::At(due) => state.batcher.next_full(now).map_or(Decision::WaitUntil(due), Decision::Run),
                Turn::Later => state.batcher.next_full(now).map_or(Decision::Idle, Decision::Run),
            };
            match decision {
                Decision::Run(batch) => {
                    // What is left may be another idle instance's work.
                    if !(state.batcher.is_empty() && state.given_back.is_empty()) {
                        self.call(state);
                    }
                    return Next::Batch(batch);
                }
                Decision::Idle if !state.closed && aside() => return Next::Aside,
                Decision::WaitUntil(due) => {
                    let timeout = due.saturating_duration_since(clock::now());
                    state = self.sleep(state, reluctant, || thread::park_timeout(timeout));
                }
                Decision::Idle if state.closed => return Next::Closed,
                Decision::Idle => {
                    let looks_out = !reluctant && state.last_wait < self.lookout;
                    let (began, news) = (clock::now(), self.news.load(Ordering::Acquire));
                    state = self.sleep(state, reluctant, || {
                        if looks_out {
                            self.look_out(began, news);
                        }
                        thread::park();
                    });
                    state.last_wait = clock::now().saturating_duration_since(began);
                }
            }
        }
    }

    /// Until somebody calls, or `park` returns by itself: whoever asked looks
    /// again.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        reluctant: bool,
        park: impl FnOnce(),
    ) -> MutexGuard<'a, State<T>> {
        let thread = thread::current();
        let id = thread.id();
        state.sleepers.push(Sleeper { thread, reluctant });
        drop(state);
        park();
        let mut state = self.lock();
        state.sleepers.retain(|sleeper| sleeper.thread.id() != id);
        state
    }

    /// Until there are news, or this has taken as long as it may, or somebody
    /// else wants the processor.
    fn look_out(&self, began: Instant, news: u64) {
        let mut now = began;
        while self.news.load(Ordering::Acquire) == news && now.saturating_duration_since(began) < self.lookout
        {
            let before = now;
            thread::yield_now();
            now = clock::now();
            if now.saturating_duration_since(before) > WANTED {
                return;
            }
        }
    }

    /// Calls an instance that can take what there is: the one that waits for
    /// the shortest time, whose memory is still in the caches. Where none is
    /// sure to take it, all look for themselves.
    fn call(&self, mut state: MutexGuard<'_, State<T>>) {
        match state.sleepers.iter().rposition(|sleeper| !sleeper.reluctant) {
            Some(place) => {
                self.news.fetch_add(1, Ordering::Release);
                let called = state.sleepers.remove(place);
                // It will want the lock.
                drop(state);
                called.thread.unpark();
            }
            None => self.wake_all(&state),
        }
    }

    fn wake_all(&self, state: &State<T>) {
        self.news.fetch_add(1, Ordering::Release);
        state.sleepers.iter().for_each(|sleeper| sleeper.thread.unpark());
    }

    /// A batch of this bucket and `rows` that [`Queue::next_batch`] gave out is
    /// over: each of its requests was answered or given back. It took so long,
    /// where it ran undisturbed from start to end.
    pub fn done(&self, bucket: &[i64], rows: u32, took: Option<Duration>) {
        self.lock().batcher.done(bucket, rows, took);
    }

    /// A run of `rows` of this shape on the server's own account took so long.
    pub fn tried(&self, shape: &[i64], rows: u32, took: Duration) {
        self.lock().batcher.tried(shape, rows, took);
    }

    /// Larger batches than this are held back until they have run once.
    pub fn hold_back_above(&self, largest: u32) {
        self.lock().batcher.hold_back_above(largest);
    }

    /// No size is held back any more.
    pub fn all_warm(&self) {
        self.lock().batcher.all_warm();
    }

    /// Batches have at most so many rows from now on; `None` runs each request
    /// by itself.
    pub fn share_batches(&self, most: Option<u32>) {
        let mut state = self.lock();
        state.batcher.share_batches(most);
        self.wake_all(&state);
    }

    /// The model became another: nothing is known of how long it takes.
    pub fn forget_times(&self) {
        self.lock().batcher.forget_times();
    }

    /// Takes back what an instance couldn't run as one: it leaves again before
    /// all others, whether the queue is closed or not.
    pub fn give_back(&self, batch: Batch<T>) {
        let mut state = self.lock();
        state.given_back.push_back(batch);
        self.call(state);
    }

    /// Has every waiting instance ask for its turn again.
    pub fn wake(&self) {
        self.wake_all(&self.lock());
    }

    /// Takes nothing in any more, and hands out what waits unrun.
    pub fn close_and_take(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        let mut waiting: Vec<T> = state.given_back.drain(..).flat_map(|batch| batch.requests).collect();
        waiting.extend(state.batcher.take_all());
        self.wake_all(&state);
        waiting
    }

    /// Takes nothing in any more; what waits leaves at once, and then the
    /// instances end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.batcher.drain();
        self.wake_all(&state);
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.batcher.len() + state.given_back.iter().map(|batch| batch.requests.len()).sum::<usize>()
    }

    /// Whether none waits, and some may still come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.batcher.is_empty() && state.given_back.is_empty() && !state.closed
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(test)]
    pub(super) fn idle_for_test(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// The state is consistent between any two statements under the lock, so
    /// a panic elsewhere while it was held breaks nothing.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
