//! Live, ready, ping, and metrics.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::{self, HttpResult, probe};
use crate::error::Error;
use crate::metrics;

/// `GET /v2/health/live` and `/healthz`: the process answers.
pub(super) async fn live() -> HttpResponse {
    probe(true, &json!({ "live": true }))
}

/// `GET /v2/health/ready`: every model answers, and the server isn't stopping.
pub(super) async fn ready(state: Data<HttpState>) -> HttpResponse {
    let ready = state.engine.ready();
    probe(ready, &json!({ "ready": ready }))
}

/// `GET /health`: the same as `/v2/health/ready`, but not ready is 503, as load
/// balancers and other model servers have it.
pub(super) async fn health(state: Data<HttpState>) -> HttpResponse {
    let ready = state.engine.ready();
    status::health(ready, &json!({ "ready": ready }))
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`.
pub(super) async fn model_ready(state: Data<HttpState>, path: ModelPath) -> HttpResponse {
    let ready = state.engine.model_ready(&path.model, path.version);
    probe(ready, &json!({ "name": &path.model, "ready": ready }))
}

/// `GET /ping`, as TorchServe answers it.
pub(super) async fn ping(state: Data<HttpState>) -> HttpResponse {
    status::ping(state.engine.ready())
}

/// `GET /metrics`, on the listener that is for them.
pub(super) async fn metrics() -> HttpResponse {
    shown(metrics::render())
}

/// `GET /metrics` on the inference listener. It is written on the pool: many
/// models have many lines, and inference shares this thread.
pub(super) async fn metrics_too(state: Data<HttpState>) -> HttpResult {
    if !state.shows_metrics {
        return Err(Error::not_found(
            "there are no metrics on this port (--http-metrics=false): they are on --metrics-port",
        )
        .into());
    }
    Ok(shown(state.engine.pool().run(metrics::render).await?))
}

fn shown(text: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(text)
}
