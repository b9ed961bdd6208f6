//! Every field of `config.pbtxt`.
//!
//! One that is served has a line in [`SERVED`], with a text that sets it and a
//! proof that this has an effect. One that isn't needs none: it is set here,
//! and the reader's own words say why the model is refused.

use std::collections::BTreeSet;

use cresset::model_config::ModelConfig;
use cresset_protocol::messages::config as proto;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    Value,
};

/// How it shows that a field has its effect.
enum Proof {
    /// This stands in the configuration that was read.
    Shows(&'static str),
    /// With this value in its place the model is refused.
    Checks(&'static str),
}

use Proof::{Checks, Shows};

/// Path, a text that is read, the proof, what comes of it.
type Served = (&'static str, &'static str, Proof, &'static str);

const LEVELS: &str = "max_batch_size: 8 dynamic_batching { priority_levels: 3 default_priority_level: 2
    priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 7
    allow_timeout_override: true max_queue_size: 5 } } }";
const POLICY: &str = "max_batch_size: 8 dynamic_batching { default_queue_policy { timeout_action: DELAY
    default_timeout_microseconds: 7 allow_timeout_override: true max_queue_size: 5 } }";
const INPUT: &str = "input { name: 'x' data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 2, 2 ] reshape { shape: [ 12 ] } }";
const OUTPUT: &str = "output { name: 'y' data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } label_filename: 'l.txt' }";
const GROUP: &str = "instance_group { name: 'mine' kind: KIND_GPU count: 3 gpus: [ 1 ] }";
const SWITCH: &str = "parameters { key: 'INFERENCE_MODE' value { string_value: 'false' } }";
const OPERATIONS: &str = "model_operations { op_library_filename: 'libmine.so' }";
const ZERO: &str = "max_batch_size: 4 model_warmup { name: 's' batch_size: 2 count: 3
    inputs { key: 'x' value { data_type: TYPE_INT8 dims: 5 zero_data: true } } }";
const RANDOM: &str = "model_warmup { name: 's' batch_size: 1
    inputs { key: 'x' value { data_type: TYPE_INT8 dims: 5 random_data: true } } }";
const FILE: &str = "model_warmup { name: 's' batch_size: 1
    inputs { key: 'x' value { data_type: TYPE_INT8 dims: 5 input_data_file: 'f' } } }";

#[rustfmt::skip]
const SERVED: &[Served] = &[
    ("name", "name: 'm'", Checks("name: 'other'"), "the directory's name"),
    ("platform", "platform: 'pytorch_libtorch'", Checks("platform: 'onnxruntime_onnx'"), "TorchScript's: `pytorch_libtorch`"),
    ("backend", "backend: 'pytorch'", Checks("backend: 'python'"), "TorchScript's: `pytorch`"),
    ("runtime", "runtime: 'libtriton_pytorch.so'", Checks("runtime: 'model.py'"), "TorchScript's: `libtriton_pytorch.so`"),
    ("version_policy", "version_policy { all { } }", Shows("version_policy: All"), "which versions are served"),
    ("version_policy.latest", "version_policy { latest { num_versions: 3 } }", Shows("Latest(3)"), "the newest ones"),
    ("version_policy.latest.num_versions", "version_policy { latest { num_versions: 2 } }", Shows("Latest(2)"), "this many"),
    ("version_policy.all", "version_policy { all { } }", Shows("version_policy: All"), "all of them"),
    ("version_policy.specific", "version_policy { specific { versions: [ 3 ] } }", Shows("Specific([3])"), "these"),
    ("version_policy.specific.versions", "version_policy { specific { versions: [ 3, 1 ] } }", Shows("Specific([1, 3])"), "their numbers"),
    ("max_batch_size", "max_batch_size: 8", Shows("max_batch_size: 8"), "rows of a batch; 0: shapes are whole"),
    ("input", INPUT, Shows("name: \"x\""), "what a request brings"),
    ("input.name", INPUT, Shows("name: \"x\""), "an argument of `forward`, `<name>__<index>`, or in order"),
    ("input.data_type", INPUT, Shows("datatype: Fp32"), "checked in each request"),
    ("input.format", INPUT, Checks("input { name: 'x' data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3 ] }"), "an image has three dimensions"),
    ("input.dims", INPUT, Shows("dims: [3, 2, 2]"), "checked in each request; -1 varies"),
    ("input.optional", "input { name: 'x' data_type: TYPE_FP32 dims: [ 3 ] optional: true }", Shows("optional: true"), "a request may leave out an argument that has a default or may be None"),
    ("input.reshape", INPUT, Shows("reshape: Some([12])"), "the model's shape, if it differs"),
    ("input.reshape.shape", INPUT, Shows("reshape: Some([12])"), "as many elements as `dims`"),
    ("output", OUTPUT, Shows("name: \"y\""), "what a response carries"),
    ("output.name", OUTPUT, Shows("name: \"y\""), "a key of the model's, `<name>__<index>`, or in order"),
    ("output.data_type", OUTPUT, Shows("datatype: Fp32"), "checked against what the model gives"),
    ("output.dims", OUTPUT, Shows("dims: [4]"), "told to clients; the shape of a reshaped output"),
    ("output.reshape", OUTPUT, Shows("reshape: Some([2, 2])"), "the model's shape, if it differs"),
    ("output.reshape.shape", OUTPUT, Shows("reshape: Some([2, 2])"), "as many elements as `dims`"),
    ("output.label_filename", OUTPUT, Shows("Some(\"l.txt\")"), "labels for the classification extension"),
    ("optimization", "optimization { }", Checks("optimization { eager_batching: true }"), "its fields that PyTorch can use"),
    ("optimization.graph", "optimization { graph { level: 0 } }", Checks("optimization { graph { level: 1 } }"), "level 0, the default"),
    ("optimization.cuda", "optimization { cuda { graphs: false } }", Checks("optimization { cuda { graphs: true } }"), "with its defaults"),
    ("optimization.input_pinned_memory", "optimization { input_pinned_memory { enable: true } }", Checks("optimization { input_pinned_memory { } }"), "see `enable`"),
    ("optimization.input_pinned_memory.enable", "optimization { input_pinned_memory { enable: true } }", Checks("optimization { input_pinned_memory { enable: false } }"), "`true`, the default: which memory is pinned goes by the device"),
    ("optimization.output_pinned_memory", "optimization { output_pinned_memory { enable: true } }", Checks("optimization { output_pinned_memory { } }"), "see `enable`"),
    ("optimization.output_pinned_memory.enable", "optimization { output_pinned_memory { enable: true } }", Checks("optimization { output_pinned_memory { enable: false } }"), "`true`, the default: which memory is pinned goes by the device"),
    ("dynamic_batching", "max_batch_size: 8 dynamic_batching { }", Shows("dynamic_batching: Some("), "requests of several callers run together"),
    ("dynamic_batching.preferred_batch_size", "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4 ] }", Shows("preferred_batch_sizes: [4]"), "leave without waiting"),
    ("dynamic_batching.max_queue_delay_microseconds", "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 7 }", Shows("max_queue_delay: 7µs"), "from the oldest request's arrival; at most an hour"),
    ("dynamic_batching.preserve_ordering", "max_batch_size: 8 dynamic_batching { preserve_ordering: true }", Shows("preserve_ordering: true"), "answers leave in the order of arrival; a request that is refused or late is answered at once"),
    ("dynamic_batching.priority_levels", LEVELS, Shows("priority_levels: 3"), "level 1 is served first"),
    ("dynamic_batching.default_priority_level", LEVELS, Shows("default_priority_level: 2"), "of a request that names none, or one that isn't there"),
    ("dynamic_batching.default_queue_policy", POLICY, Shows("default_queue_policy: LevelPolicy { timeout_action: Delay"), "of each level without one of its own"),
    ("dynamic_batching.default_queue_policy.timeout_action", POLICY, Shows("timeout_action: Delay"), "`REJECT` answers 'Request timeout expired' when the time comes, however busy the model is; `DELAY` runs it behind the others"),
    ("dynamic_batching.default_queue_policy.default_timeout_microseconds", POLICY, Shows("default_timeout: Some(7µs)"), "from the request's arrival"),
    ("dynamic_batching.default_queue_policy.allow_timeout_override", POLICY, Shows("allow_timeout_override: true"), "a request's `timeout` may shorten it"),
    ("dynamic_batching.default_queue_policy.max_queue_size", POLICY, Shows("max_queue_size: 5"), "0: the server's bound, over all levels"),
    ("dynamic_batching.priority_queue_policy", LEVELS, Shows("priority_queue_policy: {1: LevelPolicy {"), "by level"),
    ("dynamic_batching.priority_queue_policy.timeout_action", LEVELS, Shows("{1: LevelPolicy { timeout_action: Delay"), "as in `default_queue_policy`"),
    ("dynamic_batching.priority_queue_policy.default_timeout_microseconds", LEVELS, Shows("default_timeout: Some(7µs)"), "as in `default_queue_policy`"),
    ("dynamic_batching.priority_queue_policy.allow_timeout_override", LEVELS, Shows("allow_timeout_override: true"), "as in `default_queue_policy`"),
    ("dynamic_batching.priority_queue_policy.max_queue_size", LEVELS, Shows("max_queue_size: 5"), "of this level alone"),
    ("instance_group", GROUP, Shows("instance_groups: [InstanceGroup {"), "where and how often the model runs"),
    ("instance_group.name", GROUP, Shows("InstanceGroup { name: \"mine\""), "of its instances' threads; shown in the configuration"),
    ("instance_group.kind", GROUP, Shows("kind: Gpu"), "without a GPU, `KIND_GPU` runs on the processors and the log says so"),
    ("instance_group.count", GROUP, Shows("count: Some(3)"), "on each device"),
    ("instance_group.gpus", GROUP, Shows("gpus: [1]"), "CUDA devices by number"),
    ("default_model_filename", "default_model_filename: 'net.pt'", Shows("model_filename: \"net.pt\""), "inside a version's directory"),
    ("cc_model_filenames", "cc_model_filenames { key: '8.0' value: 'ampere.pt' }", Shows("\"ampere.pt\""), "by the GPU's compute capability; the devices of a model must share one file"),
    ("metric_tags", "metric_tags { key: 'team' value: 'vision' }", Shows("metric_tags: {\"team\": \"vision\"}"), "labels of the model's metrics"),
    ("parameters", SWITCH, Shows("\"INFERENCE_MODE\": \"false\""), "libtorch's switches, below; other keys are shown to clients in the configuration, and named in the log"),
    ("parameters.string_value", SWITCH, Checks("parameters { key: 'INFERENCE_MODE' value { string_value: 'maybe' } }"), "checked"),
    ("model_warmup", ZERO, Shows("warm_up: [WarmUpSample {"), "before the model is ready; it isn't served if one fails"),
    ("model_warmup.name", ZERO, Shows("name: \"s\""), "what errors call it"),
    ("model_warmup.batch_size", ZERO, Shows("batch_size: 2"), "requests of one row together; 0 switches the sample off"),
    ("model_warmup.inputs", ZERO, Shows("{\"x\": WarmUpData {"), "all of the model's"),
    ("model_warmup.inputs.data_type", ZERO, Shows("datatype: Int8"), "the input's"),
    ("model_warmup.inputs.dims", ZERO, Shows("dims: [5]"), "none varies"),
    ("model_warmup.inputs.zero_data", ZERO, Shows("source: Zero"), "zeros; empty strings"),
    ("model_warmup.inputs.random_data", RANDOM, Shows("source: Random"), "from 0 to 1; integers and booleans of 0 or 1; empty strings"),
    ("model_warmup.inputs.input_data_file", FILE, Shows("source: File(\"f\")"), "raw elements, in the directory `warmup` beside the configuration"),
    ("model_warmup.count", ZERO, Shows("count: 3"), "times; 0 for once"),
    ("model_operations", OPERATIONS, Shows("op_libraries: [\"libmine.so\"]"), "libraries of operators that libtorch doesn't have; torchvision's are there without"),
    ("model_operations.op_library_filename", OPERATIONS, Checks("model_operations { op_library_filename: '../libmine.so' }"), "inside the model's directory; opened once, before the model is loaded, and open until the server ends; the model isn't served if one can't be opened"),
    ("model_transaction_policy", "model_transaction_policy { decoupled: false }", Checks("model_transaction_policy { decoupled: true }"), "one response for each request"),
    ("response_cache", "response_cache { enable: false }", Checks("response_cache { enable: true }"), "off"),
];

/// The keys of `parameters` that have an effect, and the values that prove it:
/// one that is read and one that isn't.
#[rustfmt::skip]
const SWITCHES: &[(&str, &str, &str, &str)] = &[
    ("DISABLE_OPTIMIZED_EXECUTION", "true", "maybe", "the graph runs as it was exported, not frozen"),
    ("INFERENCE_MODE", "false", "maybe", "`true` by default; else without gradients only"),
    ("DISABLE_CUDNN", "true", "maybe", "one switch for the process: the model that was loaded last decides"),
    ("ENABLE_WEIGHT_SHARING", "true", "maybe", "weights are loaded once for each device, whatever it says"),
    ("ENABLE_CACHE_CLEANING", "true", "maybe", "a GPU's free memory goes back after each run"),
    ("ENABLE_JIT_EXECUTOR", "false", "maybe", "a plain executor for this model"),
    ("ENABLE_JIT_PROFILING", "false", "maybe", "the same"),
    ("ENABLE_TENSOR_FUSER", "false", "maybe", "one switch for the process: the model that was loaded last decides"),
    ("INTER_OP_THREAD_COUNT", "2", "0", "one number for the process: the first model that names it decides"),
    ("INTRA_OP_THREAD_COUNT", "2", "0", "threads of each instance, in the place of the server's plan"),
];

/// A line of the page.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) why: String,
}

fn served_row(name: &str, why: &str) -> Row {
    Row { name: name.to_owned(), served: true, why: why.to_owned() }
}

/// Tries every field and gives what came of each.
pub(crate) fn rows() -> Vec<Row> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let root = pool.get_message_by_name("inference.ModelConfig").unwrap();
    let mut rows = Vec::new();
    walk(&root, &mut Vec::new(), &mut rows);

    let there: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    for (path, ..) in SERVED {
        assert!(there.contains(path), "'{path}' is in the table, and no field has that path");
    }
    rows
}

/// Tries every switch in `parameters`.
pub(crate) fn switches() -> Vec<Row> {
    let text =
        |key: &str, value: &str| format!("parameters {{ key: '{key}' value {{ string_value: '{value}' }} }}");
    let row = |(key, good, bad, why): &(&str, &str, &str, &str)| {
        let read = ModelConfig::from_pbtxt(&text(key, good), "m").unwrap();
        assert!(read.warnings.is_empty(), "{key}: {:?}", read.warnings);
        assert!(ModelConfig::from_pbtxt(&text(key, bad), "m").is_err(), "{key} takes '{bad}'");
        served_row(key, why)
    };
    SWITCHES.iter().map(row).collect()
}

fn walk(message: &MessageDescriptor, path: &mut Vec<FieldDescriptor>, rows: &mut Vec<Row>) {
    for field in message.fields() {
        path.push(field.clone());
        let name = path.iter().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(".");
        rows.push(match SERVED.iter().find(|(served, ..)| *served == name) {
            Some((_, text, proof, why)) => {
                prove(&name, text, proof);
                served_row(&name, why)
            }
            None => Row { why: refusal(&name, path), name, served: false },
        });
        if let Some(message) = message_of(&field) {
            walk(&message, path, rows);
        }
        path.pop();
    }
}

fn prove(name: &str, text: &str, proof: &Proof) {
    let config = match ModelConfig::from_pbtxt(text, "m") {
        Ok(config) => config,
        Err(error) => panic!("'{name}' is served in the table, but: {error}"),
    };
    // A served field that is only named in the log would be passed over.
    assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings);
    let plain = format!("{:?}", ModelConfig::from_pbtxt("", "m").unwrap());
    match proof {
        Shows(shown) => {
            let config = format!("{config:?}");
            assert!(config.contains(shown), "'{name}': expected '{shown}' in {config}");
            assert!(!plain.contains(shown), "'{name}': '{shown}' shows whatever is set");
        }
        Checks(bad) => {
            let bad = ModelConfig::from_pbtxt(bad, "m");
            assert!(bad.is_err(), "'{name}': its value isn't checked: {bad:?}");
        }
    }
}

/// Sets the field and gives the reader's words for refusing it.
fn refusal(name: &str, path: &[FieldDescriptor]) -> String {
    let root = path[0].parent_message().clone();
    let text = message_with(&root, path).to_text_format();
    let error = match ModelConfig::from_pbtxt(&text, "m") {
        Ok(_) => panic!("'{name}' is read and has no line in the table: {text}"),
        Err(error) => error.to_string(),
    };
    let (field, reason) = error
        .strip_prefix("config.pbtxt: field '")
        .and_then(|rest| rest.split_once("' can't be honoured: "))
        .unwrap_or_else(|| panic!("'{name}' set by {text} is refused for something else: {error}"));
    // The field itself, or one that it is in.
    let field: String = without_indices(field);
    let inside = name == field || name.strip_prefix(&field).is_some_and(|rest| rest.starts_with('.'));
    assert!(inside, "'{name}' is refused for '{field}': {error}");
    reason.to_owned()
}

fn without_indices(path: &str) -> String {
    let mut depth = 0;
    let mut plain = String::new();
    for letter in path.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            other if depth == 0 => plain.push(other),
            _ => {}
        }
    }
    plain
}

fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind =
        if field.is_map() { field.kind().as_message()?.map_entry_value_field().kind() } else { field.kind() };
    kind.as_message().cloned()
}

/// A message in which the field at the end of `path` isn't its default.
fn message_with(descriptor: &MessageDescriptor, path: &[FieldDescriptor]) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let Some((field, rest)) = path.split_first() else { return message };
    let value = |kind: Kind| match kind {
        Kind::Message(inner) => Value::Message(message_with(&inner, rest)),
        Kind::Enum(values) => {
            Value::EnumNumber(values.values().map(|value| value.number()).max().unwrap_or(0))
        }
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("x".to_owned()),
        Kind::Bytes => Value::Bytes("x".into()),
        Kind::Double => Value::F64(1.0),
        Kind::Float => Value::F32(1.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
    };
    let value = if field.is_map() {
        let entry = field.kind().as_message().unwrap().clone();
        // Keys are names, or the numbers of levels.
        let named = entry.map_entry_key_field().kind() == Kind::String;
        let key = if named { MapKey::String("k".to_owned()) } else { MapKey::U64(1) };
        Value::Map([(key, value(entry.map_entry_value_field().kind()))].into())
    } else if field.is_list() {
        Value::List(vec![value(field.kind())])
    } else if field.enum_default_alone() {
        Value::EnumNumber(0)
    } else {
        value(field.kind())
    };
    message.set_field(field, value);
    debug_assert_eq!(message.descriptor(), *descriptor);
    message
}

trait OneValue {
    /// An enumeration that has no value but its default, which proto3 takes
    /// for unset.
    fn enum_default_alone(&self) -> bool;
}

impl OneValue for FieldDescriptor {
    fn enum_default_alone(&self) -> bool {
        self.kind().as_enum().is_some_and(|values| values.values().len() == 1)
    }
}
