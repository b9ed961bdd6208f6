//! Photographs to a model, labels or tensors back.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::predict::{Prediction, labels};
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::{TransformError, Transforms, from_base64};
use cresset_protocol::{Datatype, InferenceRequest, Tensor};

/// The most memory for the tensors of one request's photographs, in bytes.
const MOST_BYTES: usize = 512 << 20;

/// What came, and whether the answer is a row for each or one alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Photographs {
    /// At least one.
    pub(super) images: Vec<Encoded>,
    /// They came as a list, be it of one.
    pub(super) several: bool,
}

/// A photograph as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encoded {
    /// A file's bytes.
    Bytes(Bytes),
    /// The same in base64.
    Base64(Bytes),
}

impl Photographs {
    pub(super) fn one(image: Encoded) -> Self {
        Self { images: vec![image], several: false }
    }
}

impl Engine {
    /// Answers photographs, all in one request.
    ///
    /// # Errors
    /// More than the model takes, what is wrong with one of them, or what the
    /// model failed with.
    pub(super) async fn predict_photographs(
        &self,
        model: &Arc<ServedModel>,
        photographs: Photographs,
    ) -> Result<Prediction> {
        let Photographs { images, several } = photographs;
        let Some((transforms, shape)) = model.transforms().and_then(|transforms| {
            transforms.image.as_ref().map(|image| (Arc::clone(transforms), image.shape()))
        }) else {
            return Err(Error::internal("the model lost its transform"));
        };
        let count = images.len();
        check(model, count, &shape)?;
        let mut pixels = Vec::new();
        // One after the other: they are on as many threads as one client's
        // photographs are to have.
        for (index, image) in images.into_iter().enumerate() {
            let work = Arc::clone(&transforms);
            let one = self.pool().run(move || apply(&work, image)).await?.map_err(Error::from);
            let one = one.map_err(|error| numbered(error, index, count))?;
            if pixels.is_empty() {
                pixels = one;
            } else {
                pixels.extend_from_slice(&one);
            }
        }
        let [_, own @ ..] = shape;
        let batch = (model.max_batch_size() > 0 || model.image_has_batch()).then_some(count as i64);
        let input = Tensor {
            name: Arc::from(model.image_input().unwrap_or_default()),
            datatype: Datatype::Fp32,
            // Without a batch dimension the model takes one photograph as it is.
            shape: batch.into_iter().chain(own).collect(),
            data: Bytes::from(pixels),
        };
        let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
        let (response, _) = model.infer(request).await?;
        match &transforms.classification {
            Some(classification) => labels(classification, response, several),
            None => Ok(Prediction::Tensors(response.outputs, model.non_finite())),
        }
    }
}

/// Bytes or text to the tensor's bytes.
fn apply(transforms: &Transforms, image: Encoded) -> Result<Vec<u8>, TransformError> {
    let Some(transform) = &transforms.image else {
        return Err(TransformError::Internal("its transform is gone".to_owned()));
    };
    match image {
        Encoded::Bytes(bytes) => transform.apply(&bytes),
        Encoded::Base64(text) => {
            let bytes = from_base64(&text)?;
            drop(text);
            transform.apply(&bytes)
        }
    }
}

/// Refuses more photographs than run together, before any is decoded.
fn check(model: &ServedModel, count: usize, shape: &[i64; 4]) -> Result<()> {
    let bytes =
        shape.iter().fold(4, |bytes: usize, side| bytes.saturating_mul(usize::try_from(*side).unwrap_or(0)));
    let most = model.most_photographs().min(MOST_BYTES / bytes.max(1)).max(1);
    if count <= most {
        return Ok(());
    }
    let model_name = model.name();
    Err(Error::invalid(if most == 1 && model.max_batch_size() == 0 {
        format!(
            "{count} photographs came, and model '{model_name}' takes one in a request (it has no dimension for a batch)"
        )
    } else {
        format!("{count} photographs came, and model '{model_name}' takes at most {most} in a request")
    }))
}

/// Which of several it is.
fn numbered(error: Error, index: usize, count: usize) -> Error {
    if count == 1 {
        return error;
    }
    Error::new(error.code(), format!("photograph {} of {count}: {}", index + 1, error.message()))
}
