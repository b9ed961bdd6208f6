//! KServe's first protocol: rows in, predictions out, and which models there
//! are.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::body;
use super::inference;
use super::model_path::ModelPath;
use super::server::State;
use super::status::HttpResult;
use crate::error::Result;
use crate::protocol::json::write_predictions;

/// `POST /v1/models/{model}:predict`.
pub(super) async fn predict(
    state: Data<State>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let body = body::read(&request, payload, &state).await?;
    let model = state.engine.resolve(&path.model, None)?;
    let outputs = state.engine.predict_instances(&model, body).await?;
    let non_finite = model.non_finite();
    let write = move || -> Result<_> {
        non_finite.check(&outputs)?;
        Ok(write_predictions(&outputs, non_finite)?)
    };
    let text = state.engine.pool().run(write).await??;
    inference::answer_json(&state, &request, text).await
}

/// `GET /v1/models/{model}`.
pub(super) async fn model(state: Data<State>, path: ModelPath) -> HttpResult {
    let model = state.engine.resolve(&path.model, None)?;
    Ok(HttpResponse::Ok().json(json!({ "name": &**model.name(), "ready": true })))
}

/// `GET /v1/models`: those that answer.
pub(super) async fn models(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "models": state.engine.model_names() }))
}
