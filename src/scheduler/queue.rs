//! The batcher behind a lock, and the instances that wait on it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Batch, Batcher, Decision, Policy, Waiting};
use crate::clock;

/// A bounded queue of requests in front of a model's instances.
///
/// A request that [`Queue::submit`] took in leaves through exactly one batch,
/// or is dropped because it was cancelled; the lock is held for the decision
/// alone, never while a model runs.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signalled when a request comes and when the queue closes.
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    batcher: Batcher<T>,
    closed: bool,
    /// Instances that wait for work. Where there is none, a submission wakes
    /// nobody and costs no system call.
    idle: usize,
}

/// Why a request wasn't taken in; it comes back whole.
#[derive(Debug)]
pub enum Refused<T> {
    /// As many wait as may.
    Full(T),
    /// The model is being stopped.
    Closed(T),
}

impl<T: Waiting> Queue<T> {
    /// An open, empty queue.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let state = State { batcher: Batcher::new(policy), closed: false, idle: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a request in, or refuses it at once.
    ///
    /// # Errors
    /// The request with the reason; nothing waits.
    pub fn submit(&self, request: T) -> Result<(), Refused<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed(request));
        }
        let request = match state.batcher.push(request) {
            Ok(()) => {
                if state.idle > 0 {
                    drop(state);
                    self.changed.notify_one();
                }
                return Ok(());
            }
            Err(request) => request,
        };
        // Full, perhaps of requests whose clients have gone: those make room.
        let gone = state.batcher.take_cancelled();
        let result = state.batcher.push(request).map_err(Refused::Full);
        drop(state);
        self.changed.notify_one();
        drop(gone);
        result
    }

    /// Waits for the next batch; `None` once the queue is closed and empty.
    /// Called by an instance that is free.
    pub fn next_batch(&self) -> Option<Batch<T>> {
        let mut state = self.lock();
        loop {
            // Dropped outside the lock: answering may run other code.
            let gone = state.batcher.take_cancelled();
            if !gone.is_empty() {
                drop(state);
                drop(gone);
                state = self.lock();
                continue;
            }
            match state.batcher.next(clock::now()) {
                Decision::Run(batch) => {
                    // What is left may be another idle instance's work.
                    let more = state.idle > 0 && !state.batcher.is_empty();
                    drop(state);
                    if more {
                        self.changed.notify_one();
                    }
                    return Some(batch);
                }
                Decision::WaitUntil(due) => {
                    let timeout = due.saturating_duration_since(clock::now());
                    state.idle += 1;
                    let waited = self.changed.wait_timeout(state, timeout);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.idle -= 1;
                }
                Decision::Idle if state.closed => return None,
                Decision::Idle => {
                    state.idle += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
    }

    /// Takes nothing in any more; what waits leaves at once, and then the
    /// instances end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.batcher.drain();
        drop(state);
        self.changed.notify_all();
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().batcher.len()
    }

    /// Whether none waits, and some may still come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.batcher.is_empty() && !state.closed
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state is consistent between any two statements under the lock, so
    /// a panic elsewhere while it was held breaks nothing.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
