//! Runs a model on inputs that no client sent, to find how it is best served.
//! Each piece stands alone, and reaches the model through
//! [`Experiment`](crate::trial::experiment::Experiment):
//!
//! - `candidates` and `declared`: inputs that a model may run on.
//! - `calibrate`, with `layout` and `throughput`: how many instances with how
//!   many threads, measured before the version is ready.
//! - `reference`: how far answers of another form of the model are from those of
//!   the file as it is.
//! - `improve`, with `race`: code rewritten for inference while the
//!   version serves.

pub(super) mod calibrate;
pub(super) mod candidates;
pub(super) mod declared;
pub(super) mod improve;
mod layout;
mod race;
pub(super) mod reference;
mod throughput;
