//! A version's way from its source into service: [`ModelSource`], then
//! `LoadedModel`, `BoundModel`, `RehearsedModel` and `PlannedModel`, and at last a
//! [`ServedModel`](super::ServedModel). Each step is a file of its own; `load`
//! takes them one after the other.
//!
//! [`ModelSource`]: source::ModelSource

mod bound;
pub(super) mod error;
mod example;
mod file;
mod fit;
mod load;
mod loaded;
pub(super) mod plan;
mod planned;
pub(super) mod policy;
mod prepare;
mod rehearse;
mod rehearsed;
mod samples;
pub(super) mod serve;
pub(super) mod source;
#[cfg(test)]
mod testing;
mod warm_up;
