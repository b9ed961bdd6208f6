//! The JSON of an inference request: the whole request, or the header before
//! binary tensors.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::numbers::read_data;
use super::scan::Scanner;
use crate::{
    Datatype, LONGEST_NAME, MOST_DIMENSIONS, MOST_PARAMETERS, NonFinite, OutputForm, ProtocolError,
    RequestedOutput, Schedule, Strict, Tensor, expected_bytes, push_string,
};

/// Parameters with a fixed meaning, so they can't be a model's arguments.
pub const RESERVED: [&str; 7] = [
    "priority",
    "timeout",
    "binary_data_output",
    "non_finite",
    "sequence_id",
    "sequence_start",
    "sequence_end",
];

/// A request whose inputs may still lack their data.
#[derive(Debug, Default)]
pub(crate) struct RequestHeader {
    pub(crate) id: String,
    pub(crate) inputs: Vec<InputHeader>,
    /// Each output with its form, if the request gives one.
    pub(crate) outputs: Vec<(RequestedOutput, Option<OutputForm>)>,
    pub(crate) default_form: OutputForm,
    pub(crate) schedule: Schedule,
    pub(crate) non_finite: Option<NonFinite>,
    pub(crate) parameters: Vec<Tensor>,
}

/// One input as in its JSON.
#[derive(Debug)]
pub(crate) struct InputHeader {
    pub(crate) name: String,
    pub(crate) datatype: Datatype,
    pub(crate) shape: Vec<i64>,
    pub(crate) data: InputData,
}

/// The place of an input's data.
#[derive(Debug)]
pub(crate) enum InputData {
    /// In the JSON.
    Read(Vec<u8>),
    /// This many bytes after the JSON.
    Binary(usize),
}

/// Triton's parameters of the binary tensor, classification and schedule
/// policy extensions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    classification: Option<i64>,
    /// Zero for the model's default.
    priority: u64,
    /// Microseconds; zero for the model's default.
    timeout: u64,
    /// Our extension: how the answer's JSON writes NaN and infinities.
    non_finite: Option<Strict>,
    /// Of an extension that isn't supported: a memory region in place of data.
    shared_memory_region: Option<IgnoredAny>,
}

impl Parameters {
    fn refuse_shared_memory(&self, what: &str, name: &str) -> Result<(), ProtocolError> {
        if self.shared_memory_region.is_none() {
            return Ok(());
        }
        Err(ProtocolError::invalid(format!(
            "{what} '{name}': the shared memory extensions are not offered: tensors travel in the bodies"
        )))
    }
}

/// Reads a request's JSON.
pub(crate) fn read_request(text: &[u8]) -> Result<RequestHeader, ProtocolError> {
    let mut request = RequestHeader::default();
    let mut inputs_seen = false;
    let mut scanner = Scanner::new(text);
    scanner.object(|scanner, key| {
        match key {
            "id" => request.id = scanner.string()?.into_owned(),
            "inputs" => {
                inputs_seen = true;
                scanner.array(|scanner| {
                    request.inputs.push(read_input(scanner)?);
                    Ok(())
                })?;
            }
            "outputs" => scanner.array(|scanner| {
                request.outputs.push(read_output(scanner)?);
                Ok(())
            })?,
            "parameters" => {
                let values = scanner.clone();
                let parameters = read_parameters(scanner, "the request")?;
                request.parameters = read_values(values)?;
                if parameters.binary_data_output == Some(true) {
                    request.default_form = OutputForm::Binary;
                }
                request.schedule = Schedule::new(parameters.priority, parameters.timeout);
                request.non_finite = parameters.non_finite.map(NonFinite::from);
            }
            _ => {
                scanner.skip()?;
            }
        }
        Ok(())
    })?;
    scanner.end()?;
    if !inputs_seen {
        return Err(ProtocolError::invalid("the request has no 'inputs'"));
    }
    Ok(request)
}

fn read_input(scanner: &mut Scanner<'_>) -> Result<InputHeader, ProtocolError> {
    let mut name: Option<String> = None;
    let mut shape: Option<Vec<i64>> = None;
    let mut datatype: Option<Datatype> = None;
    let mut parameters = Parameters::default();
    let mut read: Option<(usize, Vec<u8>)> = None;
    // A cursor at a `data` that came before its `datatype`.
    let mut unread: Option<Scanner<'_>> = None;

    scanner.object(|scanner, key| {
        match key {
            "name" => name = Some(read_name(scanner)?),
            "shape" => shape = Some(read_shape(scanner)?),
            "datatype" => {
                let known = scanner.string()?.parse::<Datatype>();
                datatype = Some(known.map_err(|unknown| {
                    ProtocolError::invalid(format!("input '{}': {unknown}", name.as_deref().unwrap_or("?")))
                })?);
            }
            "parameters" => parameters = read_parameters(scanner, "an input")?,
            "data" => match datatype {
                Some(datatype) => {
                    let mut bytes = Vec::with_capacity(room(scanner, datatype, shape.as_deref()));
                    let label = name.as_deref().unwrap_or("?");
                    let count = read_data(scanner, label, datatype, &mut bytes)?;
                    read = Some((count, bytes));
                }
                None => {
                    unread = Some(scanner.clone());
                    scanner.skip()?;
                }
            },
            _ => {
                scanner.skip()?;
            }
        }
        Ok(())
    })?;

    let name = name.ok_or_else(|| ProtocolError::invalid("an input has no 'name'"))?;
    parameters.refuse_shared_memory("input", &name)?;
    let missing = |what: &str| ProtocolError::invalid(format!("input '{name}' has no '{what}'"));
    let shape = shape.ok_or_else(|| missing("shape"))?;
    let datatype = datatype.ok_or_else(|| missing("datatype"))?;
    if let Some(mut scanner) = unread {
        let mut bytes = Vec::with_capacity(room(&scanner, datatype, Some(&shape)));
        let count = read_data(&mut scanner, &name, datatype, &mut bytes)?;
        read = Some((count, bytes));
    }
    let data = match (read, parameters.binary_data_size) {
        (Some(_), Some(_)) => {
            return Err(ProtocolError::invalid(format!(
                "input '{name}' has both 'data' and 'binary_data_size': one of them"
            )));
        }
        (None, Some(size)) => InputData::Binary(size),
        (Some((count, bytes)), None) => {
            let expected = crate::element_count(&name, &shape)?;
            if count != expected {
                return Err(ProtocolError::invalid(format!(
                    "input '{name}': shape {shape:?} holds {expected} elements, 'data' has {count}"
                )));
            }
            InputData::Read(bytes)
        }
        (None, None) => return Err(missing("data")),
    };
    Ok(InputHeader { name, datatype, shape, data })
}

/// Reads a tensor's name. Errors repeat it, so its length is limited.
pub(super) fn read_name(scanner: &mut Scanner<'_>) -> Result<String, ProtocolError> {
    let name = scanner.string()?;
    if name.len() > LONGEST_NAME {
        return Err(scanner.error(format!("a name of {} bytes: the longest has {LONGEST_NAME}", name.len())));
    }
    Ok(name.into_owned())
}

/// How many bytes to reserve: the size of the shape, but never more than the
/// remaining text can hold (an element takes at least two characters).
fn room(scanner: &Scanner<'_>, datatype: Datatype, shape: Option<&[i64]>) -> usize {
    let most = (scanner.remaining() / 2 + 1).saturating_mul(datatype.size().unwrap_or(4));
    let said = shape.and_then(|shape| expected_bytes("", datatype, shape).ok().flatten());
    said.unwrap_or(0).min(most)
}

/// Reads `[1, 3, 224, 224]`.
pub(super) fn read_shape(scanner: &mut Scanner<'_>) -> Result<Vec<i64>, ProtocolError> {
    let mut shape = Vec::with_capacity(4);
    scanner.array(|scanner| {
        shape.push(scanner.integer("a dimension")?);
        if shape.len() > MOST_DIMENSIONS {
            return Err(scanner.error(format!("a shape of more than {MOST_DIMENSIONS} dimensions")));
        }
        Ok(())
    })?;
    Ok(shape)
}

fn read_output(scanner: &mut Scanner<'_>) -> Result<(RequestedOutput, Option<OutputForm>), ProtocolError> {
    let mut name: Option<String> = None;
    let mut parameters = Parameters::default();
    scanner.object(|scanner, key| {
        match key {
            "name" => name = Some(read_name(scanner)?),
            "parameters" => parameters = read_parameters(scanner, "an output")?,
            _ => {
                scanner.skip()?;
            }
        }
        Ok(())
    })?;
    let name = name.ok_or_else(|| ProtocolError::invalid("an output has no 'name'"))?;
    parameters.refuse_shared_memory("output", &name)?;
    // As in Triton, below zero is zero, and too many means all.
    let classification = parameters.classification.unwrap_or(0).clamp(0, i64::from(u32::MAX));
    let form =
        parameters.binary_data.map(|binary| if binary { OutputForm::Binary } else { OutputForm::Json });
    let classification = u32::try_from(classification).unwrap_or(u32::MAX);
    Ok((RequestedOutput { name, classification }, form))
}

/// Reads the parameters that may be a model's arguments: numbers, strings and
/// lists of numbers as tensors, anything else as an absent one. `null` is left
/// out.
fn read_values(mut scanner: Scanner<'_>) -> Result<Vec<Tensor>, ProtocolError> {
    let mut values = Vec::new();
    if scanner.peek() != Some(b'{') {
        return Ok(values);
    }
    scanner.object(|scanner, name| {
        let text = scanner.clone().skip()?;
        if RESERVED.contains(&name) || text == b"null" {
            return scanner.skip().map(|_| ());
        }
        if values.len() == MOST_PARAMETERS {
            return Err(scanner.error(format!("more than {MOST_PARAMETERS} parameters")));
        }
        let (datatype, data) = match text {
            [b'"', ..] => {
                let string = scanner.string()?;
                let mut data = Vec::new();
                push_string(&mut data, string.as_bytes());
                (Datatype::Bytes, data)
            }
            b"true" | b"false" => {
                scanner.skip()?;
                (Datatype::Bool, vec![u8::from(text == b"true")])
            }
            _ => {
                scanner.skip()?;
                let number = str::from_utf8(text).unwrap_or_default();
                match (number.parse::<i64>(), number.parse::<f64>()) {
                    (Ok(whole), _) => (Datatype::Int64, whole.to_le_bytes().to_vec()),
                    (Err(_), Ok(real)) if real.is_finite() => (Datatype::Fp64, real.to_le_bytes().to_vec()),
                    (Err(_), Ok(_)) => return Err(scanner.error(format!("{number} is out of range"))),
                    (Err(_), Err(_)) => {
                        values.push(numbers(name, text));
                        return Ok(());
                    }
                }
            }
        };
        values.push(Tensor { name: Arc::from(name), datatype, shape: vec![1], data: Bytes::from(data) });
        Ok(())
    })?;
    Ok(values)
}

/// A list of numbers; an absent tensor for any other list.
fn numbers(name: &str, text: &[u8]) -> Tensor {
    /// The longest list, in bytes of JSON.
    const LONGEST: usize = 64 * 1024;
    let list = text.len() <= LONGEST && text.first() == Some(&b'[');
    let read = list.then(|| super::decode_named_tensor(name, text, |_| None).ok()).flatten();
    read.filter(|tensor| tensor.shape.len() == 1).unwrap_or_else(|| Tensor::absent(Arc::from(name)))
}

fn read_parameters(scanner: &mut Scanner<'_>, whose: &str) -> Result<Parameters, ProtocolError> {
    if scanner.peek() != Some(b'{') {
        return Err(scanner.unexpected("an object of parameters"));
    }
    let text = scanner.skip()?;
    serde_json::from_slice(text)
        .map_err(|error| ProtocolError::invalid(format!("the 'parameters' of {whose}: {error}")))
}
