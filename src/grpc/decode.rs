//! Reads a message as an inference request. Raw tensors are slices of the
//! message, not copies, and keep its permit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::contents;
use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::admission::{Permit, lent};
use crate::error::{Error, Result};
use cresset_protocol::json::RESERVED;
use cresset_protocol::{
    Datatype, InferenceRequest, Inputs, LONGEST_NAME, MOST_DIMENSIONS, MOST_PARAMETERS, RequestedOutput,
    Schedule, Tensor, distinct, element_count, push_string,
};

type Parameters = BTreeMap<String, InferParameter>;

/// Reads a message. `permit` covers its memory and that of its elements.
pub(super) fn request(message: ModelInferRequest, permit: Permit) -> Result<InferenceRequest> {
    let ModelInferRequest { model_name, id, parameters, inputs, outputs, raw_input_contents, .. } = message;
    let schedule = schedule(&parameters)?;
    let raw = !raw_input_contents.is_empty();
    if raw && raw_input_contents.len() != inputs.len() {
        return Err(Error::invalid(format!(
            "the request has {} inputs and {} raw_input_contents: expected one for each input, in their order",
            inputs.len(),
            raw_input_contents.len()
        )));
    }
    let permit = Arc::new(permit);
    let mut raw_contents = raw_input_contents.into_iter();
    let mut tensors = Inputs::with_capacity(&model_name, inputs.len());
    for input in inputs {
        let InferInputTensor { name, datatype, shape, parameters, contents } = input;
        check_name(&name, "an input")?;
        refuse_shared_memory("input", &name, &parameters)?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(Error::invalid(format!(
                "input '{name}': a shape of more than {MOST_DIMENSIONS} dimensions"
            )));
        }
        let datatype: Datatype =
            datatype.parse().map_err(|unknown| Error::invalid(format!("input '{name}': {unknown}")))?;
        let contents = contents.filter(|contents| !contents::is_empty(contents));
        let data = match (raw_contents.next(), contents) {
            (Some(data), None) => data,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input '{name}' has contents beside the request's raw_input_contents: one of them, \
                     for all inputs"
                )));
            }
            (None, contents) => typed(&name, datatype, &shape, contents)?,
        };
        tensors.push(name, datatype, shape, lent(data, Arc::clone(&permit)))?;
    }
    let outputs = outputs.into_iter().map(output).collect::<Result<Vec<_>>>()?;
    distinct(&outputs)?;
    Ok(InferenceRequest { id, inputs: tensors.done(), outputs, schedule, parameters: values(parameters)? })
}

/// The schedule policy extension's parameters.
fn schedule(parameters: &Parameters) -> Result<Schedule> {
    let number = |key: &str| match parameters.get(key).map(|value| &value.parameter_choice) {
        None | Some(None) => Ok(0),
        Some(Some(ParameterChoice::Uint64Param(number))) => Ok(*number),
        Some(Some(ParameterChoice::Int64Param(number))) => u64::try_from(*number).map_err(|_| {
            Error::invalid(format!("invalid value for '{key}', expected value >= 0, got {number}"))
        }),
        Some(Some(
            ParameterChoice::BoolParam(_) | ParameterChoice::StringParam(_) | ParameterChoice::DoubleParam(_),
        )) => Err(Error::invalid(format!(
            "invalid value type for '{key}' parameter, expected int64_param or uint64_param"
        ))),
    };
    Ok(Schedule::new(number("priority")?, number("timeout")?))
}

/// Parameters as tensors of one element.
fn values(parameters: Parameters) -> Result<Vec<Tensor>> {
    if parameters.len() > MOST_PARAMETERS {
        return Err(Error::invalid(format!("the request has more than {MOST_PARAMETERS} parameters")));
    }
    let value = |(name, value): (String, InferParameter)| {
        if RESERVED.contains(&&*name) {
            return None;
        }
        let (datatype, data) = match value.parameter_choice? {
            ParameterChoice::BoolParam(value) => (Datatype::Bool, vec![u8::from(value)]),
            ParameterChoice::Int64Param(value) => (Datatype::Int64, value.to_le_bytes().to_vec()),
            ParameterChoice::Uint64Param(value) => (Datatype::Uint64, value.to_le_bytes().to_vec()),
            ParameterChoice::DoubleParam(value) => (Datatype::Fp64, value.to_le_bytes().to_vec()),
            ParameterChoice::StringParam(value) => {
                let mut data = Vec::new();
                push_string(&mut data, value.as_bytes());
                (Datatype::Bytes, data)
            }
        };
        Some(Tensor { name: Arc::from(name), datatype, shape: vec![1], data: Bytes::from(data) })
    };
    Ok(parameters.into_iter().filter_map(value).collect())
}

fn typed(
    name: &str,
    datatype: Datatype,
    shape: &[i64],
    contents: Option<InferTensorContents>,
) -> Result<Bytes> {
    let expected = element_count(name, shape)?;
    let Some(contents) = contents else {
        if expected == 0 {
            return Ok(Bytes::new());
        }
        return Err(Error::invalid(format!(
            "input '{name}' has no data: expected raw_input_contents in the request, or contents in the input"
        )));
    };
    let (count, bytes) = contents::read(name, datatype, contents)?;
    if count != expected {
        return Err(Error::invalid(format!(
            "input '{name}': shape {shape:?} holds {expected} elements, 'contents' has {count}"
        )));
    }
    Ok(Bytes::from(bytes))
}

fn output(message: InferRequestedOutputTensor) -> Result<RequestedOutput> {
    let InferRequestedOutputTensor { name, parameters } = message;
    check_name(&name, "an output")?;
    refuse_shared_memory("output", &name, &parameters)?;
    let classification = parameters.get("classification").map_or(Ok(0), |count| classes(&name, count))?;
    Ok(RequestedOutput { name, classification })
}

fn check_name(name: &str, whose: &str) -> Result<()> {
    match name.len() {
        0 => Err(Error::invalid(format!("{whose} has no 'name'"))),
        length if length > LONGEST_NAME => {
            Err(Error::invalid(format!("a name of {length} bytes: the longest has {LONGEST_NAME}")))
        }
        _ => Ok(()),
    }
}

/// Shared memory isn't offered, so a region would leave the request without
/// data.
fn refuse_shared_memory(what: &str, name: &str, parameters: &Parameters) -> Result<()> {
    if !parameters.contains_key("shared_memory_region") {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} '{name}': the shared memory extensions are not offered: tensors travel in the messages"
    )))
}

/// How many classes an output is wanted as; zero for its tensor.
fn classes(name: &str, count: &InferParameter) -> Result<u32> {
    match count.parameter_choice {
        Some(ParameterChoice::Int64Param(count)) => {
            Ok(u32::try_from(count.clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX))
        }
        Some(ParameterChoice::Uint64Param(count)) => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        None => Ok(0),
        Some(
            ParameterChoice::BoolParam(_) | ParameterChoice::StringParam(_) | ParameterChoice::DoubleParam(_),
        ) => Err(Error::invalid(format!("output '{name}': 'classification' is a number of classes"))),
    }
}

#[cfg(test)]
mod tests;
