//! Reads the configuration in a model's directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use prost_reflect::DynamicMessage;

use super::json::{self, Written};
use super::{
    CONFIG_FILENAME, ConfigError, DynamicBatching, InstanceGroup, ModelFilenames, TensorConfig,
    VersionPolicy, WarmUpSample, fields, filenames, formats, parameters, pbtxt, scheduling, tensor, version,
    warm_up,
};
use cresset_backend::Parameters;
use cresset_protocol::messages::config::{self as proto, model_config::SchedulingChoice};

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
    pub(super) message: json::Written,
}

impl ModelConfig {
    /// The configuration of a model without `config.pbtxt`: its shapes are whole,
    /// nothing is batched, and the model file names its inputs.
    #[must_use]
    pub fn undeclared(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_batch_size: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            dynamic_batching: None,
            instance_groups: Vec::new(),
            version_policy: VersionPolicy::Latest(1),
            model_filename: ModelFilenames::default(),
            op_libraries: Vec::new(),
            parameters: Default::default(),
            metric_tags: Default::default(),
            warm_up: Vec::new(),
            declared: false,
            warnings: Vec::new(),
            message: Written::default(),
        }
    }

    /// Reads `config.pbtxt` of the model `name` in its directory, or gives
    /// [`ModelConfig::undeclared`] if there is none.
    ///
    /// # Errors
    /// If the file exists and can't be read, isn't a configuration, or asks for a
    /// feature that isn't offered.
    pub fn read(model_directory: &Path, name: &str) -> Result<Self, ConfigError> {
        let path = model_directory.join(CONFIG_FILENAME);
        // The link itself is examined: a link that leads nowhere is a mistake, and
        // doesn't count as a missing file.
        if let Err(error) = fs::symlink_metadata(&path)
            && error.kind() == io::ErrorKind::NotFound
        {
            return Ok(Self::undeclared(name));
        }
        Self::from_pbtxt(&read_text(&path)?, name)
    }

    /// Reads the text of a `config.pbtxt` of the model `name`.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn from_pbtxt(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::from_message(&pbtxt::parse(text)?, name)
    }

    /// Reads a configuration of the model `name` in protobuf's JSON, as
    /// Triton's clients give it to a load call.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn from_json(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::from_message(&json::parse(text)?, name)
    }

    fn from_message(parsed: &DynamicMessage, name: &str) -> Result<Self, ConfigError> {
        fields::check(parsed)?;
        let mut warnings = Vec::new();
        let config: proto::ModelConfig =
            parsed.transcode_to().map_err(|error| ConfigError::Read(format!("doesn't decode: {error}")))?;

        let message = Written(config.clone());

        check_name(&config.name, name)?;
        let formats = formats::named(&config.platform, &config.backend, &config.runtime)?;
        if let Some(optimization) = &config.optimization {
            check_pinned("input_pinned_memory", optimization.input_pinned_memory.as_ref())?;
            check_pinned("output_pinned_memory", optimization.output_pinned_memory.as_ref())?;
        }
        let max_batch_size = u32::try_from(config.max_batch_size)
            .map_err(|_| ConfigError::value("max_batch_size", "0 or more", config.max_batch_size))?;
        let batched = max_batch_size > 0;
        let dynamic_batching = match config.scheduling_choice {
            Some(SchedulingChoice::DynamicBatching(batching)) => {
                Some(scheduling::dynamic_batching(batching, max_batch_size)?)
            }
            // The table of fields has refused the other two.
            None | Some(SchedulingChoice::SequenceBatching(_) | SchedulingChoice::EnsembleScheduling(_)) => {
                None
            }
        };
        Ok(Self {
            name: name.to_owned(),
            max_batch_size,
            inputs: tensor::inputs(config.input, batched)?,
            outputs: tensor::outputs(config.output, batched)?,
            dynamic_batching,
            instance_groups: scheduling::instance_groups(config.instance_group)?,
            version_policy: version::policy(config.version_policy)?,
            model_filename: filenames::filenames(
                config.default_model_filename,
                config.cc_model_filenames,
                &formats,
            )?,
            op_libraries: filenames::op_libraries(config.model_operations)?,
            parameters: parameters::parameters(formats[0], config.parameters, &mut warnings)?,
            metric_tags: metric_tags(config.metric_tags)?,
            warm_up: warm_up::samples(config.model_warmup, max_batch_size, &mut warnings)?,
            declared: true,
            warnings,
            message,
        })
    }
}

/// Reads at most [`pbtxt::MAX_BYTES`], and a plain file only: a device or a pipe in
/// its place could block the server.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |error: io::Error| ConfigError::Read(format!("can't be read: {error}"));
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ConfigError::Read("is not a plain file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(pbtxt::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > pbtxt::MAX_BYTES {
        return Err(ConfigError::Read(format!("is longer than {} bytes", pbtxt::MAX_BYTES)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        ConfigError::Read(format!("is not UTF-8 text: byte {offset} is {:#04x}", error.as_bytes()[offset]))
    })
}

fn check_name(given: &str, directory: &str) -> Result<(), ConfigError> {
    if given.is_empty() || given == directory {
        return Ok(());
    }
    let expected = format!("the name of its directory, '{directory}', or none");
    Err(ConfigError::value("name", expected, format!("'{}'", given.escape_debug())))
}

/// `true` is the default: the device decides which memory is pinned. Only `false`
/// asks for something else.
fn check_pinned(
    field: &str,
    memory: Option<&proto::model_optimization_policy::PinnedMemoryBuffer>,
) -> Result<(), ConfigError> {
    if memory.is_none_or(|memory| memory.enable) {
        return Ok(());
    }
    let reason = "which memory is pinned goes by the device: remove the field";
    Err(ConfigError::unsupported(format!("optimization.{field}.enable"), reason))
}

/// Labels of the model's metrics, beside the labels of every model.
fn metric_tags(tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ConfigError> {
    const TAKEN: [&str; 4] = ["model", "version", "reason", "le"];
    let is_label = |name: &str| {
        let start = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        start && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match tags.keys().find(|name| !is_label(name) || TAKEN.contains(&name.as_str())) {
        None => Ok(tags),
        Some(name) => Err(ConfigError::value(
            "metric_tags",
            format!("names of letters, digits and '_', other than {}", TAKEN.join(", ")),
            format!("'{}'", name.escape_debug()),
        )),
    }
}

#[cfg(test)]
mod tests;
