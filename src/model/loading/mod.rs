//! A version's way from its source into service.

pub(super) mod batching;
pub(super) mod example;
pub(super) mod fit;
pub(super) mod load;
pub(super) mod plan;
pub(super) mod prepare;
pub(super) mod rehearse;
pub(super) mod samples;
pub(super) mod warm_up;
