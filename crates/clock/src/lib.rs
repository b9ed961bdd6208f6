//! The only code that reads the clock. Policy takes time as an argument, so
//! that its tests control it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The present, from the monotonic clock.
#[allow(clippy::disallowed_methods)]
#[inline]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, in milliseconds since 1970: for display, never for policy.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time since an earlier instant: the cost of work that several threads
/// share.
#[must_use]
pub fn monotonic() -> Duration {
    duration(ClockId::Monotonic)
}

/// The processor time of the calling thread so far: the cost of work on a
/// machine that also runs other work.
#[must_use]
pub fn thread_time() -> Duration {
    duration(ClockId::ThreadCPUTime)
}

fn duration(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
