//! The simplest request: photographs or plain numbers to a model, labels or
//! numbers back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Engine;
use super::plain::{Asked, Plain, Tensors, read};
use crate::context::RequestContext;
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{ItemForm, ItemKind, Postprocessor, ReadOutput, RowAnswer};
use cresset_protocol::json::PredictForm;
use cresset_protocol::{InferenceRequest, InferenceResponse, NonFinite, ResponseFormat, Tensor};

/// About a tenth of a millisecond of JSON.
const INLINE: usize = 32 * 1024;

/// A model's answer to a plain body.
#[derive(Debug, Clone)]
pub enum Prediction {
    /// What the model's postprocessor made of its outputs.
    Processed {
        /// The model.
        model_name: Arc<str>,
        /// The version that computed them.
        model_version: u64,
        /// In the order of the request.
        rows: Vec<Arc<dyn RowAnswer>>,
        /// Whether the answer is a list of rows, even of one; else it is the
        /// only row.
        several: bool,
    },
    /// The outputs by name, and how their JSON is to be.
    Tensors(Vec<Tensor>, NonFinite),
    /// The outputs by name of each of several rows, which may be of different
    /// lengths.
    Rows(Vec<Vec<Tensor>>, NonFinite),
    /// The answer to a request of the Open Inference Protocol, and how the body
    /// asked for it to be written.
    Inference(InferenceResponse, ResponseFormat, NonFinite),
}

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
        let each = rows.into_iter().map(|inputs| {
            let request = InferenceRequest { inputs, ..InferenceRequest::default() };
            self.infer(context.clone(), model, request)
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

/// What a postprocessor makes of a response: of each row if there are several, or
/// if they came as a list.
pub(super) fn processed(
    postprocessor: &dyn Postprocessor,
    response: InferenceResponse,
    listed: bool,
) -> Result<Prediction> {
    let rows = answers_of(postprocessor, &response)?;
    let several = listed || rows.len() != 1;
    let InferenceResponse { model_name, model_version, .. } = response;
    Ok(Prediction::Processed { model_name, model_version, rows, several })
}

/// The answer of each row.
fn answers_of(
    postprocessor: &dyn Postprocessor,
    response: &InferenceResponse,
) -> Result<Vec<Arc<dyn RowAnswer>>> {
    let find = |read: ReadOutput| {
        let output = match &read.name {
            Some(name) => response.outputs.iter().find(|output| *output.name == **name),
            None => response.outputs.first(),
        };
        output.filter(|output| output.datatype == read.datatype).ok_or_else(|| {
            let (datatype, table) = (read.datatype, postprocessor.table());
            Error::internal(format!("the model gave no {datatype} output for {table}"))
        })
    };
    let outputs = postprocessor.outputs().into_iter().map(find).collect::<Result<Vec<_>>>()?;
    Ok(postprocessor.postprocess(&outputs)?)
}
