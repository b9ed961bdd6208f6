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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cresset_backend::Parameters;
use cresset_protocol::Datatype;
use cresset_scheduler::LevelPolicy;

pub use binding::{Binding, BoundInput, BoundOutput, Lack, NamingConvention, Presence, output_name};
pub use error::{CONFIG_FILENAME, ConfigError};
pub use filenames::ModelFilenames;

/// A model's configuration, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The model's name: its directory's.
    pub name: String,
    /// If it is zero, `dims` are whole shapes and nothing is batched. Otherwise
    /// dimension 0 of every tensor is the batch, and `dims` leave it out.
    pub max_batch_size: u32,
    /// In the order of the file; empty if it names none.
    pub inputs: Vec<TensorConfig>,
    /// In the order of the file; empty if it names none.
    pub outputs: Vec<TensorConfig>,
    /// Batches requests of several callers; `None` runs each by itself.
    pub dynamic_batching: Option<DynamicBatching>,
    /// The devices and numbers of its instances; empty for the default plan.
    pub instance_groups: Vec<InstanceGroup>,
    /// Which of the version directories are served.
    pub version_policy: VersionPolicy,
    /// The files inside a version's directory.
    pub model_filename: ModelFilenames,
    /// `model_operations`: libraries of operators, inside the model's directory.
    pub op_libraries: Vec<String>,
    /// `parameters { key … value { string_value … } }`.
    pub parameters: Parameters,
    /// `metric_tags`: labels of its metrics, beside the labels of every model.
    pub metric_tags: BTreeMap<String, String>,
    /// `model_warmup`: the samples that run before it is ready.
    pub warm_up: Vec<WarmUpSample>,
    /// Whether it was read from a `config.pbtxt`; `false` if there is none.
    pub declared: bool,
    /// Possible mistakes in the file, a line each, for the log.
    pub warnings: Vec<String>,
    /// The file's message, as it was written.
    message: json::Written,
}

/// An input or an output, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorConfig {
    /// Its name on the wire.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// -1 for a dimension that varies; without the batch dimension.
    pub dims: Vec<i64>,
    /// The shape that the model itself sees or gives, without the batch
    /// dimension, if it differs from `dims`.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out; inputs only.
    pub optional: bool,
    /// A file of labels, one a line, beside the configuration; outputs only.
    pub label_filename: Option<String>,
    /// The labels in that file, once it was read: one for each score.
    pub labels: Arc<[String]>,
}

/// `dynamic_batching { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DynamicBatching {
    /// Sizes at which a batch leaves without waiting for its delay, ascending.
    pub preferred_batch_sizes: Vec<u32>,
    /// How long the oldest request may wait for others, from its arrival.
    pub max_queue_delay: Duration,
    /// Whether answers leave in the order in which their requests came.
    pub preserve_ordering: bool,
    /// How many levels there are: 1 is served first. Zero for one queue.
    pub priority_levels: u64,
    /// The level of a request that names none, from 1; zero without levels.
    pub default_priority_level: u64,
    /// `default_queue_policy { … }`: for levels without a policy of their own.
    pub default_queue_policy: LevelPolicy,
    /// `priority_queue_policy`, by level.
    pub priority_queue_policy: BTreeMap<u64, LevelPolicy>,
}

/// `model_warmup [ … ]`, one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpSample {
    /// Its name in errors.
    pub name: String,
    /// How many requests run together, each of one row; 1 or more.
    pub batch_size: u32,
    /// How often it runs; 1 or more.
    pub count: u32,
    /// By the input's name.
    pub inputs: BTreeMap<String, WarmUpData>,
}

/// One input of a request of a [`WarmUpSample`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUpData {
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its shape without the batch dimension; none varies.
    pub dims: Vec<i64>,
    /// Its elements.
    pub source: WarmUpSource,
}

/// The source of a warm-up input's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmUpSource {
    /// Zeros; empty strings.
    Zero,
    /// Floating numbers from 0 to 1, integers and booleans of 0 or 1, empty strings.
    /// Any model takes such values: no index is beyond a table.
    Random,
    /// The raw elements, in this file of the directory `warmup` beside the
    /// configuration.
    File(String),
}

/// `instance_group [ … ]`, one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceGroup {
    /// The name of its instances; empty for the model's name.
    pub name: String,
    /// How many instances on each device; `None` for the default.
    pub count: Option<u32>,
    /// What kind of device.
    pub kind: InstanceKind,
    /// Which GPUs, by number; empty for all of them.
    pub gpus: Vec<u32>,
}

/// `instance_group { kind }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceKind {
    /// A GPU if there is one, else the processors.
    Auto,
    /// A GPU.
    Gpu,
    /// The processors.
    Cpu,
    /// The model's file decides; its inputs stay on the host.
    Model,
}

/// `version_policy { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest-numbered ones, this many.
    Latest(u32),
    /// All of them.
    All,
    /// These.
    Specific(Vec<u64>),
}
