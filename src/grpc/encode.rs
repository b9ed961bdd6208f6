//! Writes a response as a message. Outputs are raw: slices of the model's
//! outputs, which the framework copies once.

use super::proto::ModelInferResponse;
use super::proto::model_infer_response::InferOutputTensor;
use cresset_protocol::InferenceResponse;

/// The message of `response`.
pub(super) fn response(response: InferenceResponse) -> ModelInferResponse {
    let (outputs, raw_output_contents) = response
        .outputs
        .into_iter()
        .map(|tensor| {
            let output = InferOutputTensor {
                name: tensor.name.to_string(),
                datatype: tensor.datatype.name().to_owned(),
                shape: tensor.shape,
                ..InferOutputTensor::default()
            };
            (output, tensor.data)
        })
        .unzip();
    ModelInferResponse {
        model_name: response.model_name.to_string(),
        model_version: response.model_version.to_string(),
        id: response.id,
        outputs,
        raw_output_contents,
        ..ModelInferResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use cresset_protocol::{Datatype, Tensor};

    #[test]
    fn outputs_are_raw_and_in_order() {
        let tensor = |name: &str, data: &'static [u8]| Tensor {
            name: Arc::from(name),
            datatype: Datatype::Int16,
            shape: vec![1, 2],
            data: Bytes::from_static(data),
        };
        let message = response(InferenceResponse {
            model_name: Arc::from("m"),
            model_version: 3,
            id: "7".to_owned(),
            outputs: vec![tensor("a", &[1, 0, 2, 0]), tensor("b", &[3, 0, 4, 0])],
        });
        assert_eq!((&*message.model_name, &*message.model_version, &*message.id), ("m", "3", "7"));
        let outputs: Vec<_> =
            message.outputs.iter().map(|o| (&*o.name, &*o.datatype, o.shape.clone())).collect();
        assert_eq!(outputs, [("a", "INT16", vec![1, 2]), ("b", "INT16", vec![1, 2])]);
        assert_eq!(message.raw_output_contents, [[1, 0, 2, 0].as_slice(), &[3, 0, 4, 0]]);
    }
}
