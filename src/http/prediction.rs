//! `/predict` and TorchServe's `/predictions/{model}[/{version}]`, by POST or
//! PUT: photographs or plain JSON, whatever Content-Type a client puts on them.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::inference;
use super::model_path::ModelPath;
use super::plain;
use super::server::State;
use super::status::HttpResult;
use crate::engine::Prediction;
use crate::error::Result;
use crate::transform::Ranked;
use cresset_protocol::json::{write_named_rows, write_named_tensors};

/// How labels stand in an answer.
#[derive(Debug, Clone, Copy)]
enum LabelForm {
    /// A list of objects, with what computed them around it.
    List,
    /// `{"label": probability, …}`, best first, as TorchServe's image
    /// classifier answers.
    Map,
}

/// `/predict`, to the server's default model.
pub(super) async fn default_model(state: Data<State>, request: HttpRequest, payload: Payload) -> HttpResult {
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let model = state.engine.default_model()?;
    let prediction = state.engine.predict(&model, plain).await.map_err(explained)?;
    answer(&state, &request, prediction, LabelForm::List).await
}

/// `/predictions/{model}[/{version}]`.
pub(super) async fn model(
    state: Data<State>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (plain, explained) = plain::read(&request, payload, &state).await?.split();
    let model = state.engine.resolve(&path.model, path.version)?;
    let prediction = state.engine.predict(&model, plain).await.map_err(explained)?;
    answer(&state, &request, prediction, LabelForm::Map).await
}

async fn answer(
    state: &State,
    request: &HttpRequest,
    prediction: Prediction,
    labels: LabelForm,
) -> HttpResult {
    match prediction {
        Prediction::Labels { model_name, model_version, ranked } => Ok(match labels {
            LabelForm::Map => HttpResponse::Ok().json(ByLabel(&ranked)),
            LabelForm::List => HttpResponse::Ok().json(Labelled {
                model_name: &model_name,
                model_version: model_version.to_string(),
                predictions: listed(&ranked),
            }),
        }),
        Prediction::LabelRows { model_name, model_version, rows } => Ok(match labels {
            LabelForm::Map => {
                HttpResponse::Ok().json(rows.iter().map(|row| ByLabel(row)).collect::<Vec<_>>())
            }
            LabelForm::List => HttpResponse::Ok().json(LabelledRows {
                model_name: &model_name,
                model_version: model_version.to_string(),
                predictions: rows.iter().map(|row| listed(row)).collect(),
            }),
        }),
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
        Prediction::Inference(response, forms, non_finite) => {
            inference::answer(state, request, response, forms, non_finite).await
        }
    }
}

fn listed(ranked: &[Ranked]) -> Vec<Label<'_>> {
    ranked.iter().map(|r| Label { label: &r.label, probability: r.probability, index: r.index }).collect()
}

#[derive(Serialize)]
struct LabelledRows<'a> {
    model_name: &'a str,
    model_version: String,
    predictions: Vec<Vec<Label<'a>>>,
}

#[derive(Serialize)]
struct Labelled<'a> {
    model_name: &'a str,
    model_version: String,
    predictions: Vec<Label<'a>>,
}

#[derive(Serialize)]
struct Label<'a> {
    label: &'a str,
    probability: f32,
    index: usize,
}

/// `{"label": probability, …}`, best first.
pub(super) struct ByLabel<'a>(pub(super) &'a [Ranked]);

impl Serialize for ByLabel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for ranked in self.0 {
            map.serialize_entry(&ranked.label, &ranked.probability)?;
        }
        map.end()
    }
}
