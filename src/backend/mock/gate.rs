//! A door in front of a forward, with the test's hand on it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Closed at first: each forward that comes to it waits until the test lets
/// it through. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// How many may still pass while it is closed.
    passes: usize,
    waiting: usize,
    /// How many have come, let through or not.
    arrived: usize,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through, from now on.
    pub fn open(&self) {
        self.change(|state| state.open = true);
    }

    /// Closes it again.
    pub fn close(&self) {
        self.change(|state| state.open = false);
    }

    /// Lets `count` more through, now or when they come.
    pub fn pass(&self, count: usize) {
        self.change(|state| state.passes += count);
    }

    /// How many wait before it now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let (state, _) = &*self.shared;
        state.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    /// Waits until `count` forwards have come to it since it was made; false
    /// if that took longer than `limit`.
    #[must_use]
    pub fn arrived(&self, count: usize, limit: Duration) -> bool {
        let (state, changed) = &*self.shared;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = changed
            .wait_timeout_while(state, limit, |state| state.arrived < count)
            .unwrap_or_else(PoisonError::into_inner);
        state.arrived >= count
    }

    /// What a forward does: comes, waits, goes through.
    pub(super) fn enter(&self) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived += 1;
        state.waiting += 1;
        changed.notify_all();
        let mut state = changed
            .wait_while(state, |state| !state.open && state.passes == 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        if !state.open {
            state.passes -= 1;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn lets_through_as_many_as_it_is_told() {
        let gate = Gate::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let gate = gate.clone();
                std::thread::spawn(move || gate.enter())
            })
            .collect();
        assert!(gate.arrived(3, LONG));
        gate.pass(1);
        while gate.waiting() > 2 {
            std::thread::yield_now();
        }
        assert_eq!(gate.waiting(), 2);
        gate.open();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(!gate.arrived(4, Duration::ZERO));
    }
}
