//! A time-out for requests that mostly finish in time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::Failure;
use super::connection::Driver;

/// A time-out that costs next to nothing as long as requests finish in time:
/// its timer isn't reset for each request, but moved only if it fires early.
#[derive(Debug)]
pub(super) struct Alarm {
    timeout: Duration,
    due: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn new(timeout: Duration) -> Self {
        let due = tokio::time::Instant::from_std(cresset_clock::now()) + timeout;
        Self { timeout, due, sleep: Box::pin(sleep_until(due)) }
    }

    /// Due one time-out after `now`.
    pub(super) fn set(&mut self, now: Instant) {
        self.due = tokio::time::Instant::from_std(now) + self.timeout;
    }

    /// Runs `work`, with the driver that moves it, until it is done or due.
    pub(super) async fn guard<W: Future>(
        &mut self,
        work: W,
        driver: &mut Driver,
    ) -> Result<W::Output, Failure> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if let Some(running) = driver {
                // Its end, good or bad, reaches `work` when it is dropped.
                if Pin::new(running).poll(cx).is_ready() {
                    *driver = None;
                }
                if let Poll::Ready(output) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(output));
                }
            }
            self.poll_due(cx).map(|()| Err(Failure::TimedOut(self.timeout)))
        })
        .await
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.sleep.deadline() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
        Poll::Pending
    }
}
