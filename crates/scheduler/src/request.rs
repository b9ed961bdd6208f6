//! What the scheduler must know of a request, and the batches that it makes of
//! requests.

use std::time::{Duration, Instant};

use super::RowSize;

/// A request that can wait for a batch.
pub trait Schedulable {
    /// How many rows it brings; at least 1.
    fn rows(&self) -> u32;
    /// Requests run together only if these are equal: the shapes behind the
    /// batch dimension, and the datatypes.
    fn bucket(&self) -> &[i64];
    /// How large its rows are; the default if no limit asks for it.
    fn size(&self) -> RowSize {
        RowSize::default()
    }
    /// When it came.
    fn arrival(&self) -> Instant;
    /// Whether its client has gone: no answer is awaited any more.
    fn cancelled(&self) -> bool;
    /// The priority level that it asks for; zero for none.
    fn priority(&self) -> u64;
    /// How long it asks to wait at most.
    fn timeout(&self) -> Option<Duration>;
    /// When its client stops waiting for the answer; `None` for never.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// Answers it: its time is over.
    fn expire(self);
}

/// Requests that run together, in the order in which they are served; never
/// empty.
#[derive(Debug)]
pub struct Batch<T> {
    /// By level, and within one in the order of their arrival.
    pub requests: Vec<T>,
    /// The sum of their rows.
    pub rows: u32,
    /// Why it left.
    pub reason: CloseReason,
}

impl<T: Schedulable> Batch<T> {
    /// What its requests have in common: the bucket of each.
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
    /// It had as many rows as are best: further ones would take each of them
    /// longer, are another instance's that is free or will be, or aren't warm
    /// yet.
    Efficient,
    /// Its oldest request had waited for the whole delay, or for as much of it as
    /// a target or a deadline leaves.
    Delay,
    /// The model runs each request by itself.
    Single,
    /// The server is stopping: nothing waits for company any more.
    Drain,
    /// It is one request of a batch that failed, run again by itself.
    Retry,
    /// It is a part of a batch that there wasn't memory for.
    Halved,
}

impl CloseReason {
    /// All of them.
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
