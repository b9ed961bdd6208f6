//! `parameters`: the switches of a model's format.

use std::collections::BTreeMap;

use super::ConfigError;
use cresset_backend::{ModelFormat, ParameterError, Parameters};
use cresset_protocol::messages::config as proto;

/// Reads all parameters by the table of the model's format. A key that is no switch
/// stays in the configuration, for clients to read. It may be a misspelt switch, so
/// `warnings` names it.
pub(super) fn parameters(
    format: &ModelFormat,
    parameters: BTreeMap<String, proto::ModelParameter>,
    warnings: &mut Vec<String>,
) -> Result<Parameters, ConfigError> {
    let texts = parameters.into_iter().map(|(key, parameter)| (key, parameter.string_value)).collect();
    let parameters = format.read_parameters(texts).map_err(|error| {
        let field = |key: String| format!("parameters['{key}']");
        match error {
            ParameterError::Refused { key, reason } => ConfigError::unsupported(field(key), reason),
            ParameterError::Value { key, expected, got } => {
                ConfigError::value(field(key), expected, format!("'{}'", got.escape_debug()))
            }
        }
    })?;
    warnings.extend(parameters.unknown().map(|key| {
        format!(
            "config.pbtxt: field 'parameters': no switch of {} models is called '{}': \
             it is shown to clients in the model's configuration",
            format.name,
            key.escape_debug()
        )
    }));
    Ok(parameters)
}
