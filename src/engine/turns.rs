//! Threads for loading: one model's loads run one after the other, several
//! models' at the same time, and none on a thread that serves.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How many models are loaded at a time: a large one doesn't hold a small one
/// up, and a load of many leaves processors for requests. Triton's number.
const AT_ONCE: usize = 4;

type LoadJob = Box<dyn FnOnce() + Send>;

/// Work on models that waits for its turn. Threads exist only while there is
/// work: libtorch keeps memory for each thread that runs it.
#[derive(Default)]
pub(super) struct Turns(Mutex<TurnState>);

#[derive(Default)]
struct TurnState {
    /// In the order in which it came.
    waiting: VecDeque<(String, LoadJob)>,
    /// The models that are worked on.
    busy: BTreeSet<String>,
    threads: usize,
}

impl Turns {
    /// Runs work on `model` when no other work on it runs. The result comes
    /// through the receiver, unless the work panics.
    ///
    /// # Errors
    /// There is no thread for it and the system gives none; then the work is
    /// not done.
    pub(super) fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        model: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (give, given) = oneshot::channel();
        let job: LoadJob = Box::new(move || {
            // The caller may have gone; the work is done all the same.
            let _ = give.send(work());
        });
        let mut state = self.lock();
        if state.threads < AT_ONCE {
            let turns = Arc::clone(self);
            // The thread waits for this lock before it looks for work.
            match std::thread::Builder::new().name("load".to_owned()).spawn(move || turns.work()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => return Err(error),
                // One of the other threads does it.
                Err(_) => {}
            }
        }
        state.waiting.push_back((model.to_owned(), job));
        Ok(given)
    }

    /// Does all work that waits, then ends.
    fn work(&self) {
        let mut state = self.lock();
        while let Some((model, job)) = state.next() {
            state.busy.insert(model.clone());
            drop(state);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!(model, "loading or unloading ended in a panic");
            }
            state = self.lock();
            state.busy.remove(&model);
        }
        // The remaining work is for models that other threads work on. Each
        // looks again when it is done.
        state.threads -= 1;
    }

    /// No code panics under this lock.
    fn lock(&self) -> MutexGuard<'_, TurnState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnState {
    /// The first work for a model that no thread works on.
    fn next(&mut self) -> Option<(String, LoadJob)> {
        let free = self.waiting.iter().position(|(model, _)| !self.busy.contains(model))?;
        self.waiting.remove(free)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_models_work_is_done_in_order_and_holds_no_other_up() {
        let turns = Arc::new(Turns::default());
        let (release, held) = mpsc::channel::<()>();
        let (said, heard) = mpsc::channel();
        let say = |what: &'static str| {
            let said = said.clone();
            move || said.send(what).unwrap()
        };
        let first = turns.submit("a", move || held.recv().is_err()).unwrap();
        for work in ["second", "third", "fourth", "fifth", "sixth"] {
            turns.submit("a", say(work)).unwrap();
        }
        turns.submit("b", say("other")).unwrap().blocking_recv().unwrap();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["other"], "nothing of a's yet");
        drop(release);
        assert_eq!(first.blocking_recv(), Ok(true));
        let after: Vec<_> = (0..5).map(|_| heard.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        assert_eq!(after, ["second", "third", "fourth", "fifth", "sixth"]);
    }

    #[test]
    fn a_panic_is_told_and_the_next_work_is_done() {
        let turns = Arc::new(Turns::default());
        let panics = turns.submit("a", || panic!("in a test")).unwrap();
        let next = turns.submit("a", || 7).unwrap();
        assert!(panics.blocking_recv().is_err());
        assert_eq!(next.blocking_recv(), Ok(7));
        for _ in 0..1000 {
            if turns.lock().threads == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("threads are left: {}", turns.lock().threads);
    }
}
