//! Live, ready, ping, and metrics.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::model_path::ModelPath;
use super::server::State;
use super::status::{self, probe};
use crate::metrics;

/// `GET /v2/health/live`: the process answers.
pub(super) async fn live() -> HttpResponse {
    probe(true, &json!({ "live": true }))
}

/// `GET /v2/health/ready`: every model answers, and the server isn't stopping.
pub(super) async fn ready(state: Data<State>) -> HttpResponse {
    let ready = state.engine.ready();
    probe(ready, &json!({ "ready": ready }))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`.
pub(super) async fn model_ready(state: Data<State>, path: ModelPath) -> HttpResponse {
    let ready = state.engine.model_ready(&path.model, path.version);
    probe(ready, &json!({ "name": &path.model, "ready": ready }))
}

/// `GET /ping`, as TorchServe answers it.
pub(super) async fn ping(state: Data<State>) -> HttpResponse {
    status::ping(state.engine.ready())
}

/// `GET /metrics`.
pub(super) async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics::render())
}
