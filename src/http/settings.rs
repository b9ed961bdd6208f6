//! The settings of the log and of traces, by Triton's extensions.

use std::collections::BTreeMap;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body;
use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::{HttpError, HttpResult};
use crate::error::{Error, Result};
use crate::telemetry;

/// `GET /v2/logging`.
pub(super) async fn log() -> HttpResponse {
    HttpResponse::Ok().json(telemetry::shown())
}

/// `POST /v2/logging`: answers with what is in effect then.
pub(super) async fn change_log(state: Data<HttpState>, request: HttpRequest, payload: Payload) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    state.engine.control().allow_log_changes()?;
    telemetry::change(&object(&body, "log")?)?;
    Ok(log().await)
}

/// `GET /v2/trace/setting`.
pub(super) async fn traces() -> HttpResponse {
    // Only the levels are a list, as with Triton.
    let shown = telemetry::traces().into_iter().map(|(name, values)| {
        let value = if name == "trace_level" { Value::from(values) } else { Value::from(values.concat()) };
        (name, value)
    });
    HttpResponse::Ok().json(shown.collect::<BTreeMap<&str, Value>>())
}

/// `POST /v2/trace/setting`.
pub(super) async fn change_traces(
    state: Data<HttpState>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    let wanted: BTreeMap<String, Value> = object(&body, "trace")?;
    let wanted = wanted.iter().map(|(name, value)| (name.as_str(), values(value)));
    telemetry::change_traces(wanted).map_err(|error| HttpError(Error::invalid(error)))?;
    Ok(traces().await)
}

/// `GET /v2/models/{model}/trace/setting`.
pub(super) async fn traces_of(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    known(&state, &path)?;
    Ok(traces().await)
}

/// `POST /v2/models/{model}/trace/setting`.
pub(super) async fn change_traces_of(
    state: Data<HttpState>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    known(&state, &path)?;
    change_traces(state, request, payload).await
}

/// Settings by name; without a body there are none.
fn object<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<BTreeMap<String, T>> {
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body })
        .map_err(|error| Error::invalid(format!("the body isn't an object of {what} settings: {error}")))
}

fn known(state: &HttpState, path: &ModelPath) -> Result<()> {
    state.engine.resolve(&path.model, path.version).map(drop)
}

/// A setting's values; null clears it.
fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().flat_map(self::values).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.to_string()],
    }
}
