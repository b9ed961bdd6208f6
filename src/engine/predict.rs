//! The simplest request: photographs or plain numbers to a model, labels or
//! numbers back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Engine;
use super::plain::{Asked, Plain, Tensors, read};
use super::prediction::{Prediction, answers_of, processed};
use crate::context::RequestContext;
use crate::error::Result;
use crate::model::ServedModel;
use crate::transform::{ItemForm, ItemKind};
use cresset_protocol::json::PredictForm;
use cresset_protocol::{InferenceRequest, Tensor};

/// About a tenth of a millisecond of JSON.
const INLINE: usize = 32 * 1024;

impl Engine {
    /// Answers a plain body, which is one of these:
    ///
    /// - items, such as photographs, if the model has a preprocessor: their bytes,
    ///   their texts, or the parts of a form;
    /// - a request of the Open Inference Protocol;
    /// - an object of arrays by input name.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict(
        &self,
        context: RequestContext,
        model: &Arc<ServedModel>,
        plain: Plain,
    ) -> Result<Prediction> {
        match self.read_plain(model, plain, Tensors::Named).await? {
            Asked::Items(items) => self.predict_items(context, model, items).await,
            Asked::Inputs(inputs) | Asked::Columns(inputs) => {
                let request = InferenceRequest { inputs, ..InferenceRequest::default() };
                let response = self.infer(context, model, request).await?;
                // A model that takes items answers tensors with tensors.
                match model.postprocessor().filter(|_| model.preprocessor().is_none()) {
                    Some(postprocessor) => processed(&**postprocessor, response, false),
                    None => Ok(Prediction::Tensors(response.outputs, model.non_finite())),
                }
            }
            Asked::Rows(_, rows) => self.predict_rows(context, model, rows).await,
            Asked::Inference(request, format) => {
                let non_finite = format.non_finite.unwrap_or_else(|| model.non_finite());
                let response = self.infer(context, model, request).await?;
                Ok(Prediction::Inference(response, format, non_finite))
            }
        }
    }

    /// Answers rows, each an array or an object by input name, or whole tensors,
    /// with tensors: KServe's first protocol, and TensorFlow Serving's. Returns
    /// which form it was. Items are answered as [`predict`](Self::predict)
    /// does.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict_rows_or_columns(
        &self,
        context: RequestContext,
        model: &Arc<ServedModel>,
        plain: Plain,
    ) -> Result<(PredictForm, Prediction)> {
        let (form, request) = match self.read_plain(model, plain, Tensors::Predict).await? {
            Asked::Items(items) => {
                let prediction = self.predict_items(context, model, items).await?;
                return Ok((PredictForm::Rows, prediction));
            }
            Asked::Columns(inputs) => {
                (PredictForm::Columns, InferenceRequest { inputs, ..InferenceRequest::default() })
            }
            Asked::Inputs(inputs) => {
                (PredictForm::Rows, InferenceRequest { inputs, ..InferenceRequest::default() })
            }
            Asked::Rows(form, rows) => return Ok((form, self.predict_rows(context, model, rows).await?)),
            Asked::Inference(request, _) => (PredictForm::Rows, request),
        };
        let response = self.infer(context, model, request).await?;
        Ok((form, Prediction::Tensors(response.outputs, model.non_finite())))
    }

    /// Answers rows that are of different lengths: each is a request, and they
    /// wait together.
    pub(super) async fn predict_rows(
        &self,
        context: RequestContext,
        model: &Arc<ServedModel>,
        rows: Vec<Vec<Tensor>>,
    ) -> Result<Prediction> {
        let each = rows.into_iter().enumerate().map(|(index, inputs)| {
            let request = InferenceRequest { inputs, ..InferenceRequest::default() };
            let context = RequestContext { follows: index > 0, ..context.clone() };
            self.infer(context, model, request)
        });
        let answers = try_join_all(each).await?;
        let Some(postprocessor) = model.postprocessor() else {
            let rows = answers.into_iter().map(|response| response.outputs).collect();
            return Ok(Prediction::Rows(rows, model.non_finite()));
        };
        let mut all = Vec::new();
        for response in answers {
            all.extend(answers_of(&**postprocessor, &response)?);
        }
        let (model_name, model_version) = (Arc::clone(model.name()), model.version());
        Ok(Prediction::Processed { model_name, model_version, rows: all, several: true })
    }

    /// Reads a body: a small one here, or one that is the bytes of an item; a large
    /// one on the pool.
    async fn read_plain(&self, model: &Arc<ServedModel>, plain: Plain, tensors: Tensors) -> Result<Asked> {
        let at_once = match &plain {
            Plain::Whole(body) => matches!(ItemKind::of(body), Some((_, ItemForm::Bytes))),
            Plain::Parts(_) => false,
        };
        if at_once || plain.len() <= INLINE {
            return read(model, plain, tensors);
        }
        let model = Arc::clone(model);
        self.pool().run(move || read(&model, plain, tensors)).await?
    }

    /// Runs a decoder: a small body here, a large one on the pool, so that one
    /// client's megabytes never hold up another's health check.
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
