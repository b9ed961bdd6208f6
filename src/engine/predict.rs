//! The simplest request: photographs, or numbers without ceremony, to a
//! model; labels or numbers back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Engine;
use super::plain::{Asked, Plain, Tensors, read};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{Classification, Ranked, looks_like_image};
use cresset_protocol::json::PredictForm;
use cresset_protocol::{Datatype, InferenceRequest, InferenceResponse, NonFinite, OutputForm, Tensor};

/// About a tenth of a millisecond of JSON.
const INLINE: usize = 32 * 1024;

/// What a model answered to a plain body.
#[derive(Debug, Clone)]
pub enum Prediction {
    /// Labels, best first.
    Labels {
        /// The model.
        model_name: Arc<str>,
        /// The version that computed it.
        model_version: u64,
        /// Best first.
        ranked: Vec<Ranked>,
    },
    /// The same for each of several rows.
    LabelRows {
        /// The model.
        model_name: Arc<str>,
        /// The version that computed them.
        model_version: u64,
        /// In the order of the request.
        rows: Vec<Vec<Ranked>>,
    },
    /// The outputs by name, and how their JSON is to be.
    Tensors(Vec<Tensor>, NonFinite),
    /// The outputs by name of each of several rows, which may be of different
    /// lengths.
    Rows(Vec<Vec<Tensor>>, NonFinite),
    /// The answer to a request of the Open Inference Protocol.
    Inference(InferenceResponse, Vec<OutputForm>, NonFinite),
}

impl Engine {
    /// Answers a plain body: photographs where the model declares a transform
    /// (as their bytes, in base64, or as the parts of a form), a request of the
    /// Open Inference Protocol, or an object of arrays by input name.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict(&self, model: &Arc<ServedModel>, plain: Plain) -> Result<Prediction> {
        match self.read_plain(model, plain, Tensors::Named).await? {
            Asked::Photographs(photographs) => self.predict_photographs(model, photographs).await,
            Asked::Inputs(inputs) | Asked::Columns(inputs) => {
                let (response, _) =
                    model.infer(InferenceRequest { inputs, ..InferenceRequest::default() }).await?;
                // A photograph's model answers tensors with tensors.
                let transforms = model.transforms().filter(|transforms| transforms.image.is_none());
                match transforms.and_then(|transforms| transforms.classification.as_ref()) {
                    Some(classification) => labels(classification, response, false),
                    None => Ok(Prediction::Tensors(response.outputs, model.non_finite())),
                }
            }
            Asked::Rows(_, rows) => self.predict_rows(model, rows).await,
            Asked::Inference(request) => {
                let non_finite = request.non_finite.unwrap_or_else(|| model.non_finite());
                let (response, forms) = model.infer(request).await?;
                Ok(Prediction::Inference(response, forms, non_finite))
            }
        }
    }

    /// Answers rows, each an array or an object by input name, or whole tensors,
    /// with tensors: KServe's first protocol, and TensorFlow Serving's. Says
    /// which it was. Photographs it answers as [`predict`](Self::predict) does.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict_rows_or_columns(
        &self,
        model: &Arc<ServedModel>,
        plain: Plain,
    ) -> Result<(PredictForm, Prediction)> {
        let (form, request) = match self.read_plain(model, plain, Tensors::Predict).await? {
            Asked::Photographs(photographs) => {
                return Ok((PredictForm::Rows, self.predict_photographs(model, photographs).await?));
            }
            Asked::Columns(inputs) => {
                (PredictForm::Columns, InferenceRequest { inputs, ..InferenceRequest::default() })
            }
            Asked::Inputs(inputs) => {
                (PredictForm::Rows, InferenceRequest { inputs, ..InferenceRequest::default() })
            }
            Asked::Rows(form, rows) => return Ok((form, self.predict_rows(model, rows).await?)),
            Asked::Inference(request) => (PredictForm::Rows, request),
        };
        let (response, _) = model.infer(request).await?;
        Ok((form, Prediction::Tensors(response.outputs, model.non_finite())))
    }

    /// Answers rows that are of different lengths: each is a request, and they
    /// wait together.
    async fn predict_rows(&self, model: &Arc<ServedModel>, rows: Vec<Vec<Tensor>>) -> Result<Prediction> {
        let each = rows
            .into_iter()
            .map(|inputs| model.infer(InferenceRequest { inputs, ..InferenceRequest::default() }));
        let answers = try_join_all(each).await?;
        let classification = model.transforms().and_then(|transforms| transforms.classification.as_ref());
        let Some(classification) = classification else {
            let rows = answers.into_iter().map(|(response, _)| response.outputs).collect();
            return Ok(Prediction::Rows(rows, model.non_finite()));
        };
        let mut all = Vec::new();
        for (response, _) in answers {
            if let Prediction::LabelRows { rows, .. } = labels(classification, response, true)? {
                all.extend(rows);
            }
        }
        let (model_name, model_version) = (Arc::clone(model.name()), model.version());
        Ok(Prediction::LabelRows { model_name, model_version, rows: all })
    }

    /// Reads a body: a small one here, or one that is a photograph's bytes; a
    /// large one on the pool.
    async fn read_plain(&self, model: &Arc<ServedModel>, plain: Plain, tensors: Tensors) -> Result<Asked> {
        let at_once = match &plain {
            Plain::Whole(body) => looks_like_image(body),
            Plain::Parts(_) => false,
        };
        if at_once || plain.len() <= INLINE {
            return read(model, plain, tensors);
        }
        let model = Arc::clone(model);
        self.pool().run(move || read(&model, plain, tensors)).await?
    }

    /// Runs a decoder where it belongs: a small body here, a large one on the
    /// pool, so that one client's megabytes never hold up another's health
    /// check.
    ///
    /// # Errors
    /// The decoder's, or that the pool is full.
    pub async fn decode<T: Send + 'static>(
        &self,
        body: Bytes,
        decoder: impl FnOnce(&Bytes) -> std::result::Result<T, cresset_protocol::ProtocolError> + Send + 'static,
    ) -> Result<T> {
        if body.len() <= INLINE {
            return Ok(decoder(&body)?);
        }
        Ok(self.pool().run(move || decoder(&body)).await??)
    }
}

/// The labels of each row: by themselves where there is one, and it isn't of a
/// list.
pub(super) fn labels(
    classification: &Classification,
    response: InferenceResponse,
    listed: bool,
) -> Result<Prediction> {
    let output = match classification.output() {
        Some(name) => response.outputs.iter().find(|output| *output.name == *name),
        None => response.outputs.first(),
    };
    let Some(output) = output.filter(|output| output.datatype == Datatype::Fp32) else {
        return Err(Error::internal("the model gave no FP32 output for [transform.classification]"));
    };
    let scores: Vec<f32> =
        output.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (model_name, model_version) = (response.model_name, response.model_version);
    let classes = output.shape.last().and_then(|classes| usize::try_from(*classes).ok()).unwrap_or_default();
    if output.shape.len() < 2 || scores.len() == classes || classes == 0 {
        let ranked = classification.apply(&scores)?;
        return Ok(if listed {
            Prediction::LabelRows { model_name, model_version, rows: vec![ranked] }
        } else {
            Prediction::Labels { model_name, model_version, ranked }
        });
    }
    let rows = scores
        .chunks_exact(classes)
        .map(|row| classification.apply(row))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Prediction::LabelRows { model_name, model_version, rows })
}
