//! Which requests run together, and when.
//!
//! [`Batcher`] is the policy: plain state, no clock, no threads, no model;
//! time comes in as an argument and its tests turn the hands. [`Levels`] says
//! who goes first and who may wait for how long, [`Lengths`] how rows of
//! different lengths share a batch, [`Turnstile`] in which order
//! answers leave. [`Queue`] is the shell around the batcher: a lock, a
//! condition variable and the instances that wait on it.

mod batcher;
mod lengths;
mod levels;
mod order;
mod overhead;
mod pick;
mod queue;
#[cfg(test)]
mod tests;

pub use batcher::{Batch, Batcher, CloseReason, Decision, Policy, Waiting};
pub use lengths::{Lengths, RowSize};
pub use levels::Levels;
pub use order::Turnstile;
pub use queue::{Call, Queue, Refused, Submitted, Turn};
