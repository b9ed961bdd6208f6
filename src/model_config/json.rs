//! A configuration as JSON, as Triton's clients read and send it.

use std::fmt;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

use super::{ConfigError, InstanceGroup, InstanceKind, ModelConfig, VersionPolicy, pbtxt};
use cresset_backend::ModelFormat;
use cresset_protocol::messages::config::model_version_policy::{All, Latest, PolicyChoice, Specific};
use cresset_protocol::messages::config::{self as proto, model_instance_group::Kind as GroupKind};

/// A file's message. `Debug` doesn't show it: the configuration's own fields hold
/// its values, checked.
#[derive(Clone, PartialEq, Default)]
pub(super) struct Written(pub(super) proto::ModelConfig);

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(..)")
    }
}

/// Parses protobuf's JSON, in which fields have either of their two names. One
/// message may stand for a list of one, as in protobuf's former parser: Triton's
/// clients rely on it.
///
/// # Errors
/// [`ConfigError::Syntax`] with the place.
pub(super) fn parse(source: &str) -> Result<DynamicMessage, ConfigError> {
    if source.len() as u64 > pbtxt::MAX_BYTES {
        return Err(ConfigError::Read(format!("is longer than {} bytes", pbtxt::MAX_BYTES)));
    }
    let syntax = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let told = error.to_string();
        // The error names the place in front already.
        let message = told.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&told);
        ConfigError::Syntax { line, column, message: message.to_owned() }
    };
    let mut reader = serde_json::Deserializer::from_str(source);
    let descriptor = pbtxt::descriptor()?;
    let read = DynamicMessage::deserialize(descriptor.clone(), &mut reader)
        .and_then(|message| reader.end().map(|()| message));
    match read {
        Ok(message) => Ok(message),
        // The first error names the place, so it is returned.
        Err(error) => with_lists(source, descriptor).ok_or_else(|| syntax(error)),
    }
}

/// The same text with single messages turned into lists of one. `None` if there
/// are none, or it can't be read either.
fn with_lists(source: &str, descriptor: MessageDescriptor) -> Option<DynamicMessage> {
    let mut value = serde_json::from_str(source).ok()?;
    let changed = put_into_lists(&mut value, &descriptor);
    changed.then(|| DynamicMessage::deserialize(descriptor, value).ok()).flatten()
}

/// Turns each single message in the place of a list into a list of one. Returns
/// whether there was any.
fn put_into_lists(value: &mut Value, message: &MessageDescriptor) -> bool {
    let Value::Object(fields) = value else { return false };
    let mut changed = false;
    for (name, value) in fields {
        let field = message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name));
        let Some((field, Kind::Message(inner))) = field.map(|field| (field.clone(), field.kind())) else {
            continue;
        };
        if field.is_list() && value.is_object() {
            *value = Value::Array(vec![value.take()]);
            changed = true;
        }
        if let Value::Array(items) = value {
            items.iter_mut().for_each(|item| changed |= put_into_lists(item, &inner));
        } else if field.is_map() {
            let entries = value.as_object_mut().into_iter().flat_map(Map::values_mut);
            if let Kind::Message(inner) = inner.map_entry_value_field().kind() {
                entries.for_each(|entry| changed |= put_into_lists(entry, &inner));
            }
        } else {
            changed |= put_into_lists(value, &inner);
        }
    }
    changed
}

impl ModelConfig {
    /// The file's message with the values in effect filled in: policies and names
    /// that it leaves out, the model's `format`, and the `instance_groups` that run.
    #[must_use]
    pub(crate) fn in_effect(
        &self,
        format: &ModelFormat,
        instance_groups: &[InstanceGroup],
    ) -> proto::ModelConfig {
        let mut message = self.message.0.clone();
        message.name.clone_from(&self.name);
        message.platform = format.names.platform.to_owned();
        message.backend = format.names.backend.to_owned();
        message.default_model_filename = self.model_filename.default_of(format).to_owned();
        message.version_policy = Some(version_policy(&self.version_policy));
        if self.dynamic_batching.is_none() {
            message.scheduling_choice = None;
        }
        message.instance_group = instance_groups.iter().enumerate().map(|(i, g)| self.group(i, g)).collect();
        message
    }

    /// [`ModelConfig::in_effect`] in protobuf's JSON, as Triton writes it:
    ///
    /// - fields have their original names;
    /// - unset fields are written too, except messages;
    /// - 64-bit integers are numbers.
    ///
    /// # Errors
    /// If the message doesn't fit its own descriptors, which is a bug of the build.
    pub fn to_json(
        &self,
        format: &ModelFormat,
        instance_groups: &[InstanceGroup],
    ) -> Result<Vec<u8>, ConfigError> {
        let failed = |error: String| ConfigError::Read(format!("can't be written as JSON: {error}"));
        let mut message = DynamicMessage::new(pbtxt::descriptor()?);
        message
            .transcode_from(&self.in_effect(format, instance_groups))
            .map_err(|error| failed(error.to_string()))?;
        let options = SerializeOptions::new()
            .stringify_64_bit_integers(false)
            .use_proto_field_name(true)
            .skip_default_fields(false);
        let mut json = Vec::with_capacity(1024);
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
            .map_err(|error| failed(error.to_string()))?;
        Ok(json)
    }

    fn group(&self, index: usize, group: &InstanceGroup) -> proto::ModelInstanceGroup {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let mut message = proto::ModelInstanceGroup {
            name: match group.name.as_str() {
                "" => format!("{}_{index}", self.name),
                name => name.to_owned(),
            },
            count: number(group.count.unwrap_or(0)),
            gpus: group.gpus.iter().copied().map(number).collect(),
            ..proto::ModelInstanceGroup::default()
        };
        message.set_kind(match group.kind {
            InstanceKind::Auto => GroupKind::Auto,
            InstanceKind::Gpu => GroupKind::Gpu,
            InstanceKind::Cpu => GroupKind::Cpu,
            InstanceKind::Model => GroupKind::Model,
        });
        message
    }
}

fn version_policy(policy: &VersionPolicy) -> proto::ModelVersionPolicy {
    let choice = match policy {
        VersionPolicy::Latest(count) => PolicyChoice::Latest(Latest { num_versions: *count }),
        VersionPolicy::All => PolicyChoice::All(All {}),
        VersionPolicy::Specific(versions) => PolicyChoice::Specific(Specific {
            // The versions came as i64 and were checked to be above zero.
            versions: versions.iter().map(|version| i64::try_from(*version).unwrap_or(i64::MAX)).collect(),
        }),
    };
    proto::ModelVersionPolicy { policy_choice: Some(choice) }
}

#[cfg(test)]
mod tests {
    use cresset_backend::TORCH_SCRIPT;
    use serde_json::json;

    use super::*;

    const CPU: InstanceGroup =
        InstanceGroup { name: String::new(), count: Some(2), kind: InstanceKind::Cpu, gpus: Vec::new() };

    #[test]
    fn a_configuration_that_a_client_gives_is_read_as_strictly_as_a_file() {
        let read = |text: &str| ModelConfig::from_json(text, "m").map_err(|error| error.of_override());
        let config = read(
            r#"{"name": "m", "max_batch_size": 4, "versionPolicy": {"all": {}},
                "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", 3]}],
                "parameters": {"INFERENCE_MODE": {"string_value": "true"}}}"#,
        );
        let config = config.unwrap();
        assert_eq!((config.max_batch_size, &config.version_policy), (4, &VersionPolicy::All));
        assert_eq!(config.inputs[0].dims, [-1, 3]);
        // A client can send back the configuration that it got.
        let told = String::from_utf8(config.to_json(&TORCH_SCRIPT, &[CPU]).unwrap()).unwrap();
        assert_eq!(read(&told).unwrap().inputs, config.inputs);
        for (text, message) in [
            ("", "config:1:0: EOF while parsing a value"),
            ("{} {}", "config:1:4: trailing characters"),
            ("{\"max_batch_size\": -1}", "config: field 'max_batch_size': expected 0 or more, got -1"),
            (
                "{\"name\": \"n\"}",
                "config: field 'name': expected the name of its directory, 'm', or none, got 'n'",
            ),
            (
                "{\"sequence_batching\": {}}",
                "config: field 'sequence_batching' can't be honoured: \
                 requests are independent: sequences and their state are not offered",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), message);
        }
        let unknown = read("{\"max_batch_sise\": 3}").unwrap_err();
        assert!(unknown.starts_with("config:1:") && unknown.contains("max_batch_sise"), "{unknown}");
        assert_eq!(read(&" ".repeat(2 << 20)).unwrap_err(), "config: is longer than 1048576 bytes");
    }

    #[test]
    fn one_message_may_stand_where_a_list_of_them_is_meant() {
        let read = |text: &str| ModelConfig::from_json(text, "m").map_err(|error| error.of_override());
        let single = r#"{"instance_group": {"kind": "KIND_CPU", "count": 2}, "input":
            {"name": "x", "dataType": "TYPE_FP32", "dims": [3]}, "modelWarmup": {"name": "w", "inputs": {}}}"#;
        let listed = r#"{"instance_group": [{"kind": "KIND_CPU", "count": 2}], "input":
            [{"name": "x", "dataType": "TYPE_FP32", "dims": [3]}], "modelWarmup": [{"name": "w", "inputs": {}}]}"#;
        // Messages of two readings have descriptors of their own: as JSON they compare.
        let told = |text: &str| serde_json::to_value(parse(text).unwrap()).unwrap();
        assert_eq!(told(single), told(listed));
        let config = read(r#"{"instance_group": {"kind": "KIND_CPU", "count": 2}}"#).unwrap();
        assert_eq!(config.instance_groups, [CPU]);
        // Only messages, and only if nothing else is wrong.
        for text in [
            r#"{"instance_group": 2}"#,
            r#"{"instance_group": {"kind": "KIND_CPU", "counts": 2}}"#,
            r#"{"instance_group": {"count": 2}} {}"#,
            r#"{"dynamic_batching": [{}]}"#,
        ] {
            assert!(read(text).unwrap_err().starts_with("config:1:"), "{text}");
        }
    }

    fn shown(config: &ModelConfig, groups: &[InstanceGroup]) -> Value {
        serde_json::from_slice(&config.to_json(&TORCH_SCRIPT, groups).unwrap()).unwrap()
    }

    #[test]
    fn a_configuration_is_shown_with_its_defaults_and_what_is_in_effect() {
        let config = ModelConfig::from_pbtxt(
            r#"max_batch_size: 8
               input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] reshape { shape: [ 1, 3, -1 ] } } ]
               output [ { name: "y" data_type: TYPE_INT64 dims: [ 1 ] label_filename: "labels.txt" } ]
               dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100 }
               parameters { key: "INFERENCE_MODE" value: { string_value: "true" } }"#,
            "m",
        );
        let tensor = |name: &str, datatype: &str| json!({"name": name, "data_type": datatype, "is_shape_tensor": false, "is_non_linear_format_io": false});
        let with = |mut tensor: Value, more: Value| {
            tensor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            tensor
        };
        assert_eq!(
            shown(&config.unwrap(), &[CPU]),
            json!({
                "name": "m", "platform": "pytorch_libtorch", "backend": "pytorch", "runtime": "",
                "version_policy": {"latest": {"num_versions": 1}},
                "max_batch_size": 8,
                "input": [with(tensor("x", "TYPE_FP32"), json!({"format": "FORMAT_NONE", "dims": [3, -1],
                    "reshape": {"shape": [1, 3, -1]}, "allow_ragged_batch": false, "optional": false}))],
                "output": [with(tensor("y", "TYPE_INT64"), json!({"dims": [1], "label_filename": "labels.txt"}))],
                "batch_input": [], "batch_output": [],
                "dynamic_batching": {"preferred_batch_size": [4], "max_queue_delay_microseconds": 100,
                    "preserve_ordering": false, "priority_levels": 0, "default_priority_level": 0,
                    "priority_queue_policy": {}},
                "instance_group": [{"name": "m_0", "kind": "KIND_CPU", "count": 2, "gpus": [],
                    "secondary_devices": [], "profile": [], "passive": false, "host_policy": ""}],
                "default_model_filename": "model.pt", "cc_model_filenames": {}, "metric_tags": {},
                "parameters": {"INFERENCE_MODE": {"string_value": "true"}},
                "model_warmup": []
            })
        );
    }

    #[test]
    fn what_stands_for_no_configuration_is_shown_alike() {
        let gpu = InstanceGroup {
            name: "on_gpu".to_owned(),
            count: Some(1),
            kind: InstanceKind::Gpu,
            gpus: vec![1],
        };
        let shown = shown(&ModelConfig::undeclared("plain"), &[gpu]);
        assert_eq!(shown["name"], "plain");
        assert_eq!(shown["max_batch_size"], 0);
        assert_eq!(shown["input"], json!([]));
        assert_eq!(shown["default_model_filename"], "model.pt");
        assert_eq!(shown["instance_group"][0]["name"], "on_gpu");
        assert_eq!(shown["instance_group"][0]["kind"], "KIND_GPU");
        assert_eq!(shown["instance_group"][0]["gpus"], json!([1]));
        assert!(shown.get("dynamic_batching").is_none(), "{shown}");
    }
}
