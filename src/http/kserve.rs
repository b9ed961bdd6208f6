//! KServe's first protocol, which is TensorFlow Serving's: rows or photographs
//! in, predictions out, or whole tensors both ways; and the list of models.

use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::model_path::ModelPath;
use super::plain;
use super::prediction::{answered, written};
use super::state::HttpState;
use super::status::HttpResult;
use super::{body, inference};
use crate::context::RequestContext;
use crate::engine::Prediction;
use crate::error::{Error, ErrorCode};
use crate::transform::AnswerForm;
use cresset_protocol::json::{PredictForm, write_outputs, write_predict_rows, write_predictions};

/// `POST /v1/models/{model}[/versions/{version}]:predict`.
pub(super) async fn predict(
    state: Data<HttpState>,
    context: ReqData<RequestContext>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (model, payload) = body::after(path.admit(&state), &request, payload).await?;
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let context = context.into_inner();
    let predicted = state.engine.predict_rows_or_columns(context, &model, plain).await;
    let (form, prediction) = predicted.map_err(explained)?;
    let (outputs, non_finite) = match prediction {
        // A list of predictions, even of one.
        Prediction::Processed { rows, .. } => {
            let predictions = written(&rows, true, AnswerForm::Brief);
            return Ok(answered([b"{\"predictions\":", predictions.as_slice(), b"}"].concat()));
        }
        Prediction::Rows(rows, non_finite) => {
            let write = move || {
                rows.iter().try_for_each(|row| non_finite.check(row))?;
                Ok(write_predict_rows(form, &rows, non_finite)?)
            };
            return inference::answer_written(&state, &request, write).await;
        }
        Prediction::Tensors(outputs, non_finite) => (outputs, non_finite),
        Prediction::Inference(response, _, non_finite) => (response.outputs, non_finite),
    };
    let write = move || {
        non_finite.check(&outputs)?;
        Ok(match form {
            PredictForm::Rows => write_predictions(&outputs, non_finite)?,
            PredictForm::Columns => write_outputs(&outputs, non_finite),
        })
    };
    inference::answer_written(&state, &request, write).await
}

/// `GET /v1/models/{model}[/versions/{version}]`: the fields of KServe and of
/// TensorFlow Serving; the newest version first, as in the latter.
pub(super) async fn model(state: Data<HttpState>, path: ModelPath) -> HttpResult {
    let metadata = state.engine.model_metadata(&path.model, path.version)?;
    let status = |version: &String| json!({ "version": version, "state": "AVAILABLE", "status": { "error_code": "OK", "error_message": "" } });
    let versions: Vec<_> = metadata.versions.iter().rev().map(status).collect();
    let answer = json!({ "name": metadata.name, "ready": true, "model_version_status": versions });
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /`, by which KServe's first protocol asks whether a server lives.
pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// `POST /v1/models/{model}:explain`.
pub(super) async fn explain() -> HttpResult {
    refused("explainers are not offered: a model answers :predict")
}

/// `POST /v1/models/{model}[/versions/{version}]:classify` and `:regress`, which
/// take protocol buffers of TensorFlow's own.
pub(super) async fn examples() -> HttpResult {
    refused("tf.Example is not offered: send tensors to :predict")
}

fn refused(why: &str) -> HttpResult {
    Err(Error::new(ErrorCode::Unimplemented, why).into())
}

/// `GET /v1/models` and `/v2/models`: the models that answer.
pub(super) async fn models(state: Data<HttpState>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "models": state.engine.model_names() }))
}
