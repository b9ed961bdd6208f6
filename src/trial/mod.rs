//! A model run on inputs that no client sent: made up here, or given by its
//! configuration. What it does on them is known before a client asks.
//!
//! [`draw`] makes rows that differ, [`run`] runs them, [`experiment`] runs them
//! and takes the time, [`rows`] finds whether outputs are rows of inputs,
//! [`compare`] tells how far two outputs are apart.

pub mod compare;
pub mod draw;
pub mod experiment;
mod input;
pub mod rows;
pub mod run;
pub mod values;

pub use input::{TrialInput, in_memory};
