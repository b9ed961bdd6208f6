//! Which inputs a model can be tried on, and what a trial of it decides.

pub(super) mod by_size;
pub(super) mod calibrate;
pub(super) mod candidates;
pub(super) mod improve;
pub(super) mod race;
pub(super) mod trial;
