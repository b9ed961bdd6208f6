//! Requests of KServe's first protocol and of TensorFlow Serving's: rows, or
//! whole tensors by name.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::error::Result;
use crate::model::ServedModel;
use crate::protocol::json::{PredictForm, decode_predict};
use crate::protocol::{InferenceRequest, Tensor};

impl Engine {
    /// Answers either form, and says which it was.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict_rows_or_columns(
        &self,
        model: &Arc<ServedModel>,
        body: Bytes,
    ) -> Result<(PredictForm, Vec<Tensor>)> {
        let own = Arc::clone(model);
        let decode =
            move |body: &Bytes| decode_predict(body, own.only_input(), |name| own.input_datatype(name));
        let (form, inputs) = self.decode(body, decode).await?;
        let (response, _) = model.infer(InferenceRequest { inputs, ..InferenceRequest::default() }).await?;
        Ok((form, response.outputs))
    }
}
