//! Makes faster forms of served models on one thread in the background, one
//! after the other, so that at most one model is in memory twice.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Improvement;
use cresset_backend::Backend;

/// The thread's niceness: if the processors are busy with requests it gets about a
/// tenth of one, which is enough to end.
const NICENESS: i32 = 10;

/// Improvements that wait for their turn. The thread exists while there are
/// any.
pub(super) struct Improver {
    backend: Arc<dyn Backend>,
    state: Arc<Mutex<ImproverState>>,
}

#[derive(Default)]
struct ImproverState {
    waiting: VecDeque<Improvement>,
    /// Whether there is a thread.
    at_work: bool,
    /// Whether the server isn't ready yet, because models are being loaded.
    held: bool,
}

impl Improver {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, state: Arc::default() }
    }

    /// Nothing begins until [`Improver::release`].
    pub(super) fn hold(&self) {
        lock(&self.state).held = true;
    }

    pub(super) fn release(&self) {
        let mut state = lock(&self.state);
        state.held = false;
        self.start(state);
    }

    pub(super) fn add(&self, improvement: Improvement) {
        let mut state = lock(&self.state);
        state.waiting.push_back(improvement);
        self.start(state);
    }

    fn start(&self, mut state: MutexGuard<'_, ImproverState>) {
        if state.held || state.at_work || state.waiting.is_empty() {
            return;
        }
        let (backend, shared) = (Arc::clone(&self.backend), Arc::clone(&self.state));
        let thread = std::thread::Builder::new().name("improve".to_owned());
        match thread.spawn(move || work(backend.as_ref(), &shared)) {
            Ok(_) => state.at_work = true,
            Err(error) => {
                tracing::debug!(%error, "no thread to improve models: they stay as they are");
                let left = std::mem::take(&mut state.waiting);
                drop(state);
                drop(left);
            }
        }
    }
}

fn work(backend: &dyn Backend, state: &Mutex<ImproverState>) {
    // SAFETY: no precondition. On Linux it is this thread's alone, and that of
    // the threads that it starts. If it is refused nothing is lost.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    loop {
        let next = {
            let mut state = lock(state);
            let next = state.waiting.pop_front();
            state.at_work = next.is_some();
            next
        };
        let Some(improvement) = next else { return };
        if catch_unwind(AssertUnwindSafe(|| improvement.make(backend))).is_err() {
            tracing::error!("improving a model ended in a panic; it stays as it is");
        }
    }
}

/// Consistent between any two statements under the lock.
fn lock(state: &Mutex<ImproverState>) -> MutexGuard<'_, ImproverState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
