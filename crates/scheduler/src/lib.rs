//! Which requests run together, and when.
//!
//! [`Queue`] is what others see: `submit`, `next`, `finish` (by dropping or
//! finishing a [`RunGuard`]) and `close`. It is a lock around a [`Batcher`], and
//! the instances that sleep until they are woken (`wake`).
//!
//! A [`Batcher`] is plain state: no clock, no threads, no model. Time comes in
//! as an argument, and its tests turn the hands. It reads three policies, which
//! are configured and never change by themselves:
//!
//! - [`QueuePolicy`]: which requests may wait, and which go first.
//! - [`BatchingPolicy`]: which run together (`pick`).
//! - [`TimingPolicy`]: when they leave.
//!
//! What it learns (`learned`) is kept apart from these: how long batches of each
//! size take, how requests come, how far forecasts are off. A forecast follows
//! from that and from the batches that run. It changes what the policies have
//! formed (`adjust`), and refuses what can't be in time.

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
pub use queue::{Free, Next, Queue, Refused, RunGuard, Submitted, Taker, Turn, WakeGuard};
pub use queue_policy::{LevelPolicy, QueuePolicy, TimeoutAction};
pub use request::{Batch, CloseReason, Schedulable};
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
