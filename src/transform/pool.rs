//! The threads that transforms run on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::error::Error;

type PoolJob = Box<dyn FnOnce() + Send>;

/// A fixed number of long-lived threads behind a bounded queue.
///
/// Tokio's blocking pool grows to hundreds of threads under load, each of which
/// would hold a decoded photograph. This pool bounds both the processors and
/// the memory that transforms take.
///
/// Jobs start in the order in which they came. If a job panics, its caller gets
/// an error and the thread goes on. If the caller is gone before the job
/// starts, the job is dropped. Dropping the pool runs what is queued and joins
/// the threads, so it blocks for as long as that takes.
#[derive(Debug)]
pub struct Pool {
    /// `None` only while dropping: threads end when the sender is gone and
    /// the queue is empty.
    queue: Option<SyncSender<PoolJob>>,
    capacity: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads (at least one). `queue` jobs may wait while
    /// others run.
    ///
    /// # Errors
    /// The system refuses a thread; the threads already started are joined.
    pub fn new(threads: usize, queue: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut pool = Self { queue: Some(sender), capacity: queue, threads: Vec::new() };
        for index in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let named = thread::Builder::new().name(format!("transform-{index}"));
            pool.threads.push(named.spawn(move || work(&receiver))?);
        }
        Ok(pool)
    }

    /// Runs `job` on one of the threads and gives what it returns.
    ///
    /// Dropping the future drops the job if it hasn't started.
    ///
    /// # Errors
    /// `Unavailable` at once if the queue is full; `Internal` if the job
    /// panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job: PoolJob = Box::new(move || {
            if !reply.is_closed() {
                // The caller may leave while the job runs; then the result is
                // dropped.
                let _ = reply.send(job());
            }
        });
        let sent = match &self.queue {
            Some(queue) => queue.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Error::unavailable(format!(
                    "the queue for transforms is full: {} wait already",
                    self.capacity
                )));
            }
            Err(TrySendError::Disconnected(_)) => {
                return Err(Error::unavailable("the server is stopping"));
            }
        }
        // A panic drops `reply` on its way up.
        answer.await.map_err(|_| Error::internal("the transform failed on this request"))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.queue.take());
        let here = thread::current().id();
        for thread in self.threads.drain(..) {
            // A job may hold the last handle to the pool it runs on.
            if thread.thread().id() != here {
                // An error is a panic; panics were caught and reported.
                let _ = thread.join();
            }
        }
    }
}

fn work(queue: &Mutex<Receiver<PoolJob>>) {
    loop {
        // One thread waits in `recv`, the others for the lock.
        let received = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = received else { return };
        // A job shares nothing, and its caller gets an error.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a transform panicked; its thread goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;
    use crate::error::ErrorCode;

    /// Keeps the pool's only thread busy until the sender is dropped.
    fn hold(pool: &Arc<Pool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
        let (release, held) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        let runner = Arc::clone(pool);
        let task = tokio::spawn(async move {
            runner
                .run(move || {
                    started.send(()).unwrap();
                    let _ = held.recv();
                })
                .await
        });
        start.recv().unwrap();
        (release, task)
    }

    /// Polls once, which queues the job, and says whether it waits.
    fn queued(job: Pin<&mut impl Future>) -> bool {
        job.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn gives_what_the_job_returns_from_its_own_threads() {
        let pool = Pool::new(2, 8).unwrap();
        let name = pool.run(|| thread::current().name().map(str::to_owned)).await.unwrap();
        assert!(name.unwrap().starts_with("transform-"));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives_on() {
        let pool = Pool::new(1, 8).unwrap();
        let first = pool.run(|| thread::current().id()).await.unwrap();
        let error = pool.run(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(error, Error::internal("the transform failed on this request"));
        assert_eq!(pool.run(|| thread::current().id()).await.unwrap(), first);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_queue_refuses_at_once() {
        let pool = Arc::new(Pool::new(1, 1).unwrap());
        let (release, running) = hold(&pool);
        let mut waiting = Box::pin(pool.run(|| 7));
        assert!(queued(waiting.as_mut()));
        let error = pool.run(|| 8).await.unwrap_err();
        assert_eq!(error, Error::unavailable("the queue for transforms is full: 1 wait already"));
        assert_eq!(error.code(), ErrorCode::Unavailable);
        drop(release);
        assert_eq!(waiting.await, Ok(7));
        assert_eq!(running.await.unwrap(), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_whose_caller_is_gone_is_passed_over() {
        let pool = Arc::new(Pool::new(1, 8).unwrap());
        let ran = Arc::new(AtomicUsize::new(0));
        let (release, _running) = hold(&pool);
        let count = Arc::clone(&ran);
        let mut given_up = Box::pin(pool.run(move || count.fetch_add(1, Ordering::SeqCst)));
        assert!(queued(given_up.as_mut()));
        drop(given_up);
        drop(release);
        pool.run(|| ()).await.unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn dropping_runs_what_is_queued_and_joins() {
        let pool = Pool::new(2, 8).unwrap();
        let alive = Arc::new(());
        let token = Arc::clone(&alive);
        pool.run(move || drop(token)).await.unwrap();
        drop(pool);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_pool_dropped_by_its_own_job_does_not_wait_for_itself() {
        let (done, finished) = mpsc::channel();
        let pool = Arc::new(Pool::new(1, 1).unwrap());
        let last = Arc::clone(&pool);
        let (go, wait) = mpsc::channel::<()>();
        pool.queue
            .as_ref()
            .unwrap()
            .send(Box::new(move || {
                wait.recv().unwrap();
                drop(last);
                done.send(()).unwrap();
            }))
            .unwrap();
        drop(pool);
        go.send(()).unwrap();
        finished.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    }
}
