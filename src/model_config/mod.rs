//! Reads a model's `config.pbtxt`, in Triton's grammar and meaning.
//!
//! - `pbtxt` parses the text to a message.
//! - `fields` refuses fields that can't be honoured.
//! - `formats` finds the model's format by its names and files.
//! - `read` and the files beside it check the values as Triton does.
//! - [`Binding`] joins the result with the signature of the model's file.

mod arguments;
mod binding;
mod colons;
mod error;
mod fields;
mod filenames;
pub mod formats;
mod json;
mod parameters;
mod pbtxt;
mod read;
mod scheduling;
mod tensor;
mod version;
mod warm_up;

pub use binding::{Binding, BoundInput, BoundOutput, Lack, NamingConvention, Presence, output_name};
pub use error::{CONFIG_FILENAME, ConfigError};
pub use filenames::ModelFilenames;
pub use read::ModelConfig;
pub use scheduling::{DynamicBatching, InstanceGroup, InstanceKind};
pub use tensor::TensorConfig;
pub use version::VersionPolicy;
pub use warm_up::{WarmUpData, WarmUpSample, WarmUpSource};
