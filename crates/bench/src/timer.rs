//! Sleeping until an instant with microsecond precision.
//!
//! tokio's timers have a resolution of a millisecond, which is longer than many
//! a model takes. The kernel's own timers, as file descriptors, fire within
//! microseconds.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use cresset_clock as clock;

/// One timer, set again for each sleep.
#[derive(Debug)]
pub(super) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// # Errors
    /// If the process has no file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: `OwnedFd` stays open until it is dropped. Only `AsyncFd` owns
        // and drops it.
        let timer = unsafe { AsyncFd::register(timer)? };
        Ok(Self(timer))
    }

    /// Sleeps until `due`; yields to other tasks in any case.
    pub(super) async fn until(&self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(clock::now());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let timespec = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut rung = self.0.readable().await?;
            // The count of expirations; a timer that was set again since has
            // none.
            match rung.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_at_its_time_and_again_when_set_again() {
        let timer = Timer::new().unwrap();
        for microseconds in [300, 50, 2_500, 0] {
            let due = clock::now() + Duration::from_micros(microseconds);
            timer.until(due).await.unwrap();
            let now = clock::now();
            assert!(now >= due, "early");
            assert!(now - due < Duration::from_millis(200), "{:?} late", now - due);
        }
    }
}
