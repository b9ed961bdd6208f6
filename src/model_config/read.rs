//! A model's directory to its checked configuration. Every field that is set
//! is honoured, refused with a reason, or warned of; none is passed over.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::messages::{
    DataType, ModelConfig as Message, ModelInput, ModelInstanceGroup, ModelOutput, ModelQueuePolicy,
    ModelTensorReshape, ModelVersionPolicy, model_config::SchedulingChoice, model_instance_group::Kind,
    model_version_policy::PolicyChoice,
};
use super::pbtxt;
use super::{
    ConfigError, DynamicBatching, InstanceGroup, InstanceKind, ModelConfig, TensorConfig, VersionPolicy,
};
use crate::protocol::Datatype;

const FILE: &str = "config.pbtxt";
const MODEL_FILE: &str = "model.pt";

/// `parameters` that have a meaning here.
const KNOWN_PARAMETERS: [&str; 3] =
    ["DISABLE_OPTIMIZED_EXECUTION", "INFERENCE_MODE", "INTRA_OP_THREAD_COUNT"];

impl ModelConfig {
    /// Reads the configuration of the model `name` in its directory. Without
    /// a file nothing is declared and nothing is batched.
    ///
    /// # Errors
    /// Where the file is wrong, what was expected and what came.
    pub fn read(directory: &Path, name: &str) -> Result<Self, ConfigError> {
        match read_text(&directory.join(FILE))? {
            Some(text) => Self::parse(&text, name),
            None => Ok(Self::undeclared(name)),
        }
    }

    /// Reads a configuration's text.
    ///
    /// # Errors
    /// As [`ModelConfig::read`].
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        check(pbtxt::parse(text)?, name)
    }

    fn undeclared(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_batch_size: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            dynamic_batching: None,
            instance_groups: Vec::new(),
            version_policy: VersionPolicy::Latest(1),
            model_filename: MODEL_FILE.to_owned(),
            parameters: BTreeMap::new(),
            declared: false,
            warnings: Vec::new(),
        }
    }
}

fn read_text(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::new(format!("{FILE} can't be read: {error}"));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    let read = file.take(pbtxt::MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if read as u64 > pbtxt::MAX_BYTES {
        return Err(ConfigError::new(format!("{FILE} is larger than {} bytes", pbtxt::MAX_BYTES)));
    }
    Ok(Some(text))
}

fn check(message: Message, name: &str) -> Result<ModelConfig, ConfigError> {
    let mut warnings = refuse_and_warn(&message)?;
    if !message.name.is_empty() && message.name != name {
        return Err(ConfigError::field(
            "name",
            format!("expected '{name}', the directory's name, got '{}'", message.name),
        ));
    }
    check_platform(&message)?;
    let max_batch_size = u32::try_from(message.max_batch_size).map_err(|_| {
        ConfigError::field("max_batch_size", format!("expected zero or more, got {}", message.max_batch_size))
    })?;
    let inputs = message.input.iter().map(input).collect::<Result<Vec<_>, _>>()?;
    let outputs = message.output.iter().map(output).collect::<Result<Vec<_>, _>>()?;
    distinct("input", &inputs)?;
    distinct("output", &outputs)?;
    let dynamic_batching = match message.scheduling_choice {
        Some(SchedulingChoice::DynamicBatching(batching)) => {
            if batching.preserve_ordering {
                warnings.push(
                    "dynamic_batching: preserve_ordering isn't honoured yet: with more than one instance \
                               answers may overtake each other"
                        .to_owned(),
                );
            }
            if batching.priority_levels > 0 || !batching.priority_queue_policy.is_empty() {
                return Err(ConfigError::field("dynamic_batching", "priority_levels aren't served yet"));
            }
            Some(dynamic_batching(
                &batching.preferred_batch_size,
                batching.max_queue_delay_microseconds,
                batching.default_queue_policy.as_ref(),
                max_batch_size,
            )?)
        }
        Some(SchedulingChoice::SequenceBatching(_)) => {
            return Err(ConfigError::field("sequence_batching", "sequences aren't served"));
        }
        Some(SchedulingChoice::EnsembleScheduling(_)) => {
            return Err(ConfigError::field("ensemble_scheduling", "ensembles aren't served"));
        }
        None => None,
    };
    let parameters: BTreeMap<String, String> =
        message.parameters.into_iter().map(|(key, value)| (key, value.string_value)).collect();
    for key in parameters.keys().filter(|key| !KNOWN_PARAMETERS.contains(&key.as_str())) {
        warnings.push(format!("parameters: '{key}' has no effect here"));
    }
    Ok(ModelConfig {
        name: name.to_owned(),
        max_batch_size,
        inputs,
        outputs,
        dynamic_batching,
        instance_groups: message.instance_group.iter().map(instance_group).collect::<Result<_, _>>()?,
        version_policy: version_policy(message.version_policy)?,
        model_filename: model_filename(&message.default_model_filename)?,
        parameters,
        declared: true,
        warnings,
    })
}

/// Fields that change answers and aren't served are refused; fields that
/// change none are warned of.
fn refuse_and_warn(message: &Message) -> Result<Vec<String>, ConfigError> {
    let refused = [
        ("runtime", !message.runtime.is_empty(), "only the backend's own runtime is there"),
        ("batch_input", !message.batch_input.is_empty(), "ragged batches aren't served"),
        ("batch_output", !message.batch_output.is_empty(), "ragged batches aren't served"),
        (
            "model_transaction_policy",
            message.model_transaction_policy.as_ref().is_some_and(|policy| policy.decoupled),
            "decoupled models aren't served",
        ),
        ("model_operations", message.model_operations.is_some(), "libraries of operations aren't loaded"),
        ("model_repository_agents", message.model_repository_agents.is_some(), "agents aren't run"),
        (
            "cc_model_filenames",
            !message.cc_model_filenames.is_empty(),
            "files by compute capability aren't served yet",
        ),
    ];
    if let Some((field, _, reason)) = refused.into_iter().find(|(_, set, _)| *set) {
        return Err(ConfigError::field(field, reason));
    }
    let warned = [
        ("optimization", message.optimization.is_some(), "has no effect here"),
        ("metric_tags", !message.metric_tags.is_empty(), "has no effect here"),
        ("model_metrics", message.model_metrics.is_some(), "has no effect here"),
        ("model_warmup", !message.model_warmup.is_empty(), "isn't honoured yet: models warm up on zeros"),
        (
            "response_cache",
            message.response_cache.is_some_and(|cache| cache.enable),
            "isn't honoured: answers aren't cached",
        ),
    ];
    let lines = warned.into_iter().filter(|(_, set, _)| *set);
    Ok(lines.map(|(field, _, effect)| format!("{field} {effect}")).collect())
}

fn check_platform(message: &Message) -> Result<(), ConfigError> {
    let known = |value: &str, names: &[&str]| value.is_empty() || names.contains(&value);
    if !known(&message.platform, &["pytorch_libtorch", "libtorch"]) {
        return Err(ConfigError::field(
            "platform",
            format!("expected pytorch_libtorch, got '{}'", message.platform),
        ));
    }
    if !known(&message.backend, &["pytorch", "libtorch"]) {
        return Err(ConfigError::field("backend", format!("expected pytorch, got '{}'", message.backend)));
    }
    Ok(())
}

fn input(message: &ModelInput) -> Result<TensorConfig, ConfigError> {
    let field = format!("input '{}'", message.name);
    let refused = [
        ("allow_ragged_batch", message.allow_ragged_batch),
        ("is_shape_tensor", message.is_shape_tensor),
        ("is_non_linear_format_io", message.is_non_linear_format_io),
        ("optional", message.optional),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, set)| *set) {
        return Err(ConfigError::field(&field, format!("{what} isn't served")));
    }
    let mut tensor =
        tensor(&field, &message.name, message.data_type, &message.dims, message.reshape.as_ref())?;
    tensor.optional = message.optional;
    Ok(tensor)
}

fn output(message: &ModelOutput) -> Result<TensorConfig, ConfigError> {
    let field = format!("output '{}'", message.name);
    if message.is_shape_tensor || message.is_non_linear_format_io {
        return Err(ConfigError::field(&field, "shape tensors and non-linear formats aren't served"));
    }
    let mut tensor =
        tensor(&field, &message.name, message.data_type, &message.dims, message.reshape.as_ref())?;
    tensor.label_filename = Some(message.label_filename.clone()).filter(|file| !file.is_empty());
    Ok(tensor)
}

fn tensor(
    field: &str,
    name: &str,
    data_type: i32,
    dims: &[i64],
    reshape: Option<&ModelTensorReshape>,
) -> Result<TensorConfig, ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::field(field, "it has no name"));
    }
    let data_type = DataType::try_from(data_type).unwrap_or(DataType::TypeInvalid);
    let datatype = datatype(data_type).ok_or_else(|| ConfigError::field(field, "it has no data_type"))?;
    if dims.is_empty() {
        return Err(ConfigError::field(
            field,
            "it has no dims; a scalar is dims: [ 1 ] with reshape: { shape: [ ] }",
        ));
    }
    check_dims(field, "dims", dims)?;
    let reshape = reshape.map(|reshape| reshape.shape.clone());
    if let Some(shape) = &reshape {
        check_dims(field, "reshape", shape)?;
        let fixed = |dims: &[i64]| -> Option<i64> {
            dims.iter()
                .try_fold(1i64, |product, dim| (*dim >= 0).then(|| product.checked_mul(*dim)).flatten())
        };
        if let (Some(ours), Some(theirs)) = (fixed(dims), fixed(shape))
            && ours != theirs
        {
            return Err(ConfigError::field(
                field,
                format!("dims {dims:?} hold {ours} elements, reshape {shape:?} holds {theirs}"),
            ));
        }
        if shape.iter().filter(|dim| **dim < 0).count() > 1 {
            return Err(ConfigError::field(field, "reshape may leave one dimension open"));
        }
    }
    Ok(TensorConfig {
        name: name.to_owned(),
        datatype,
        dims: dims.to_vec(),
        reshape,
        optional: false,
        label_filename: None,
    })
}

fn check_dims(field: &str, what: &str, dims: &[i64]) -> Result<(), ConfigError> {
    match dims.iter().find(|dim| **dim < -1 || **dim == 0) {
        Some(dim) => {
            Err(ConfigError::field(field, format!("{what}: expected -1 or more than zero, got {dim}")))
        }
        None => Ok(()),
    }
}

fn datatype(data_type: DataType) -> Option<Datatype> {
    match data_type {
        DataType::TypeInvalid => None,
        DataType::TypeBool => Some(Datatype::Bool),
        DataType::TypeUint8 => Some(Datatype::Uint8),
        DataType::TypeUint16 => Some(Datatype::Uint16),
        DataType::TypeUint32 => Some(Datatype::Uint32),
        DataType::TypeUint64 => Some(Datatype::Uint64),
        DataType::TypeInt8 => Some(Datatype::Int8),
        DataType::TypeInt16 => Some(Datatype::Int16),
        DataType::TypeInt32 => Some(Datatype::Int32),
        DataType::TypeInt64 => Some(Datatype::Int64),
        DataType::TypeFp16 => Some(Datatype::Fp16),
        DataType::TypeFp32 => Some(Datatype::Fp32),
        DataType::TypeFp64 => Some(Datatype::Fp64),
        DataType::TypeString => Some(Datatype::Bytes),
        DataType::TypeBf16 => Some(Datatype::Bf16),
    }
}

fn distinct(what: &str, tensors: &[TensorConfig]) -> Result<(), ConfigError> {
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
        Some(tensor) => Err(ConfigError::field(what, format!("'{}' is declared twice", tensor.name))),
        None => Ok(()),
    }
}

fn dynamic_batching(
    preferred: &[i32],
    delay_microseconds: u64,
    policy: Option<&ModelQueuePolicy>,
    max_batch_size: u32,
) -> Result<DynamicBatching, ConfigError> {
    const FIELD: &str = "dynamic_batching";
    if max_batch_size == 0 {
        return Err(ConfigError::field(FIELD, "it needs a max_batch_size of 1 or more"));
    }
    let mut preferred_batch_sizes = Vec::with_capacity(preferred.len());
    for size in preferred {
        match u32::try_from(*size) {
            Ok(size) if (1..=max_batch_size).contains(&size) => preferred_batch_sizes.push(size),
            _ => {
                return Err(ConfigError::field(
                    FIELD,
                    format!(
                        "preferred_batch_size: expected 1 to max_batch_size ({max_batch_size}), got {size}"
                    ),
                ));
            }
        }
    }
    preferred_batch_sizes.sort_unstable();
    preferred_batch_sizes.dedup();
    if policy.is_some_and(|policy| policy.default_timeout_microseconds > 0 || policy.allow_timeout_override) {
        return Err(ConfigError::field(FIELD, "timeouts of default_queue_policy aren't served yet"));
    }
    Ok(DynamicBatching {
        preferred_batch_sizes,
        max_queue_delay: Duration::from_micros(delay_microseconds),
        max_queue_size: policy.map_or(0, |policy| policy.max_queue_size),
    })
}

fn instance_group(message: &ModelInstanceGroup) -> Result<InstanceGroup, ConfigError> {
    const FIELD: &str = "instance_group";
    let refused = [
        ("rate_limiter", message.rate_limiter.is_some()),
        ("secondary_devices", !message.secondary_devices.is_empty()),
        ("profile", !message.profile.is_empty()),
        ("passive", message.passive),
        ("host_policy", !message.host_policy.is_empty()),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, set)| *set) {
        return Err(ConfigError::field(FIELD, format!("{what} isn't served")));
    }
    let count =
        match message.count {
            0 => None,
            count => Some(u32::try_from(count).map_err(|_| {
                ConfigError::field(FIELD, format!("count: expected zero or more, got {count}"))
            })?),
        };
    let gpus = message
        .gpus
        .iter()
        .map(|gpu| {
            u32::try_from(*gpu)
                .map_err(|_| ConfigError::field(FIELD, format!("gpus: expected zero or more, got {gpu}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let kind = match Kind::try_from(message.kind).unwrap_or(Kind::Auto) {
        Kind::Auto => InstanceKind::Auto,
        Kind::Gpu => InstanceKind::Gpu,
        Kind::Cpu => InstanceKind::Cpu,
        Kind::Model => InstanceKind::Model,
    };
    if matches!(kind, InstanceKind::Cpu | InstanceKind::Model) && !gpus.is_empty() {
        return Err(ConfigError::field(FIELD, "gpus go with KIND_GPU or KIND_AUTO"));
    }
    Ok(InstanceGroup { count, kind, gpus })
}

fn version_policy(message: Option<ModelVersionPolicy>) -> Result<VersionPolicy, ConfigError> {
    const FIELD: &str = "version_policy";
    match message.and_then(|policy| policy.policy_choice) {
        None => Ok(VersionPolicy::Latest(1)),
        Some(PolicyChoice::All(_)) => Ok(VersionPolicy::All),
        Some(PolicyChoice::Latest(latest)) => Ok(VersionPolicy::Latest(latest.num_versions.max(1))),
        Some(PolicyChoice::Specific(specific)) => {
            let versions =
                specific.versions.iter().map(|version| u64::try_from(*version).ok().filter(|v| *v > 0));
            let versions: Option<Vec<u64>> = versions.collect();
            match versions {
                Some(versions) if !versions.is_empty() => Ok(VersionPolicy::Specific(versions)),
                _ => Err(ConfigError::field(
                    FIELD,
                    format!("specific: expected versions above zero, got {:?}", specific.versions),
                )),
            }
        }
    }
}

fn model_filename(file: &str) -> Result<String, ConfigError> {
    if file.is_empty() {
        return Ok(MODEL_FILE.to_owned());
    }
    if file.contains(['/', '\0']) || file == "." || file == ".." {
        return Err(ConfigError::field(
            "default_model_filename",
            format!("expected the name of a file in the version's directory, got '{file}'"),
        ));
    }
    Ok(file.to_owned())
}
