//! The simplest request: a photograph, or numbers without ceremony, to a
//! model; labels or numbers back.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::protocol::{
    Datatype, InferenceRequest, InferenceResponse, NonFinite, OutputForm, Tensor, decode_request, json,
};
use crate::transform::{Classification, ImageTransform, Ranked, looks_like_image};

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
    /// The answer to a request of the Open Inference Protocol.
    Inference(InferenceResponse, Vec<OutputForm>, NonFinite),
}

impl Engine {
    /// Answers a plain body: a JPEG or PNG where the model declares a
    /// transform, a request of the Open Inference Protocol, or an object of
    /// arrays by input name. What the body is is read off the body: clients
    /// put any Content-Type on it.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict(&self, model: &Arc<ServedModel>, body: Bytes) -> Result<Prediction> {
        let image = model.transforms().filter(|transforms| transforms.image.is_some());
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        match (first, image) {
            (None, Some(_)) => {
                Err(Error::invalid("the body is empty: expected a JPEG or PNG photograph, or JSON"))
            }
            (None, None) => Err(Error::invalid("the body is empty: expected JSON")),
            (Some(b'{'), _) => self.predict_json(model, body).await,
            (Some(_), Some(_)) => self.predict_image(model, body).await,
            (Some(_), None) if looks_like_image(&body) => Err(Error::invalid(format!(
                "the body is a photograph, but model '{}' declares no [transform.image] in its cresset.toml: \
                 send tensors",
                model.name()
            ))),
            (Some(_), None) => {
                Err(Error::invalid("the body isn't JSON: expected an object of arrays by input name"))
            }
        }
    }

    async fn predict_image(&self, model: &Arc<ServedModel>, body: Bytes) -> Result<Prediction> {
        let Some(transforms) = model.transforms().cloned() else {
            return Err(Error::internal("the model lost its transform"));
        };
        let shape = transforms.image.as_ref().map_or([0; 4], ImageTransform::shape);
        let work = Arc::clone(&transforms);
        let pixels = self
            .pool()
            .run(move || work.image.as_ref().map(|image| image.apply(&body)))
            .await?
            .ok_or_else(|| Error::internal("the model lost its transform"))??;
        let input = Tensor {
            name: Arc::from(model.image_input().unwrap_or_default()),
            datatype: Datatype::Fp32,
            // Without a batch dimension the model takes one photograph as it is.
            shape: shape[usize::from(model.max_batch_size() == 0 && !model.image_has_batch())..].to_vec(),
            data: Bytes::from(pixels),
        };
        let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
        let (response, _) = model.infer(request).await?;
        match &transforms.classification {
            Some(classification) => labels(classification, response),
            None => Ok(Prediction::Tensors(response.outputs, model.non_finite())),
        }
    }

    async fn predict_json(&self, model: &Arc<ServedModel>, body: Bytes) -> Result<Prediction> {
        let own = Arc::clone(model);
        let (request, named) = self
            .decode(body, move |body| {
                if json::is_inference_request(body) {
                    return decode_request(body, None).map(|request| (request, false));
                }
                let inputs = json::decode_named_tensors(body, |name| own.input_datatype(name))?;
                Ok((InferenceRequest { inputs, ..InferenceRequest::default() }, true))
            })
            .await?;
        let non_finite = request.non_finite.unwrap_or_else(|| model.non_finite());
        let (response, forms) = model.infer(request).await?;
        // A photograph's model answers tensors with tensors.
        let transforms = model.transforms().filter(|transforms| named && transforms.image.is_none());
        match transforms.and_then(|transforms| transforms.classification.as_ref()) {
            Some(classification) => labels(classification, response),
            None if named => Ok(Prediction::Tensors(response.outputs, non_finite)),
            None => Ok(Prediction::Inference(response, forms, non_finite)),
        }
    }

    /// Answers rows, each an array or an object by input name: KServe's first
    /// protocol.
    ///
    /// # Errors
    /// What is wrong with the body, or what the model failed with.
    pub async fn predict_instances(&self, model: &Arc<ServedModel>, body: Bytes) -> Result<Vec<Tensor>> {
        let own = Arc::clone(model);
        let decode = move |body: &Bytes| {
            json::decode_instances(body, own.only_input(), |name| own.input_datatype(name))
        };
        let inputs = self.decode(body, decode).await?;
        let (response, _) = model.infer(InferenceRequest { inputs, ..InferenceRequest::default() }).await?;
        Ok(response.outputs)
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
        decoder: impl FnOnce(&Bytes) -> std::result::Result<T, crate::protocol::ProtocolError> + Send + 'static,
    ) -> Result<T> {
        /// About a tenth of a millisecond of JSON.
        const INLINE: usize = 32 * 1024;
        if body.len() <= INLINE {
            return Ok(decoder(&body)?);
        }
        Ok(self.pool().run(move || decoder(&body)).await??)
    }
}

fn labels(classification: &Classification, response: InferenceResponse) -> Result<Prediction> {
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
        return Ok(Prediction::Labels { model_name, model_version, ranked });
    }
    let rows = scores
        .chunks_exact(classes)
        .map(|row| classification.apply(row))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Prediction::LabelRows { model_name, model_version, rows })
}
