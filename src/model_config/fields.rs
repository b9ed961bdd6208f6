//! Every field of a configuration, and what becomes of it: the one table.
//!
//! A field that is set is honoured, or named in a warning, or the model is
//! refused; never passed over in silence. Proto3 takes a scalar's default for
//! unset, so `preserve_ordering: false` asks for nothing.

use prost_reflect::{DynamicMessage, Value};

use super::ConfigError;

/// What a field that is set leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Its value is checked and has its effect; its own fields have entries.
    Honoured,
    /// The model answers as well without it. Holds for its own fields too.
    Warned(&'static str),
    /// The model would answer otherwise, or not at all. Holds for its own
    /// fields too.
    Refused(&'static str),
}

use Treatment::{Honoured, Refused, Warned};

const TENSOR_RT: &str = "only TensorRT's models have it";
const ONE_QUEUE: &str = "requests are served first in, first out";
const NO_TIMEOUT: &str = "requests have no time limit of their own yet; \
    'max_queue_size' bounds how many wait";

/// By path, without indices and keys. A field that only TensorRT knows is
/// refused as Triton's PyTorch models refuse it.
const FIELDS: &[(&str, Treatment)] = &[
    ("name", Honoured),
    ("platform", Honoured),
    ("backend", Honoured),
    ("runtime", Honoured),
    ("version_policy", Honoured),
    ("version_policy.latest", Honoured),
    ("version_policy.latest.num_versions", Honoured),
    ("version_policy.all", Honoured),
    ("version_policy.specific", Honoured),
    ("version_policy.specific.versions", Honoured),
    ("max_batch_size", Honoured),
    ("input", Honoured),
    ("input.name", Honoured),
    ("input.data_type", Honoured),
    // Says nothing to libtorch: its number of dimensions is checked.
    ("input.format", Honoured),
    ("input.dims", Honoured),
    ("input.reshape", Honoured),
    ("input.reshape.shape", Honoured),
    ("input.is_shape_tensor", Refused(TENSOR_RT)),
    ("input.allow_ragged_batch", Warned("only requests of one shape share a batch")),
    ("input.optional", Refused("forward gets all of its inputs: every request must have each")),
    ("input.is_non_linear_format_io", Refused(TENSOR_RT)),
    ("output", Honoured),
    ("output.name", Honoured),
    ("output.data_type", Honoured),
    ("output.dims", Honoured),
    ("output.reshape", Honoured),
    ("output.reshape.shape", Honoured),
    ("output.label_filename", Honoured),
    ("output.is_shape_tensor", Refused(TENSOR_RT)),
    ("output.is_non_linear_format_io", Refused(TENSOR_RT)),
    ("batch_input", Refused("inputs made from the whole batch are not offered")),
    ("batch_output", Refused("outputs cut by an input's shapes are not offered")),
    ("optimization", Warned("it tunes Triton; the switches of libtorch stand in 'parameters'")),
    ("dynamic_batching", Honoured),
    ("dynamic_batching.preferred_batch_size", Honoured),
    ("dynamic_batching.max_queue_delay_microseconds", Honoured),
    (
        "dynamic_batching.preserve_ordering",
        Warned("with several instances a response may overtake an earlier request's"),
    ),
    ("dynamic_batching.priority_levels", Warned(ONE_QUEUE)),
    ("dynamic_batching.default_priority_level", Warned(ONE_QUEUE)),
    ("dynamic_batching.default_queue_policy", Honoured),
    ("dynamic_batching.default_queue_policy.timeout_action", Warned(NO_TIMEOUT)),
    ("dynamic_batching.default_queue_policy.default_timeout_microseconds", Refused(NO_TIMEOUT)),
    ("dynamic_batching.default_queue_policy.allow_timeout_override", Warned(NO_TIMEOUT)),
    ("dynamic_batching.default_queue_policy.max_queue_size", Honoured),
    (
        "dynamic_batching.priority_queue_policy",
        Refused("there is one queue and one policy, 'default_queue_policy'"),
    ),
    ("sequence_batching", Refused("requests are independent: sequences and their state are not offered")),
    ("ensemble_scheduling", Refused("ensembles are not offered: call the models one by one")),
    ("instance_group", Honoured),
    ("instance_group.name", Warned("instances go by their model's name and a number")),
    ("instance_group.kind", Honoured),
    ("instance_group.count", Honoured),
    // Triton's own limiter is off unless a flag of the server turns it on.
    (
        "instance_group.rate_limiter",
        Warned("there is no rate limiter: an instance runs as soon as it is free"),
    ),
    ("instance_group.gpus", Honoured),
    ("instance_group.secondary_devices", Refused(TENSOR_RT)),
    ("instance_group.profile", Refused(TENSOR_RT)),
    ("instance_group.passive", Refused("every instance takes requests: remove the group")),
    ("instance_group.host_policy", Warned("threads are placed by the server")),
    ("default_model_filename", Honoured),
    ("cc_model_filenames", Refused("every device loads the same file: name it in 'default_model_filename'")),
    ("metric_tags", Warned("metrics carry the model's name and version")),
    ("parameters", Honoured),
    ("parameters.string_value", Honoured),
    ("model_warmup", Warned("its samples are not sent yet: the first requests may be slower")),
    ("model_operations", Refused("libraries of custom operators are not loaded")),
    ("model_transaction_policy", Honoured),
    ("model_transaction_policy.decoupled", Refused("a request has exactly one response")),
    ("model_repository_agents", Refused("agents are not run: the files are read as they stand")),
    ("response_cache", Honoured),
    ("response_cache.enable", Warned("every request is computed")),
    ("model_metrics", Warned("histograms have the same buckets for every model")),
];

/// Goes over all fields that are set.
///
/// # Errors
/// [`ConfigError::Unsupported`] at the first that can't be honoured.
pub(super) fn check(config: &DynamicMessage) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    visit(config, "", "", &mut warnings)?;
    Ok(warnings)
}

/// `key` is the message's path in the table, `path` the one shown to the user.
fn visit(
    message: &DynamicMessage,
    key: &str,
    path: &str,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (field, value) in message.fields() {
        let key = join(key, field.name());
        let path = join(path, field.name());
        match treatment(&key) {
            Some(Honoured) => visit_value(value, &key, &path, warnings)?,
            Some(Warned(reason)) => {
                warnings.push(format!("config.pbtxt: field '{path}' is not honoured: {reason}"));
            }
            Some(Refused(reason)) => return Err(ConfigError::unsupported(path, reason)),
            None => return Err(ConfigError::unsupported(path, "it is not known")),
        }
    }
    Ok(())
}

fn visit_value(value: &Value, key: &str, path: &str, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    if let Some(message) = value.as_message() {
        visit(message, key, path, warnings)?;
    } else if let Some(items) = value.as_list() {
        for (index, item) in items.iter().enumerate() {
            visit_value(item, key, &format!("{path}[{index}]"), warnings)?;
        }
    } else if let Some(entries) = value.as_map() {
        for (name, item) in entries {
            let name = name.as_str().unwrap_or_default();
            visit_value(item, key, &format!("{path}['{name}']"), warnings)?;
        }
    }
    Ok(())
}

fn treatment(key: &str) -> Option<Treatment> {
    FIELDS.iter().find(|(known, _)| *known == key).map(|(_, treatment)| *treatment)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

    use super::*;
    use crate::model_config::pbtxt;

    /// The paths that need an entry: a message's own fields do where it is
    /// honoured.
    fn reachable(message: &MessageDescriptor, key: &str, found: &mut BTreeSet<String>) {
        for field in message.fields() {
            let key = join(key, field.name());
            if treatment(&key) == Some(Honoured)
                && let Some(message) = message_of(&field)
            {
                reachable(&message, &key, found);
            }
            found.insert(key);
        }
    }

    fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
        let kind = if field.is_map() {
            field.kind().as_message()?.map_entry_value_field().kind()
        } else {
            field.kind()
        };
        if let Kind::Message(message) = kind { Some(message) } else { None }
    }

    #[test]
    fn the_table_holds_every_field_of_the_descriptor_once() {
        let mut expected = BTreeSet::new();
        reachable(&pbtxt::descriptor().unwrap(), "", &mut expected);
        let table: BTreeSet<String> = FIELDS.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(table, expected);
        assert_eq!(table.len(), FIELDS.len());
    }

    #[test]
    fn what_is_not_honoured_is_named() {
        let config = pbtxt::parse(
            "model_transaction_policy { decoupled: false }
             dynamic_batching { preserve_ordering: true }
             instance_group [ { count: 1 }, { name: 'second' host_policy: 'numa' } ]
             response_cache { enable: true }",
        )
        .unwrap();
        assert_eq!(
            check(&config).unwrap(),
            [
                "config.pbtxt: field 'instance_group[1].name' is not honoured: \
                 instances go by their model's name and a number",
                "config.pbtxt: field 'instance_group[1].host_policy' is not honoured: \
                 threads are placed by the server",
                "config.pbtxt: field 'dynamic_batching.preserve_ordering' is not honoured: \
                 with several instances a response may overtake an earlier request's",
                "config.pbtxt: field 'response_cache.enable' is not honoured: every request is computed",
            ]
        );
    }

    #[test]
    fn what_would_change_the_answer_is_refused() {
        let config = pbtxt::parse("instance_group [ { count: 1 }, { passive: true } ]").unwrap();
        assert_eq!(
            check(&config).unwrap_err().to_string(),
            "config.pbtxt: field 'instance_group[1].passive' can't be honoured: \
             every instance takes requests: remove the group"
        );
    }
}
