//! The settings of the log and of traces.

use std::collections::BTreeMap;

use super::proto::log_settings_request::setting_value::ParameterChoice as Asked;
use super::proto::log_settings_response::SettingValue as LogValue;
use super::proto::log_settings_response::setting_value::ParameterChoice as Shown;
use super::proto::trace_setting_response::SettingValue as TraceValue;
use super::proto::{LogSettingsRequest, LogSettingsResponse, TraceSettingRequest, TraceSettingResponse};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::telemetry::{self, Setting, ShownSettings};

/// `LogSettings`: changes what it is given, and answers with what is in effect.
pub(super) fn log(engine: &Engine, request: LogSettingsRequest) -> Result<LogSettingsResponse> {
    if !request.settings.is_empty() {
        engine.control().allow_log_changes()?;
        let settings = request.settings.into_iter().map(|(name, value)| match value.parameter_choice {
            Some(Asked::BoolParam(on)) => Ok((name, Setting::Switch(on))),
            Some(Asked::Uint32Param(level)) => Ok((name, Setting::Number(level))),
            Some(Asked::StringParam(text)) => Ok((name, Setting::Text(text))),
            None => Err(Error::invalid(format!("log setting '{name}' has no value"))),
        });
        telemetry::change(&settings.collect::<Result<ShownSettings>>()?)?;
    }
    let shown = telemetry::shown().into_iter().map(|(name, value)| {
        let choice = match value {
            Setting::Switch(on) => Shown::BoolParam(on),
            Setting::Number(level) => Shown::Uint32Param(level),
            Setting::Text(text) => Shown::StringParam(text),
        };
        (name, LogValue { parameter_choice: Some(choice) })
    });
    Ok(LogSettingsResponse { settings: shown.collect() })
}

/// `TraceSetting`, of a model or of all.
pub(super) fn traces(engine: &Engine, request: TraceSettingRequest) -> Result<TraceSettingResponse> {
    if !request.model_name.is_empty() {
        engine.resolve(&request.model_name, None)?;
    }
    let wanted = request.settings.iter().map(|(name, value)| (name.as_str(), value.value.clone()));
    telemetry::change_traces(wanted).map_err(Error::invalid)?;
    let shown: BTreeMap<String, TraceValue> = telemetry::traces()
        .into_iter()
        .map(|(name, values)| {
            (name.to_owned(), TraceValue { value: values.into_iter().map(str::to_owned).collect() })
        })
        .collect();
    Ok(TraceSettingResponse { settings: shown })
}
