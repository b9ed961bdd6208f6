//! One served version of a model: loaded, planned onto devices, with its
//! queue and its instances.

mod batching;
mod by_size;
mod calibrate;
mod candidates;
mod check;
mod example;
mod fit;
mod improve;
mod infer;
mod load;
mod plan;
mod prepare;
mod race;
mod rehearse;
mod samples;
mod served;
mod trial;
mod values;
mod warm_up;

pub use improve::Improvement;
pub use plan::{DevicePreference, Placement, PlanError, Resources, plan};
pub use served::{LoadError, ModelSource, ServedModel};
