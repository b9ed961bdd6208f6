//! A whole inference request or response as bytes: JSON, or a JSON header
//! with binary tensors behind it (Triton's binary tensor extension).

use bytes::Bytes;

use super::json::{RequestHeader, read_request, write_response};
use super::{InferenceRequest, InferenceResponse, Inputs, NonFinite, OutputForm, ProtocolError, distinct};

/// Reads a request for `model`. `header_length` is the value of
/// `Inference-Header-Content-Length`: how much of the body is JSON; without
/// it all of it is.
///
/// Binary tensors are slices of `body`, not copies.
///
/// # Errors
/// With the place, what was expected and what came.
pub fn decode_request(
    model: &str,
    body: &Bytes,
    header_length: Option<usize>,
) -> Result<InferenceRequest, ProtocolError> {
    if body.is_empty() {
        return Err(ProtocolError::invalid("the body is empty: expected an inference request"));
    }
    let header_length = header_length.unwrap_or(body.len());
    if header_length > body.len() {
        return Err(ProtocolError::invalid(format!(
            "Inference-Header-Content-Length is {header_length}, but the body has {} bytes",
            body.len()
        )));
    }
    let RequestHeader { id, inputs, outputs, default_form, schedule, non_finite, parameters } =
        read_request(&body[..header_length])?;

    let mut at = header_length;
    let mut tensors = Inputs::with_capacity(model, inputs.len());
    for input in inputs {
        let (name, datatype, shape) = (input.name, input.datatype, input.shape);
        let data = match input.data {
            super::json::InputData::Read(bytes) => Bytes::from(bytes),
            super::json::InputData::Binary(size) => {
                let end = at.checked_add(size).filter(|end| *end <= body.len()).ok_or_else(|| {
                    ProtocolError::invalid(format!(
                        "input '{name}': binary_data_size is {size}, but only {} bytes are left in the body",
                        body.len() - at
                    ))
                })?;
                let data = body.slice(at..end);
                at = end;
                data
            }
        };
        tensors.push(name, datatype, shape, data)?;
    }
    if at != body.len() {
        return Err(ProtocolError::invalid(format!(
            "{} bytes are left over behind the last input's data",
            body.len() - at
        )));
    }
    distinct(&outputs)?;
    Ok(InferenceRequest {
        id,
        inputs: tensors.done(),
        outputs,
        default_form,
        schedule,
        non_finite,
        parameters,
    })
}

/// A response on its way to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResponse {
    /// How much of the body is JSON, where binary tensors follow.
    pub header_length: Option<usize>,
    /// The body in order: the JSON, then each binary tensor as it lies in
    /// memory.
    pub parts: Vec<Bytes>,
}

/// Writes `response` in the forms that `request` asked for: `forms` is in
/// step with the response's outputs.
#[must_use]
pub fn encode_response(
    response: &InferenceResponse,
    forms: &[OutputForm],
    non_finite: NonFinite,
) -> EncodedResponse {
    let header = Bytes::from(write_response(response, forms, non_finite));
    if !forms.contains(&OutputForm::Binary) {
        return EncodedResponse { header_length: None, parts: vec![header] };
    }
    let header_length = Some(header.len());
    let binary = response.outputs.iter().zip(forms).filter(|(_, form)| **form == OutputForm::Binary);
    let parts = std::iter::once(header).chain(binary.map(|(tensor, _)| tensor.data.clone())).collect();
    EncodedResponse { header_length, parts }
}
