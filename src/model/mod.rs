//! One served version of a model: loaded, planned onto devices, with its
//! queue and its instances.

mod answering;
mod loading;
mod tuning;

pub use answering::served::{LoadError, ModelSource, ServedModel};
pub use loading::plan::{DevicePreference, Placement, PlanError, Resources, plan};
pub use tuning::improve::Improvement;
