//! What a model answered to a plain body.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::transform::{Postprocessor, ReadOutput, RowAnswer};
use cresset_protocol::{InferenceResponse, NonFinite, ResponseFormat, Tensor};

/// What a model answered to a plain body.
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
        /// Whether the answer is a list of rows, be it of one; else it is the only
        /// row.
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
pub(super) fn answers_of(
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
