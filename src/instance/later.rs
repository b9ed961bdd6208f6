//! Runs on the server's own account that are left for when nobody asks: each
//! further batch size, so that no client pays for being the first with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trial::TrialInput;

/// A size's first run costs what is only paid once; the second tells how long
/// it takes.
const RUNS_EACH: usize = 2;

/// What is left to run. The instances of one model on processors share it: what
/// the first run of a size makes is the model's, and while one of them is busy
/// with it the others are there for requests.
#[derive(Debug, Default)]
pub struct Later(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    runs: Vec<Arc<[TrialInput]>>,
    /// How many were given out.
    given: usize,
    /// An instance is at it.
    taken: bool,
    /// Not yet: the model may soon be another.
    deferred: bool,
}

/// What an instance may do while nobody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    /// Run this, and say that it is done.
    Run(Arc<[TrialInput]>),
    /// Nothing: another instance is at it, or it isn't time.
    NotNow,
    /// Nothing any more.
    None,
}

impl Later {
    /// These, one after the other, each often enough.
    #[must_use]
    pub fn new(sizes: &[Vec<TrialInput>]) -> Self {
        let each = sizes.iter().map(|inputs| Arc::from(inputs.as_slice()));
        let runs = each.flat_map(|inputs| std::iter::repeat_n(inputs, RUNS_EACH)).collect();
        Self(Mutex::new(State { runs, ..State::default() }))
    }

    /// Whether anything is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.given >= state.runs.len()
    }

    /// Nothing is run until [`Later::begin`].
    pub fn defer(&self) {
        self.lock().deferred = true;
    }

    /// From the first one on, whatever has run: the model may be another.
    pub fn begin(&self) {
        let mut state = self.lock();
        (state.deferred, state.given) = (false, 0);
    }

    /// Whether an instance that waits should ask for an errand.
    pub(super) fn calls(&self) -> bool {
        let state = self.lock();
        !state.deferred && !state.taken && state.given < state.runs.len()
    }

    pub(super) fn next(&self) -> Errand {
        let mut state = self.lock();
        if state.deferred || state.taken {
            return Errand::NotNow;
        }
        let Some(run) = state.runs.get(state.given).cloned() else { return Errand::None };
        state.given += 1;
        state.taken = true;
        Errand::Run(run)
    }

    /// The errand was done; where it failed the rest would, too.
    pub(super) fn done(&self, passed: bool) {
        let mut state = self.lock();
        state.taken = false;
        if !passed {
            state.runs.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_protocol::Datatype;

    fn size(rows: i64) -> Vec<TrialInput> {
        vec![TrialInput { name: "x".to_owned(), datatype: Datatype::Fp32, shape: vec![rows], data: None }]
    }

    fn rows(errand: &Errand) -> i64 {
        match errand {
            Errand::Run(inputs) => inputs[0].shape[0],
            Errand::NotNow => 0,
            Errand::None => -1,
        }
    }

    #[test]
    fn one_instance_at_a_time_runs_each_size_twice() {
        let later = Later::new(&[size(2), size(4)]);
        let mut ran = Vec::new();
        loop {
            let errand = later.next();
            if errand == Errand::None {
                break;
            }
            ran.push(rows(&errand));
            assert_eq!(later.next(), Errand::NotNow, "another one is at it");
            assert!(!later.calls());
            later.done(true);
        }
        assert_eq!(ran, [2, 2, 4, 4]);
        assert!(later.is_empty() && !later.calls());
    }

    #[test]
    fn what_is_deferred_begins_from_the_start_and_what_fails_is_not_tried_again() {
        let later = Later::new(&[size(2)]);
        later.defer();
        assert_eq!((later.next(), later.calls()), (Errand::NotNow, false));
        later.begin();
        assert!(later.calls());
        assert_eq!(rows(&later.next()), 2);
        later.done(true);
        later.begin();
        assert_eq!(rows(&later.next()), 2);
        later.done(false);
        assert_eq!(later.next(), Errand::None);
    }
}
