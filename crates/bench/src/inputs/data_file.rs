//! Real data with the answers expected, in the form of perf_analyzer's
//! `--input-data`:
//!
//! ```json
//! {"data": [{"x": [1, 2]}, {"x": {"content": [3, 4], "shape": [2]}}],
//!  "validation_data": [{"y": [3]}, {"y": [7]}]}
//! ```

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Case;
use crate::metadata::{Input, Metadata};
use cresset_protocol::{Datatype, Tensor, json::decode_named_tensors};

#[derive(Deserialize)]
struct File {
    data: Vec<Map<String, Value>>,
    #[serde(default)]
    validation_data: Vec<Map<String, Value>>,
}

pub(super) fn read(path: &Path, metadata: &Metadata) -> Result<Vec<Case>> {
    parse(&std::fs::read(path)?, metadata)
}

fn parse(text: &[u8], metadata: &Metadata) -> Result<Vec<Case>> {
    let File { data, validation_data } =
        serde_json::from_slice(text).context("expected {\"data\": [{\"input\": [...]}, ...]}")?;
    ensure!(!data.is_empty(), "it holds no data");
    ensure!(
        validation_data.is_empty() || validation_data.len() == data.len(),
        "it has {} data and {} validation_data: expected as many",
        data.len(),
        validation_data.len()
    );
    let mut cases = Vec::with_capacity(data.len());
    for (number, inputs) in data.iter().enumerate() {
        let case = || -> Result<Case> {
            if let Some(missing) = metadata.inputs.iter().find(|input| !inputs.contains_key(&input.name)) {
                bail!("input '{}' is missing", missing.name);
            }
            let expected = match validation_data.get(number) {
                Some(outputs) => tensors(outputs, &metadata.outputs)?,
                None => Vec::new(),
            };
            Ok(Case { inputs: tensors(inputs, &metadata.inputs)?, expected })
        };
        cases.push(case().with_context(|| format!("data {number}"))?);
    }
    Ok(cases)
}

fn tensors(values: &Map<String, Value>, declared: &[Input]) -> Result<Vec<Tensor>> {
    values
        .iter()
        .map(|(name, value)| {
            let declared = declared.iter().find(|input| input.name == *name);
            let declared = declared.with_context(|| format!("the model has no '{name}'"))?;
            tensor(declared, value).with_context(|| format!("'{name}'"))
        })
        .collect()
}

fn tensor(declared: &Input, value: &Value) -> Result<Tensor> {
    let datatype: Datatype = declared.datatype.parse()?;
    let (content, given) = match value {
        Value::Object(value) => {
            ensure!(
                !value.contains_key("b64"),
                "base64 is not read: give a list of numbers, or use --input-file"
            );
            let content = value.get("content").context("expected 'content'")?;
            let shape: Option<Vec<i64>> =
                value.get("shape").map(|shape| serde_json::from_value(shape.clone())).transpose()?;
            (content, shape)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => (value, None),
    };
    let text = serde_json::to_vec(&json!({ declared.name.as_str(): content }))?;
    let mut read = decode_named_tensors(&text, |_| Some(datatype))?;
    let read = read.pop().context("expected a list")?;
    let shape = shape(&declared.shape, given.unwrap_or_else(|| read.shape.clone()))?;
    let count: i64 = read.shape.iter().product();
    ensure!(shape.iter().product::<i64>() == count, "its {count} elements don't fill the shape {shape:?}");
    Ok(Tensor { name: Arc::from(declared.name.as_str()), shape, ..read })
}

/// The whole shape of given data:
///
/// - the given shape, if it fits the declared one
/// - the same with a batch of one before it, if only the batch is missing
/// - the declared shape, if it has one variable dimension and the data is flat
fn shape(declared: &[i64], given: Vec<i64>) -> Result<Vec<i64>> {
    let fits = |shape: &[i64]| {
        shape.len() == declared.len()
            && shape.iter().zip(declared).all(|(size, declared)| *declared < 0 || size == declared)
    };
    if fits(&given) {
        return Ok(given);
    }
    let batched: Vec<i64> = std::iter::once(1).chain(given.iter().copied()).collect();
    if fits(&batched) {
        return Ok(batched);
    }
    let count: i64 = given.iter().product();
    let fixed: i64 = declared.iter().filter(|size| **size >= 0).product();
    let variable = declared.iter().filter(|size| **size < 0).count();
    match variable {
        0 if count == fixed => Ok(declared.to_vec()),
        1 if fixed > 0 && count % fixed == 0 => {
            Ok(declared.iter().map(|&size| if size < 0 { count / fixed } else { size }).collect())
        }
        _ => bail!("shape {given:?} doesn't fit the declared {declared:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let input = |name: &str, shape: &[i64]| Input {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: shape.to_vec(),
        };
        Metadata { inputs: vec![input("x", &[-1, 2])], outputs: vec![input("y", &[-1, 1])] }
    }

    #[test]
    fn flat_and_nested_data_find_their_shapes() {
        let text =
            br#"{"data": [{"x": [1, 2]}, {"x": [1, 2, 3, 4]}, {"x": {"content": [5, 6], "shape": [2]}},
            {"x": [[1, 2], [3, 4]]}], "validation_data": [{"y": [3]}, {"y": [[3], [7]]}, {"y": [11]}, {}]}"#;
        let cases = parse(text, &metadata()).unwrap();
        let shapes: Vec<_> = cases.iter().map(|case| case.inputs[0].shape.clone()).collect();
        assert_eq!(shapes, [[1, 2], [2, 2], [1, 2], [2, 2]]);
        assert_eq!(cases[1].expected[0].shape, [2, 1]);
        assert_eq!(cases[0].expected[0].data[..], 3.0_f32.to_le_bytes());
        assert!(cases[3].expected.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, said) in [
            (r#"{"data": [{}]}"#, "data 0: input 'x' is missing"),
            (r#"{"data": [{"x": [1, 2], "z": [1]}]}"#, "the model has no 'z'"),
            (r#"{"data": [{"x": [1, 2, 3]}]}"#, "doesn't fit"),
            (r#"{"data": [{"x": {"content": [1], "shape": [2]}}]}"#, "don't fill"),
            (r#"{"data": [{"x": {"b64": "AAAA"}}]}"#, "base64"),
            (r#"{"data": [{"x": [1, 2]}], "validation_data": [{}, {}]}"#, "1 data and 2"),
            (r#"{"data": []}"#, "no data"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes(), &metadata()).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
