//! `/predict` and TorchServe's `/predictions/{model}[/{version}]`, by POST or
//! PUT: photographs or plain JSON, whatever Content-Type a client puts on them.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::model_path::ModelPath;
use super::plain;
use super::state::HttpState;
use super::status::HttpResult;
use super::{body, inference};
use crate::context::RequestContext;
use crate::engine::Prediction;
use crate::error::{Error, Result};
use crate::transform::{AnswerForm, RowAnswer};
use cresset_protocol::json::{write_named_rows, write_named_tensors};

/// `/predict`, to the server's default model.
pub(super) async fn default_model(
    state: Data<HttpState>,
    context: ReqData<RequestContext>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (model, payload) = body::after(state.engine.admit_to_default(), &request, payload).await?;
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let prediction = state.engine.predict(context.into_inner(), &model, plain).await.map_err(explained)?;
    answer(&state, &request, prediction, AnswerForm::Detailed).await
}

/// `/predictions/{model}[/{version}]`.
pub(super) async fn model(
    state: Data<HttpState>,
    context: ReqData<RequestContext>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (model, payload) = body::after(path.admit(&state), &request, payload).await?;
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let prediction = state.engine.predict(context.into_inner(), &model, plain).await.map_err(explained)?;
    answer(&state, &request, prediction, AnswerForm::Brief).await
}

async fn answer(
    state: &HttpState,
    request: &HttpRequest,
    prediction: Prediction,
    form: AnswerForm,
) -> HttpResult {
    match prediction {
        Prediction::Processed { model_name, model_version, rows, several } => Ok(answered(match form {
            AnswerForm::Brief => written(&rows, several, form),
            AnswerForm::Detailed => {
                let predictions = written(&rows, several, form);
                detailed(&model_name, model_version, &predictions)?
            }
        })),
        Prediction::Tensors(tensors, non_finite) => {
            let write = move || {
                non_finite.check(&tensors)?;
                Ok(write_named_tensors(&tensors, non_finite))
            };
            inference::answer_written(state, request, write).await
        }
        Prediction::Rows(rows, non_finite) => {
            let write = move || {
                rows.iter().try_for_each(|row| non_finite.check(row))?;
                Ok(write_named_rows(&rows, non_finite))
            };
            inference::answer_written(state, request, write).await
        }
        Prediction::Inference(response, format, non_finite) => {
            inference::answer(state, request, response, format, non_finite).await
        }
    }
}

/// The only row's answer, or a list of all.
pub(super) fn written(rows: &[Arc<dyn RowAnswer>], several: bool, form: AnswerForm) -> Vec<u8> {
    let mut out = Vec::new();
    if several {
        out.push(b'[');
    }
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        row.write(form, &mut out);
    }
    if several {
        out.push(b']');
    }
    out
}

/// The predictions, with the model and version that computed them.
fn detailed(model_name: &str, model_version: u64, predictions: &[u8]) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Computed<'a> {
        model_name: &'a str,
        model_version: String,
    }
    let computed = Computed { model_name, model_version: model_version.to_string() };
    let mut out = serde_json::to_vec(&computed).map_err(|error| Error::internal(error.to_string()))?;
    // The object goes on.
    out.pop();
    out.extend_from_slice(b",\"predictions\":");
    out.extend_from_slice(predictions);
    out.push(b'}');
    Ok(out)
}

/// A whole answer of JSON.
pub(super) fn answered(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body)
}
