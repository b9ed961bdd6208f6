//! Runs a model on inputs that no client sent: made up here, or given by its
//! configuration.
//!
//! [`draw`] makes rows that differ, [`run`] runs them, [`experiment`] times them,
//! [`rows`] finds whether outputs are rows of inputs, and [`compare`] measures how
//! far two outputs differ.

pub mod compare;
pub mod draw;
pub mod experiment;
mod input;
pub mod rows;
pub mod run;
pub mod values;

pub use input::{TrialInput, in_memory};
