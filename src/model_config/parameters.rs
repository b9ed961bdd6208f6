//! `parameters`: the switches of Triton's PyTorch back end.

use std::collections::BTreeMap;

use super::{ConfigError, proto};

/// What a switch's value may be.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Count,
}

/// Whether a switch does anything here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Honoured,
    NotYet,
}

use Effect::{Honoured, NotYet};

/// The switches that there are for TorchScript models. What each does is the
/// back end's; that its value can be read is checked here, so that the message
/// names the file.
const KNOWN: [(&str, Kind, Effect); 10] = [
    ("DISABLE_OPTIMIZED_EXECUTION", Kind::Bool, Honoured),
    ("INFERENCE_MODE", Kind::Bool, Honoured),
    ("DISABLE_CUDNN", Kind::Bool, NotYet),
    ("ENABLE_WEIGHT_SHARING", Kind::Bool, NotYet),
    ("ENABLE_CACHE_CLEANING", Kind::Bool, Honoured),
    ("ENABLE_JIT_EXECUTOR", Kind::Bool, Honoured),
    ("ENABLE_JIT_PROFILING", Kind::Bool, Honoured),
    ("ENABLE_TENSOR_FUSER", Kind::Bool, Honoured),
    ("INTER_OP_THREAD_COUNT", Kind::Count, NotYet),
    ("INTRA_OP_THREAD_COUNT", Kind::Count, Honoured),
];

/// Reads all of them; those that nothing reads (Python's, other back ends',
/// misspelt ones) are named in `warnings`.
pub(super) fn parameters(
    parameters: BTreeMap<String, proto::ModelParameter>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for (key, proto::ModelParameter { string_value }) in parameters {
        match KNOWN.iter().find(|(known, ..)| *known == key) {
            Some((_, kind, effect)) => {
                check(&key, &string_value, *kind)?;
                if *effect == NotYet {
                    warnings.push(format!(
                        "config.pbtxt: field 'parameters' is not honoured yet for key '{key}'"
                    ));
                }
            }
            None => warnings.push(format!(
                "config.pbtxt: field 'parameters' is not honoured for key '{}': \
                 no switch of TorchScript models has this name",
                key.escape_debug()
            )),
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
