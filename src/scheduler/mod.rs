//! Which requests run together, and when.
//!
//! [`Batcher`] is the policy: plain state, no clock, no threads, no model;
//! time comes in as an argument and its tests turn the hands. [`Queue`] is the
//! shell around it: a lock, a condition variable and the instances that wait
//! on it.

mod batcher;
mod queue;
#[cfg(test)]
mod tests;

pub use batcher::{Batch, Batcher, CloseReason, Decision, Policy, Waiting};
pub use queue::{Queue, Refused, Turn};
