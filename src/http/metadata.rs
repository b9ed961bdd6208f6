//! What the server and its models say of themselves.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::server::State;
use super::status::HttpResult;
use crate::error::{Error, Result};

/// `GET /v2`.
pub(super) async fn server(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(state.engine.metadata())
}

/// `GET /v2/models/{model}`.
pub(super) async fn model(state: Data<State>, model: Path<String>) -> HttpResult {
    Ok(HttpResponse::Ok().json(state.engine.model_metadata(&model, None)?))
}

/// `GET /v2/models/{model}/versions/{version}`.
pub(super) async fn version(state: Data<State>, path: Path<(String, String)>) -> HttpResult {
    let (model, version) = path.into_inner();
    Ok(HttpResponse::Ok().json(state.engine.model_metadata(&model, Some(parse_version(&version)?))?))
}

/// A version in a path.
pub(super) fn parse_version(text: &str) -> Result<u64> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let version = if number { text.parse().ok() } else { None };
    version.ok_or_else(|| Error::not_found(format!("'{text}' is no version: versions are whole numbers")))
}
