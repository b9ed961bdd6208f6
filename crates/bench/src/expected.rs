//! Compares answers with the expected ones.

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;

use super::client::{Answer, Status};
use super::payload::HEADER_LENGTH;
use cresset_protocol::messages::inference::ModelInferResponse;
use cresset_protocol::{Datatype, Tensor};

/// What an answer must hold.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    content: Content,
    /// How far a number may be off, as a part of the largest in its tensor.
    tolerance: f64,
}

#[derive(Debug, Clone)]
enum Content {
    /// Outputs by name; an answer may have more.
    Tensors(Vec<Tensor>),
    /// JSON that an answer holds: it may have more fields, and longer lists.
    Json(Value),
    /// Little-endian elements that are all of the answer.
    Raw { datatype: Datatype, data: Bytes },
}

impl Expected {
    pub(super) fn tensors(tensors: Vec<Tensor>, tolerance: f64) -> Self {
        Self { content: Content::Tensors(tensors), tolerance }
    }

    pub(super) fn json(value: Value, tolerance: f64) -> Self {
        Self { content: Content::Json(value), tolerance }
    }

    /// Not for strings: their size doesn't follow from the datatype.
    pub(super) fn raw(datatype: Datatype, data: Bytes, tolerance: f64) -> Self {
        Self { content: Content::Raw { datatype, data }, tolerance }
    }

    /// Checks a good answer; the error says what is wrong with it.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), String> {
        match &self.content {
            Content::Tensors(tensors) => {
                tensors.iter().try_for_each(|expected| self.check_tensor(expected, answer))
            }
            Content::Json(expected) => {
                let came: Value =
                    serde_json::from_slice(&answer.kept).map_err(|error| format!("no JSON: {error}"))?;
                self.check_json("the answer", expected, &came, 0.0)
            }
            Content::Raw { datatype, data } => self.check_raw(*datatype, data, &answer.kept),
        }
    }

    fn check_tensor(&self, expected: &Tensor, answer: &Answer) -> Result<(), String> {
        let name = &*expected.name;
        let came = output(answer, name)?.ok_or_else(|| format!("it has no output '{name}'"))?;
        let wanted = numbers(expected.datatype, &expected.data);
        match (came, wanted) {
            (Output::Raw(came), _) if came == expected.data => Ok(()),
            (Output::Raw(_), None) => Err(format!("output '{name}' has other strings")),
            (Output::Raw(came), Some(wanted)) => {
                let came = numbers(expected.datatype, &came).unwrap_or_default();
                self.check_numbers(&format!("output '{name}'"), &wanted, &came)
            }
            (Output::Json(came), Some(wanted)) => {
                let mut flat = Vec::new();
                flatten(&came, &mut flat);
                self.check_numbers(&format!("output '{name}'"), &wanted, &flat)
            }
            (Output::Json(came), None) => {
                let wanted: Vec<Value> = strings(&expected.data).into_iter().map(Value::from).collect();
                if came == Value::from(wanted) {
                    Ok(())
                } else {
                    Err(format!("output '{name}' has other strings"))
                }
            }
        }
    }

    fn check_raw(&self, datatype: Datatype, wanted: &[u8], came: &[u8]) -> Result<(), String> {
        if wanted.len() != came.len() {
            return Err(format!("the answer has {} bytes, expected {}", came.len(), wanted.len()));
        }
        match (numbers(datatype, wanted), numbers(datatype, came)) {
            (Some(wanted), Some(came)) => self.check_numbers("the answer", &wanted, &came),
            _ if wanted == came => Ok(()),
            _ => Err("the answer has other strings".to_owned()),
        }
    }

    fn check_numbers(&self, place: &str, wanted: &[f64], came: &[f64]) -> Result<(), String> {
        if wanted.len() != came.len() {
            return Err(format!("{place} has {} elements, expected {}", came.len(), wanted.len()));
        }
        let largest = largest(wanted);
        let near = |wanted: f64, came: f64| {
            (wanted - came).abs() <= self.tolerance * largest || (wanted.is_nan() && came.is_nan())
        };
        match wanted.iter().zip(came).position(|(&wanted, &came)| !near(wanted, came)) {
            None => Ok(()),
            Some(at) => Err(format!("{place} has {} at {at}, expected {}", came[at], wanted[at])),
        }
    }

    /// `scale` is the largest number of the list that contains this value, 0
    /// for none.
    fn check_json(&self, place: &str, expected: &Value, came: &Value, scale: f64) -> Result<(), String> {
        match (expected, came) {
            (Value::Object(expected), Value::Object(came)) => expected.iter().try_for_each(|(key, value)| {
                let inner = came.get(key).ok_or_else(|| format!("{place} has no '{key}'"))?;
                self.check_json(&format!("'{key}'"), value, inner, 0.0)
            }),
            (Value::Array(wanted), Value::Array(came)) if wanted.len() <= came.len() => {
                let mut flat = Vec::new();
                flatten(expected, &mut flat);
                let scale = scale.max(largest(&flat));
                wanted
                    .iter()
                    .zip(came)
                    .try_for_each(|(wanted, came)| self.check_json(place, wanted, came, scale))
            }
            (Value::Number(wanted), Value::Number(number)) => {
                let (wanted, number) =
                    (wanted.as_f64().unwrap_or(f64::NAN), number.as_f64().unwrap_or(f64::NAN));
                if (wanted - number).abs() <= self.tolerance * scale.max(wanted.abs()) {
                    Ok(())
                } else {
                    Err(format!("{place} is {number}, expected {wanted}"))
                }
            }
            _ if expected == came => Ok(()),
            _ => Err(format!("{place} is {came}, expected {expected}")),
        }
    }
}

/// An output of the answer.
enum Output {
    Raw(Bytes),
    Json(Value),
}

fn output(answer: &Answer, name: &str) -> Result<Option<Output>, String> {
    match &answer.status {
        Status::Grpc { .. } => grpc_output(&answer.kept, name),
        Status::Http(_) => http_output(answer, name),
    }
}

fn grpc_output(body: &Bytes, name: &str) -> Result<Option<Output>, String> {
    let message = if body.len() < 5 { Bytes::new() } else { body.slice(5..) };
    let response = ModelInferResponse::decode(message).map_err(|error| format!("no message: {error}"))?;
    let position = response.outputs.iter().position(|output| output.name == name);
    Ok(position.and_then(|position| response.raw_output_contents.get(position).cloned()).map(Output::Raw))
}

fn http_output(answer: &Answer, name: &str) -> Result<Option<Output>, String> {
    let body = &answer.kept;
    let length = answer.headers.get(HEADER_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(body.len()).min(body.len());
    let mut head: Value =
        serde_json::from_slice(&body[..length]).map_err(|error| format!("no JSON: {error}"))?;
    // TorchServe's answers, and the simplest ones, are outputs by name.
    if let Some(named) = head.get_mut(name) {
        return Ok(Some(Output::Json(named.take())));
    }
    if let Some(predictions) = head.get_mut("predictions") {
        return Ok(Some(Output::Json(column(predictions.take(), name))));
    }
    let mut at = length;
    let Some(outputs) = head.get_mut("outputs").and_then(Value::as_array_mut) else { return Ok(None) };
    for output in outputs {
        let size = output["parameters"]["binary_data_size"].as_u64().map(|size| size as usize);
        let ours = output["name"] == name;
        match size {
            Some(size) if ours => {
                let data =
                    at.checked_add(size).filter(|end| *end <= body.len()).map(|end| body.slice(at..end));
                return data.map(|data| Some(Output::Raw(data))).ok_or_else(|| "it is cut short".to_owned());
            }
            Some(size) => at = at.saturating_add(size),
            None if ours => return Ok(Some(Output::Json(output["data"].take()))),
            None => {}
        }
    }
    Ok(None)
}

/// KServe's predictions: rows of the only output, or of all outputs by name.
fn column(mut predictions: Value, name: &str) -> Value {
    let rows = predictions.as_array_mut();
    match rows.filter(|rows| rows.iter().all(Value::is_object)) {
        Some(rows) => rows.iter_mut().map(|row| row[name].take()).collect(),
        None => predictions,
    }
}

/// The largest absolute value; 0 if there are no numbers.
fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, number| largest.max(number.abs()))
}

/// Every number of nested lists; a boolean is 0 or 1.
fn flatten(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, into)),
        Value::Number(number) => into.push(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(truth) => into.push(f64::from(u8::from(*truth))),
        Value::Null | Value::String(_) | Value::Object(_) => into.push(f64::NAN),
    }
}

/// Elements as numbers; `None` for strings.
fn numbers(datatype: Datatype, data: &[u8]) -> Option<Vec<f64>> {
    datatype.size().map(|_| cresset_protocol::numbers(datatype, data).collect())
}

/// The strings of a BYTES tensor.
fn strings(mut data: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
        let (text, rest) = rest.split_at(length);
        strings.push(String::from_utf8_lossy(text).into_owned());
        data = rest;
    }
    strings
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    fn expected(values: &[f32], tolerance: f64) -> Expected {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into();
        let shape = vec![values.len() as i64];
        Expected::tensors(vec![Tensor { name: "y".into(), datatype: Datatype::Fp32, shape, data }], tolerance)
    }

    fn answer(body: &[u8], header_length: Option<usize>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(length) = header_length {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        }
        let status = Status::Http(StatusCode::OK);
        Answer { status, bytes: body.len() as u64, headers, kept: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn json_outputs_are_compared_within_the_tolerance() {
        let came = answer(br#"{"outputs": [{"name": "z"}, {"name": "y", "data": [[1.0], [100.05]]}]}"#, None);
        assert_eq!(expected(&[1.0, 100.0], 1e-3).check(&came), Ok(()));
        let wrong = expected(&[1.0, 100.0], 1e-4).check(&came).unwrap_err();
        assert_eq!(wrong, "output 'y' has 100.05 at 1, expected 100");
        assert!(expected(&[1.0], 1e-3).check(&came).unwrap_err().contains("2 elements, expected 1"));
        for other in [&b"[]"[..], b"{}", b"no", br#"{"outputs": []}"#] {
            assert!(expected(&[1.0], 1.0).check(&answer(other, None)).is_err());
        }
        assert_eq!(expected(&[1.0], 1e-3).check(&answer(br#"{"y": [[1.0]]}"#, None)), Ok(()));
        assert_eq!(expected(&[1.0], 1e-3).check(&answer(br#"{"predictions": [[1.0]]}"#, None)), Ok(()));
        let named = answer(br#"{"predictions": [{"y": [1.0], "z": 0}, {"z": 0, "y": [2]}]}"#, None);
        assert_eq!(expected(&[1.0, 2.0], 1e-3).check(&named), Ok(()));
    }

    #[test]
    fn binary_outputs_are_found_behind_the_header() {
        let output = |name, size| json!({"name": name, "parameters": {"binary_data_size": size}});
        let head = json!({"outputs": [output("z", 2), output("y", 4)]}).to_string();
        let whole = [head.as_bytes(), &[9, 9], &1.5_f32.to_le_bytes()].concat();
        let came = answer(&whole, Some(head.len()));
        assert_eq!(expected(&[1.5], 0.0).check(&came), Ok(()));
        assert!(expected(&[1.6], 1e-3).check(&came).is_err());
        let cut = answer(&whole[..whole.len() - 1], Some(head.len()));
        assert_eq!(expected(&[1.5], 0.0).check(&cut), Err("it is cut short".to_owned()));
    }

    #[test]
    fn raw_answers_are_elements_and_nothing_else() {
        let raw = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let expected = Expected::raw(Datatype::Fp32, raw(&[1.0, 100.0]).into(), 1e-3);
        assert_eq!(expected.check(&answer(&raw(&[1.05, 100.05]), None)), Ok(()));
        let wrong = expected.check(&answer(&raw(&[1.0, 100.5]), None));
        assert_eq!(wrong, Err("the answer has 100.5 at 1, expected 100".to_owned()));
        let short = expected.check(&answer(&raw(&[1.0]), None));
        assert_eq!(short, Err("the answer has 4 bytes, expected 8".to_owned()));
    }

    #[test]
    fn numbers_in_a_list_are_held_to_its_largest() {
        let expected = Expected::json(json!({"y": [[0.0, 0.001], [100.0]], "z": 0.001}), 1e-3);
        let came = |small: f64, alone: f64| {
            answer(json!({"y": [[0.01, small], [100]], "z": alone}).to_string().as_bytes(), None)
        };
        assert_eq!(expected.check(&came(0.05, 0.001)), Ok(()));
        assert!(expected.check(&came(0.2, 0.001)).is_err());
        assert_eq!(expected.check(&came(0.05, 0.05)), Err("'z' is 0.05, expected 0.001".to_owned()));
    }

    #[test]
    fn json_may_hold_more_than_was_expected() {
        let wanted = json!({"predictions": [{"label": "cat", "probability": 0.69}]});
        let expected = Expected::json(wanted, 0.01);
        let came = |label: &str, probability: f64| {
            let predictions =
                json!([{"label": label, "probability": probability, "index": 1}, {"label": "dog"}]);
            answer(json!({"model": "m", "predictions": predictions}).to_string().as_bytes(), None)
        };
        assert_eq!(expected.check(&came("cat", 0.691)), Ok(()));
        assert_eq!(expected.check(&came("cat", 0.5)), Err("'probability' is 0.5, expected 0.69".to_owned()));
        assert!(expected.check(&came("fox", 0.69)).is_err());
    }
}
