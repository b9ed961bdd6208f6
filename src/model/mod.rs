//! One served version of a model, in three parts that know each other in one
//! direction:
//!
//! - `loading` brings a version into service, and knows the other two.
//! - `tuning` runs a model to find out how it is best served.
//! - `answering` is the version in service.

mod answering;
mod loading;
mod placement;
mod tuning;

pub use answering::served::ServedModel;
pub use loading::error::LoadError;
pub use loading::plan::{PlanError, plan};
pub use loading::policy::QueueBounds;
pub use loading::serve::LoadOutcome;
pub use loading::source::ModelSource;
pub use placement::{DevicePreference, NoSuchKind, Placement, Resources};
pub use tuning::improve::Improvement;
