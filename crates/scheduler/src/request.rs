//! The scheduler's view of a request, and the batches of requests.

use std::time::{Duration, Instant};

use super::RowSize;
use super::forecast::Late;

/// A request that can wait for a batch.
pub trait Schedulable {
    /// The number of its rows; at least 1.
    fn rows(&self) -> u32;
    /// Requests run together only if these are equal: the shapes after the
    /// batch dimension, and the datatypes.
    fn bucket(&self) -> &[i64];
    /// The size of its rows; the default if no limit needs it.
    fn size(&self) -> RowSize {
        RowSize::default()
    }
    /// When it arrived.
    fn arrival(&self) -> Instant;
    /// Whether its client has gone, so that no answer is needed.
    fn cancelled(&self) -> bool;
    /// The priority level that it asks for; zero for none.
    fn priority(&self) -> u64 {
        0
    }
    /// The longest wait that it asks for.
    fn timeout(&self) -> Option<Duration> {
        None
    }
    /// When its client stops waiting for the answer; `None` for never.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// Whether it belongs to a request of which another part was accepted: then
    /// the bound on waiting doesn't hold for it.
    fn follows(&self) -> bool {
        false
    }
    /// Answers it with an error: its time is over.
    fn expire(self);
}

/// Why a queue takes no further request at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// The maximum number waits.
    Full {
        /// How long one more would wait, if that can be forecast.
        wait: Option<Duration>,
    },
    /// It would be answered too late.
    Late(Late),
}

impl Overload {
    /// When a request that is refused now would be accepted, if no other comes
    /// meanwhile, and how long the queue ahead needs. `None` if that can't be
    /// forecast.
    #[must_use]
    pub fn over_in(&self) -> Option<(Duration, Duration)> {
        match self {
            Self::Full { wait } => wait.map(|wait| (Duration::ZERO, wait)),
            Self::Late(Late { needs, allowed, .. }) => Some((needs.saturating_sub(*allowed), *needs)),
        }
    }
}

/// Requests that run together, in the order in which they are served; never
/// empty.
#[derive(Debug)]
pub struct Batch<T> {
    /// By level, and within a level in the order of arrival.
    pub requests: Vec<T>,
    /// The sum of their rows.
    pub rows: u32,
    /// Why it left.
    pub reason: CloseReason,
}

impl<T: Schedulable> Batch<T> {
    /// The bucket of its requests.
    #[must_use]
    pub fn bucket(&self) -> &[i64] {
        self.requests.first().map_or(&[], Schedulable::bucket)
    }
}

/// Why a batch left when it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// No further request would have fitted.
    Full,
    /// It reached a preferred size, or can't grow to one any more.
    Preferred,
    /// An instance was free and no delay is asked for.
    Ready,
    /// It had the best number of rows. Further rows would take longer each, or
    /// belong to another instance that is or will be free.
    Efficient,
    /// Its oldest request had waited for the whole delay, or for the part of it
    /// that a target or a deadline allows.
    Delay,
    /// The model runs each request by itself.
    Single,
    /// The server is stopping: no request waits for others any more.
    Drain,
    /// It is a part of a failed batch, run again.
    Retry,
    /// It is a part of a batch that ran out of memory.
    Halved,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Full,
        Self::Preferred,
        Self::Ready,
        Self::Efficient,
        Self::Delay,
        Self::Single,
        Self::Drain,
        Self::Retry,
        Self::Halved,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Preferred => "preferred",
            Self::Ready => "ready",
            Self::Efficient => "efficient",
            Self::Delay => "delay",
            Self::Single => "single",
            Self::Drain => "drain",
            Self::Retry => "retry",
            Self::Halved => "halved",
        }
    }
}
