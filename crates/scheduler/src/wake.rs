//! The instances that wait for work, and how they are woken.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::sync::{AtomicU64, Thread, ThreadId, thread};
use cresset_clock as clock;

/// If a thread yields its processor and gets it back only after this, another
/// thread wants the processor.
const PROCESSOR_WANTED: Duration = Duration::from_micros(5);

/// Instances that wait for work and have not been woken. If there is none, a
/// submission wakes no thread and costs no system call.
#[derive(Debug, Default)]
pub(crate) struct Sleepers(Vec<Sleeper>);

/// An instance's thread that is parked, or about to be.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    /// It may be unable to take the work that comes: waking it may not be
    /// enough.
    reluctant: bool,
}

impl Sleepers {
    /// The calling thread is about to park.
    pub(crate) fn enter(&mut self, reluctant: bool) -> ThreadId {
        let thread = thread::current();
        let id = thread.id();
        self.0.push(Sleeper { thread, reluctant });
        id
    }

    /// The thread has returned from parking, for any reason.
    pub(crate) fn leave(&mut self, id: ThreadId) {
        self.0.retain(|sleeper| sleeper.thread.id() != id);
    }

    /// Takes out an instance that can take the work: the one that has waited
    /// for the shortest time, because its memory is still in the caches.
    pub(crate) fn take_willing(&mut self) -> Option<Thread> {
        let place = self.0.iter().rposition(|sleeper| !sleeper.reluctant)?;
        Some(self.0.remove(place).thread)
    }

    pub(crate) fn unpark_all(&self) {
        self.0.iter().for_each(|sleeper| sleeper.thread.unpark());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Counts the events for which an instance should ask again.
#[derive(Debug)]
pub(crate) struct News(AtomicU64);

impl News {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn tell(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Spins until the count is no longer `count`, until its maximum time is
    /// over, or until another thread wants the processor.
    pub(crate) fn spin_before_park(&self, count: u64, began: Instant, most: Duration) {
        let mut now = began;
        while self.count() == count && now.saturating_duration_since(began) < most {
            let before = now;
            thread::yield_now();
            now = clock::now();
            if now.saturating_duration_since(before) > PROCESSOR_WANTED {
                return;
            }
        }
    }
}
