//! `parameters`: the switches of Triton's PyTorch back end.

use std::collections::BTreeMap;

use super::ConfigError;
use cresset_protocol::messages::config as proto;

/// What a switch's value may be.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Count,
}

/// The switches that there are for TorchScript models. What each does is the
/// back end's; that its value can be read is checked here, so that the message
/// names the file.
const KNOWN: [(&str, Kind); 10] = [
    ("DISABLE_OPTIMIZED_EXECUTION", Kind::Bool),
    ("INFERENCE_MODE", Kind::Bool),
    ("DISABLE_CUDNN", Kind::Bool),
    ("ENABLE_WEIGHT_SHARING", Kind::Bool),
    ("ENABLE_CACHE_CLEANING", Kind::Bool),
    ("ENABLE_JIT_EXECUTOR", Kind::Bool),
    ("ENABLE_JIT_PROFILING", Kind::Bool),
    ("ENABLE_TENSOR_FUSER", Kind::Bool),
    ("INTER_OP_THREAD_COUNT", Kind::Count),
    ("INTRA_OP_THREAD_COUNT", Kind::Count),
];

/// What would change how a model runs, and can't be done to TorchScript.
const REFUSED: [(&str, &str); 6] = [
    ("NUM_THREADS", PYTHON),
    ("NUM_INTEROP_THREADS", PYTHON),
    ("TORCH_COMPILE_OPTIONAL_PARAMETERS", PYTHON),
    ("EXECUTION_ENV_PATH", PYTHON),
    ("FORCE_CPU_ONLY_INPUT_TENSORS", PYTHON),
    ("TRITON_BATCH_STRATEGY_PATH", "batches are formed by the server: libraries for that are not loaded"),
];

const PYTHON: &str = "it is a switch of models in Python: for TorchScript there are INTRA_OP_THREAD_COUNT, \
    INTER_OP_THREAD_COUNT and the other switches of libtorch";

/// Reads all of them. A key that is no switch is the writer's own: clients
/// read it in the model's configuration; as it may be a misspelt switch, it is
/// named in `warnings`.
pub(super) fn parameters(
    parameters: BTreeMap<String, proto::ModelParameter>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for (key, proto::ModelParameter { string_value }) in parameters {
        match KNOWN.iter().find(|(known, ..)| *known == key) {
            Some((_, kind)) => check(&key, &string_value, *kind)?,
            None => {
                if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                    return Err(ConfigError::unsupported(format!("parameters['{key}']"), *reason));
                }
                warnings.push(format!(
                    "config.pbtxt: field 'parameters': no switch of TorchScript models is called '{}': \
                     it is shown to clients in the model's configuration",
                    key.escape_debug()
                ));
            }
        }
        values.insert(key, string_value);
    }
    Ok(values)
}

fn check(key: &str, value: &str, kind: Kind) -> Result<(), ConfigError> {
    let expected = match kind {
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "true" | "false" | "1" | "0" => return Ok(()),
            _ => "'true' or 'false'",
        },
        Kind::Count => match value.parse::<u32>() {
            Ok(1..) => return Ok(()),
            _ => "a number of 1 or more",
        },
    };
    let field = format!("parameters['{key}']");
    Err(ConfigError::value(field, expected, format!("'{}'", value.escape_debug())))
}
