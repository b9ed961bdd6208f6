//! Warm-up runs for times when no request waits: each further batch size, so
//! that the first request of a size doesn't pay for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trial::TrialInput;

/// The first run of a size has costs that occur once; the second tells how long
/// it takes.
const RUNS_EACH: usize = 2;

/// The runs that are left. The instances of one model on processors share them:
/// one run of a size warms the model for all, and the other instances serve
/// requests meanwhile.
#[derive(Debug, Default)]
pub struct WarmUpQueue(Mutex<WarmUpRuns>);

#[derive(Debug, Default)]
struct WarmUpRuns {
    runs: Vec<Arc<[TrialInput]>>,
    /// How many runs were given out.
    given: usize,
    /// Whether an instance runs one.
    taken: bool,
    /// Whether they wait, because the model may soon be replaced.
    deferred: bool,
}

/// What an instance may do while no request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WarmUpJob {
    /// Run this, and say that it is done.
    Run(Arc<[TrialInput]>),
    /// Nothing now: another instance runs one, or the runs are deferred.
    NotNow,
    /// Nothing any more.
    Nothing,
}

impl WarmUpQueue {
    /// A queue of these runs, one after the other, each `RUNS_EACH` times.
    #[must_use]
    pub fn new(sizes: &[Vec<TrialInput>]) -> Self {
        let each = sizes.iter().map(|inputs| Arc::from(inputs.as_slice()));
        let runs = each.flat_map(|inputs| std::iter::repeat_n(inputs, RUNS_EACH)).collect();
        Self(Mutex::new(WarmUpRuns { runs, ..WarmUpRuns::default() }))
    }

    /// Whether anything is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.given >= state.runs.len()
    }

    /// Nothing is run until [`WarmUpQueue::begin`].
    pub fn defer(&self) {
        self.lock().deferred = true;
    }

    /// The runs begin from the first one, even if some have run: the model may be
    /// another now.
    pub fn begin(&self) {
        let mut state = self.lock();
        (state.deferred, state.given) = (false, 0);
    }

    /// Whether an instance that waits for requests should ask for a job.
    pub(super) fn calls(&self) -> bool {
        let state = self.lock();
        !state.deferred && !state.taken && state.given < state.runs.len()
    }

    pub(super) fn next(&self) -> WarmUpJob {
        let mut state = self.lock();
        if state.deferred || state.taken {
            return WarmUpJob::NotNow;
        }
        let Some(run) = state.runs.get(state.given).cloned() else { return WarmUpJob::Nothing };
        state.given += 1;
        state.taken = true;
        WarmUpJob::Run(run)
    }

    /// The job was done. If it failed the rest would fail, too.
    pub(super) fn done(&self, passed: bool) {
        let mut state = self.lock();
        state.taken = false;
        if !passed {
            state.runs.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, WarmUpRuns> {
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

    fn rows(job: &WarmUpJob) -> i64 {
        match job {
            WarmUpJob::Run(inputs) => inputs[0].shape[0],
            WarmUpJob::NotNow => 0,
            WarmUpJob::Nothing => -1,
        }
    }

    #[test]
    fn one_instance_at_a_time_runs_each_size_twice() {
        let queue = WarmUpQueue::new(&[size(2), size(4)]);
        let mut ran = Vec::new();
        loop {
            let job = queue.next();
            if job == WarmUpJob::Nothing {
                break;
            }
            ran.push(rows(&job));
            assert_eq!(queue.next(), WarmUpJob::NotNow, "another one runs it");
            assert!(!queue.calls());
            queue.done(true);
        }
        assert_eq!(ran, [2, 2, 4, 4]);
        assert!(queue.is_empty() && !queue.calls());
    }

    #[test]
    fn what_is_deferred_begins_from_the_start_and_what_fails_is_not_tried_again() {
        let queue = WarmUpQueue::new(&[size(2)]);
        queue.defer();
        assert_eq!((queue.next(), queue.calls()), (WarmUpJob::NotNow, false));
        queue.begin();
        assert!(queue.calls());
        assert_eq!(rows(&queue.next()), 2);
        queue.done(true);
        queue.begin();
        assert_eq!(rows(&queue.next()), 2);
        queue.done(false);
        assert_eq!(queue.next(), WarmUpJob::Nothing);
    }
}
