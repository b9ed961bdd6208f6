//! What the server and its models say of themselves.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::server::State;
use super::status::HttpResult;
use crate::engine::parse_version;

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
