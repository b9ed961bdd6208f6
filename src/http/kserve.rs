//! KServe's first protocol: rows or photographs in, predictions out, and which
//! models there are.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

use super::inference;
use super::model_path::ModelPath;
use super::plain;
use super::prediction::ByLabel;
use super::server::State;
use super::status::HttpResult;
use crate::engine::Prediction;
use crate::error::Result;
use crate::protocol::json::write_predictions;
use crate::transform::Ranked;

/// `POST /v1/models/{model}:predict`.
pub(super) async fn predict(
    state: Data<State>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let model = state.engine.resolve(&path.model, None)?;
    let (outputs, non_finite) =
        match state.engine.predict_instances(&model, plain).await.map_err(explained)? {
            Prediction::Labels { ranked, .. } => return Ok(labelled(&[&ranked])),
            Prediction::LabelRows { rows, .. } => {
                return Ok(labelled(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            }
            Prediction::Tensors(outputs, non_finite) => (outputs, non_finite),
            Prediction::Inference(response, _, non_finite) => (response.outputs, non_finite),
        };
    let write = move || -> Result<_> {
        non_finite.check(&outputs)?;
        Ok(write_predictions(&outputs, non_finite)?)
    };
    let text = state.engine.pool().run(write).await??;
    inference::answer_json(&state, &request, text).await
}

/// A map for each row, as `/predictions` gives it for one.
fn labelled(rows: &[&[Ranked]]) -> HttpResponse {
    #[derive(Serialize)]
    struct Labelled<'a> {
        predictions: Vec<ByLabel<'a>>,
    }
    HttpResponse::Ok().json(Labelled { predictions: rows.iter().map(|row| ByLabel(row)).collect() })
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
