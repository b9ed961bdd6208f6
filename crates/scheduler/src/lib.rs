//! The scheduler: which requests run together, and when.
//!
//! The interface is [`Queue`]: `submit`, `next`, `finish` (by dropping or
//! finishing a [`RunGuard`]) and `close`. It consists of a lock around a
//! [`Batcher`], and of the instances that sleep until they are woken (`wake`).
//!
//! A [`Batcher`] is plain state: no clock, no threads, no model. Time is an
//! argument, so that its tests control it. It reads three policies, which are
//! configured and constant:
//!
//! - [`QueuePolicy`]: which requests may wait, and which go first.
//! - [`BatchingPolicy`]: which run together (`pick`).
//! - [`TimingPolicy`]: when they leave.
//!
//! The learned state (`learned`) is separate: how long batches of each size
//! take, how requests arrive, how far forecasts are off. A forecast is computed
//! from this state and from the running batches. It changes the batches that
//! the policies have formed (`adjust`), and refuses requests that can't be in
//! time.

pub mod ablation;
mod adjust;
mod arrivals;
mod batcher;
mod batching_policy;
mod forecast;
mod learned;
mod lengths;
mod margin;
mod members;
mod padding_cost;
mod pick;
mod queue;
mod queue_policy;
mod request;
mod running;
mod sequencer;
mod sizing;
mod sync;
#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests;
mod times;
mod timing_policy;
mod waiting;
mod wake;

use std::time::Instant;

pub use batcher::{Batcher, Decision, Policy};
pub use batching_policy::BatchingPolicy;
pub use forecast::{Bound, Late, SHARE_OF_TARGET};
pub use learned::{PaddedRun, Ran};
pub use lengths::{Lengths, RowSize};
pub use queue::{Coming, Free, Next, Queue, Refused, RunGuard, Submitted, Taker, Turn, WakeGuard};
pub use queue_policy::{LevelPolicy, QueuePolicy, TimeoutAction};
pub use request::{Batch, CloseReason, Overload, Schedulable};
pub use running::Ticket;
pub use sequencer::ResponseSequencer;
pub use timing_policy::TimingPolicy;

/// The earlier of two times, if there are any.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
