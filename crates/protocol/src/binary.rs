//! A whole inference request or response as bytes: JSON, or a JSON header
//! followed by binary tensors (Triton's binary tensor extension).

use bytes::Bytes;

use super::json::{RequestHeader, read_request, write_response};
use super::{
    InferenceRequest, InferenceResponse, Inputs, NonFinite, OutputForm, ProtocolError, ResponseFormat,
    distinct,
};

/// Reads a request for `model`, and the form of its answer. `header_length` is
/// the value of `Inference-Header-Content-Length`: how much of the body is
/// JSON. Without it, all of the body is.
///
/// Binary tensors are slices of `body`, not copies.
///
/// # Errors
/// An error names the place, what was expected and what came.
pub fn decode_request(
    model: &str,
    body: &Bytes,
    header_length: Option<usize>,
) -> Result<(InferenceRequest, ResponseFormat), ProtocolError> {
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
    let named = outputs.iter().map(|(_, form)| form.unwrap_or(default_form)).collect();
    let outputs: Vec<_> = outputs.into_iter().map(|(output, _)| output).collect();
    distinct(&outputs)?;
    let format = ResponseFormat { default: default_form, named, non_finite };
    Ok((InferenceRequest { id, inputs: tensors.done(), outputs, schedule, parameters }, format))
}

/// A response as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResponse {
    /// How much of the body is JSON, if binary tensors follow.
    pub header_length: Option<usize>,
    /// The body in order: the JSON, then each binary tensor, in its memory
    /// layout.
    pub parts: Vec<Bytes>,
}

/// Writes `response` in the forms that the request asked for. `non_finite` says
/// how the JSON writes NaN and infinities.
#[must_use]
pub fn encode_response(
    response: &InferenceResponse,
    format: &ResponseFormat,
    non_finite: NonFinite,
) -> EncodedResponse {
    let header = Bytes::from(write_response(response, format, non_finite));
    let length = header.len();
    let mut binary = format.outputs_as(OutputForm::Binary, &response.outputs).peekable();
    let header_length = binary.peek().is_some().then_some(length);
    let parts = std::iter::once(header).chain(binary.map(|tensor| tensor.data.clone())).collect();
    EncodedResponse { header_length, parts }
}
