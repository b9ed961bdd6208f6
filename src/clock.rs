//! The one place that reads the clock. Policy takes time as an argument, so
//! that its tests turn the hands themselves.

use std::time::Instant;

/// The present, from the monotonic clock.
#[allow(clippy::disallowed_methods)]
#[inline]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
