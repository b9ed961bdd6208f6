//! Which requests run together, and when.
//!
//! [`Batcher`] is the policy: plain state, no clock, no threads, no model;
//! time comes in as an argument and its tests turn the hands. [`Levels`] says
//! who goes first and who may wait for how long, [`Lengths`] how rows of
//! different lengths share a batch, [`Turnstile`] in which order
//! answers leave. What is known of how long batches take (`times`, and `forecast`
//! with its parts) says how large they should be, and who can't be
//! answered in time. [`Queue`] is the shell around the batcher: a lock, and the
//! instances that sleep until they are called.

mod arrivals;
mod batcher;
mod forecast;
mod lengths;
mod levels;
mod margin;
mod order;
mod overhead;
mod pick;
mod queue;
mod revise;
mod sizing;
#[cfg(test)]
mod tests;
mod times;
mod warmth;

pub use batcher::{Batch, Batcher, CloseReason, Decision, Policy, Waiting};
pub(crate) use forecast::SHARE_OF_TARGET;
pub use forecast::{Bound, Late};
pub use lengths::{Lengths, RowSize};
pub use levels::Levels;
pub use order::Turnstile;
pub use queue::{Call, Next, Queue, Refused, Submitted, Turn};
