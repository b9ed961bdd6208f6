//! Live, ready, ping, and metrics.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::server::State;
use super::status::{self, HttpResult, probe};
use crate::engine::parse_version;
use crate::metrics;

/// `GET /v2/health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    probe(true)
}

/// `GET /v2/health/ready`: every model answers, and the server isn't stopping.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    probe(state.engine.ready())
}

/// `GET /v2/models/{model}/ready`.
pub(super) async fn model_ready(state: Data<State>, model: Path<String>) -> HttpResponse {
    probe(state.engine.model_ready(&model, None))
}

/// `GET /v2/models/{model}/versions/{version}/ready`.
pub(super) async fn version_ready(state: Data<State>, path: Path<(String, String)>) -> HttpResult {
    let (model, version) = path.into_inner();
    Ok(probe(state.engine.model_ready(&model, Some(parse_version(&version)?))))
}

/// `GET /ping`, as TorchServe answers it.
pub(super) async fn ping(state: Data<State>) -> HttpResponse {
    status::ping(state.engine.ready())
}

/// `GET /metrics`.
pub(super) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics::render())
}
