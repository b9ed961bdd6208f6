//! The one table of all fields of a configuration, with what the server does with
//! each.
//!
//! A field that is set is honoured, or the model is refused; no field is ignored.
//! In proto3 a scalar's default counts as unset, so `preserve_ordering: false`
//! asks for nothing. `tests/compatibility` tries each field and writes the table
//! in `docs/compatibility.md`.

use prost_reflect::{DynamicMessage, Value};

use super::ConfigError;

/// What the server does with a field that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Its value is checked and has its effect; its own fields have entries.
    Honoured,
    /// The model is refused: without the feature it would answer differently, or not
    /// at all. This holds for the field's own fields too.
    Refused(&'static str),
}

use Treatment::{Honoured, Refused};

const TENSOR_RT: &str = "only TensorRT's models have it";
const NOT_TUNED: &str =
    "it tunes other libraries than PyTorch: the switches of libtorch stand in 'parameters'";
const NO_GRAPHS: &str = "kernels are launched one by one: CUDA graphs are not captured";

/// By path, without indices and keys. TensorRT's fields are refused, as Triton
/// does for PyTorch models.
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
    // Has no effect on libtorch; its number of dimensions is checked.
    ("input.format", Honoured),
    ("input.dims", Honoured),
    ("input.reshape", Honoured),
    ("input.reshape.shape", Honoured),
    ("input.is_shape_tensor", Refused(TENSOR_RT)),
    (
        "input.allow_ragged_batch",
        Refused(
            "requests of different shapes are not joined into one tensor without padding: `[padding]` in cresset.toml says how",
        ),
    ),
    ("input.optional", Honoured),
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
    ("optimization", Honoured),
    ("optimization.graph", Honoured),
    ("optimization.graph.level", Refused(NOT_TUNED)),
    ("optimization.priority", Refused("all models run with the same priority")),
    ("optimization.cuda", Honoured),
    ("optimization.cuda.graphs", Refused(NO_GRAPHS)),
    ("optimization.cuda.busy_wait_events", Refused("waiting threads sleep")),
    ("optimization.cuda.graph_spec", Refused(NO_GRAPHS)),
    ("optimization.cuda.output_copy_stream", Refused("which streams there are is the server's to decide")),
    ("optimization.execution_accelerators", Refused(NOT_TUNED)),
    ("optimization.input_pinned_memory", Honoured),
    ("optimization.input_pinned_memory.enable", Honoured),
    ("optimization.output_pinned_memory", Honoured),
    ("optimization.output_pinned_memory.enable", Honoured),
    (
        "optimization.gather_kernel_buffer_threshold",
        Refused("requests arrive in the host's memory: there is no kernel that gathers them"),
    ),
    ("optimization.eager_batching", Refused("a batch is closed when an instance is free, and not before")),
    ("dynamic_batching", Honoured),
    ("dynamic_batching.preferred_batch_size", Honoured),
    ("dynamic_batching.max_queue_delay_microseconds", Honoured),
    ("dynamic_batching.preserve_ordering", Honoured),
    ("dynamic_batching.priority_levels", Honoured),
    ("dynamic_batching.default_priority_level", Honoured),
    ("dynamic_batching.default_queue_policy", Honoured),
    ("dynamic_batching.default_queue_policy.timeout_action", Honoured),
    ("dynamic_batching.default_queue_policy.default_timeout_microseconds", Honoured),
    ("dynamic_batching.default_queue_policy.allow_timeout_override", Honoured),
    ("dynamic_batching.default_queue_policy.max_queue_size", Honoured),
    ("dynamic_batching.priority_queue_policy", Honoured),
    ("dynamic_batching.priority_queue_policy.timeout_action", Honoured),
    ("dynamic_batching.priority_queue_policy.default_timeout_microseconds", Honoured),
    ("dynamic_batching.priority_queue_policy.allow_timeout_override", Honoured),
    ("dynamic_batching.priority_queue_policy.max_queue_size", Honoured),
    ("sequence_batching", Refused("requests are independent: sequences and their state are not offered")),
    ("ensemble_scheduling", Refused("ensembles are not offered: call the models one by one")),
    ("instance_group", Honoured),
    ("instance_group.name", Honoured),
    ("instance_group.kind", Honoured),
    ("instance_group.count", Honoured),
    (
        "instance_group.rate_limiter",
        Refused("there is no rate limiter: an instance runs as soon as it is free"),
    ),
    ("instance_group.gpus", Honoured),
    ("instance_group.secondary_devices", Refused(TENSOR_RT)),
    ("instance_group.profile", Refused(TENSOR_RT)),
    ("instance_group.passive", Refused("every instance takes requests: remove the group")),
    ("instance_group.host_policy", Refused("there are no host policies: threads are placed by the server")),
    ("default_model_filename", Honoured),
    ("cc_model_filenames", Honoured),
    ("metric_tags", Honoured),
    ("parameters", Honoured),
    ("parameters.string_value", Honoured),
    ("model_warmup", Honoured),
    ("model_warmup.name", Honoured),
    ("model_warmup.batch_size", Honoured),
    ("model_warmup.inputs", Honoured),
    ("model_warmup.inputs.data_type", Honoured),
    ("model_warmup.inputs.dims", Honoured),
    ("model_warmup.inputs.zero_data", Honoured),
    ("model_warmup.inputs.random_data", Honoured),
    ("model_warmup.inputs.input_data_file", Honoured),
    ("model_warmup.count", Honoured),
    ("model_operations", Honoured),
    ("model_operations.op_library_filename", Honoured),
    ("model_transaction_policy", Honoured),
    ("model_transaction_policy.decoupled", Refused("a request has exactly one response")),
    ("model_repository_agents", Refused("agents are not run: the files are read as they stand")),
    ("response_cache", Honoured),
    ("response_cache.enable", Refused("there is no response cache: every request is computed")),
    ("model_metrics", Refused("histograms have the same buckets for every model")),
];

/// Checks all fields that are set.
///
/// # Errors
/// [`ConfigError::Unsupported`] for the first field that can't be honoured.
pub(super) fn check(config: &DynamicMessage) -> Result<(), ConfigError> {
    visit(config, "", "")
}

/// `key` is the message's path in the table, `path` the one shown to the user.
fn visit(message: &DynamicMessage, key: &str, path: &str) -> Result<(), ConfigError> {
    for (field, value) in message.fields() {
        let key = join(key, field.name());
        let path = join(path, field.name());
        match treatment(&key) {
            Some(Honoured) => visit_value(value, &key, &path)?,
            Some(Refused(reason)) => return Err(ConfigError::unsupported(path, reason)),
            None => return Err(ConfigError::unsupported(path, "it is not known")),
        }
    }
    Ok(())
}

fn visit_value(value: &Value, key: &str, path: &str) -> Result<(), ConfigError> {
    if let Some(message) = value.as_message() {
        visit(message, key, path)?;
    } else if let Some(items) = value.as_list() {
        for (index, item) in items.iter().enumerate() {
            visit_value(item, key, &format!("{path}[{index}]"))?;
        }
    } else if let Some(entries) = value.as_map() {
        for (name, item) in entries {
            let name = name.as_str().unwrap_or_default();
            visit_value(item, key, &format!("{path}['{name}']"))?;
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

    /// The paths that need an entry. A message's own fields need one if the message is
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
    fn what_would_change_the_answer_is_refused() {
        let config = pbtxt::parse("instance_group [ { count: 1 }, { passive: true } ]").unwrap();
        assert_eq!(
            check(&config).unwrap_err().to_string(),
            "config.pbtxt: field 'instance_group[1].passive' can't be honoured: \
             every instance takes requests: remove the group"
        );
    }
}
