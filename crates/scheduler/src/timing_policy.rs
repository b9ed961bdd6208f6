//! Timing policy: when a batch leaves.

use std::time::{Duration, Instant};

use super::batching_policy::{Formed, FormedState, Leaves};
use super::request::CloseReason;

/// How long requests wait for others, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimingPolicy {
    /// How long the oldest request may wait for others to join its batch, from
    /// its arrival.
    pub max_queue_delay: Duration,
    /// The time from its arrival within which a request should be answered. A
    /// request that can't be is refused at once, and batches are formed so that
    /// the others are.
    pub latency_target: Option<Duration>,
}

impl TimingPolicy {
    /// When the batch that could leave a bucket does, only by the
    /// configuration. If the server `drains`, no request waits for others.
    pub(crate) fn leaves(&self, formed: Formed, now: Instant, drains: bool) -> Leaves {
        let due = formed.oldest.map_or(now, |oldest| oldest.min(now)) + self.max_queue_delay;
        let waits = !drains && now < due;
        Leaves::Now(match (formed.state, formed.beyond_preferred) {
            (FormedState::Single, _) => formed.whole(CloseReason::Single),
            (FormedState::Preferred(count, rows), _) => formed.preferred(count, rows),
            (FormedState::Full, _) => formed.whole(CloseReason::Full),
            (FormedState::Open, Some((count, rows))) if waits => formed.preferred(count, rows),
            (FormedState::Open, None) if waits => return Leaves::At(due),
            (FormedState::Open, _) if drains => formed.whole(CloseReason::Drain),
            (FormedState::Open, _) if self.max_queue_delay.is_zero() => formed.whole(CloseReason::Ready),
            (FormedState::Open, _) => formed.whole(CloseReason::Delay),
        })
    }
}
