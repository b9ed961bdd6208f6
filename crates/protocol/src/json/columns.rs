//! The body of `:predict`. It holds one of two forms:
//!
//! - rows under `instances`, as in KServe's first protocol
//! - whole tensors under `inputs`, TensorFlow Serving's column form, answered
//!   under `outputs`

use super::instances::read_instances;
use super::plain::{likely_length, read_by_name, read_tensor, write_by_name, write_nested};
use super::scan::Scanner;
use super::write::Elements;
use crate::{Datatype, NonFinite, ProtocolError, Tensor};

/// The only signature, which every model has.
const SIGNATURE: &str = "serving_default";

/// The form of a request's tensors, and of its answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictForm {
    /// One row after another: `instances`, `predictions`.
    Rows,
    /// One tensor after another: `inputs`, `outputs`.
    Columns,
}

impl PredictForm {
    fn of(key: &str) -> Option<Self> {
        match key {
            "instances" => Some(Self::Rows),
            "inputs" => Some(Self::Columns),
            _ => None,
        }
    }
}

/// Reads either form. Values without names go to `only_input`. `datatype_of`
/// tells the datatype that the model expects, as for
/// [`super::decode_named_tensors`].
///
/// # Errors
/// If there is neither form or both, if the signature is unknown, or if the
/// values are wrong.
pub fn decode_predict(
    text: &[u8],
    only_input: Option<&str>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<(PredictForm, Vec<Tensor>), ProtocolError> {
    let mut found: Option<(PredictForm, Vec<Tensor>)> = None;
    let mut scanner = Scanner::new(text);
    scanner.object(|scanner, key| {
        if key == "signature_name" {
            return check_signature(scanner);
        }
        let Some(form) = PredictForm::of(key) else { return scanner.skip().map(|_| ()) };
        match &found {
            None => {}
            Some((known, _)) if *known == form => {
                return Err(scanner.error(format!("'{key}' that are given twice")));
            }
            Some(_) => {
                return Err(ProtocolError::invalid(
                    "the request has 'instances' and 'inputs': expected one of them, rows or whole tensors",
                ));
            }
        }
        let tensors = match form {
            PredictForm::Rows => read_instances(scanner, only_input, &datatype_of)?,
            PredictForm::Columns => read_columns(scanner, only_input, &datatype_of)?,
        };
        found = Some((form, tensors));
        Ok(())
    })?;
    scanner.end()?;
    found.ok_or_else(|| ProtocolError::invalid("the request has neither 'instances' nor 'inputs'"))
}

/// Clients of TensorFlow Serving name the signature; an empty name is the
/// default there.
fn check_signature(scanner: &mut Scanner<'_>) -> Result<(), ProtocolError> {
    let name = scanner.string()?;
    if name.is_empty() || name == SIGNATURE {
        return Ok(());
    }
    Err(ProtocolError::invalid(format!(
        "'signature_name' is '{name}': a model has one signature, '{SIGNATURE}'"
    )))
}

/// `{"x": [[1, 2]], "y": [3]}`, or the tensor of the only input without a name.
fn read_columns(
    scanner: &mut Scanner<'_>,
    only_input: Option<&str>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Tensor>, ProtocolError> {
    let mut inside = scanner.clone();
    if inside.eat(b'[') && inside.peek() == Some(b'{') {
        return Err(ProtocolError::invalid(
            "'inputs' is an array of objects, as /v2/models/{model}/infer takes it: expected an object of arrays by \
             input name, or the array of a model's one input",
        ));
    }
    match (scanner.peek(), only_input) {
        (Some(b'{'), _) => read_by_name(scanner, datatype_of),
        (_, Some(name)) => Ok(vec![read_tensor(scanner, name, datatype_of)?]),
        (_, None) => Err(ProtocolError::invalid(
            "the model hasn't just one input: expected 'inputs' to be an object by input name",
        )),
    }
}

/// Writes outputs as columns: the array alone if there is one output, else an
/// object by output name.
#[must_use]
pub fn write_outputs(outputs: &[Tensor], non_finite: NonFinite) -> Vec<u8> {
    let mut out = Vec::with_capacity(likely_length(outputs));
    out.extend_from_slice(b"{\"outputs\":");
    if let [only] = outputs {
        write_nested(&mut out, &mut Elements::new(only, non_finite), &only.shape);
    } else {
        write_by_name(&mut out, outputs, non_finite);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, only: Option<&str>) -> Result<(PredictForm, Vec<Tensor>), String> {
        let datatype_of = |name: &str| (name == "x").then_some(Datatype::Fp32);
        decode_predict(text.as_bytes(), only, datatype_of).map_err(|error| error.to_string())
    }

    fn written(tensors: &[Tensor]) -> String {
        String::from_utf8(write_outputs(tensors, NonFinite::Null)).unwrap()
    }

    #[test]
    fn columns_are_tensors_as_they_stand_and_come_back() {
        let (form, tensors) =
            decode(r#"{"signature_name": "serving_default", "inputs": [[1, 2.5], [3, 4]]}"#, Some("x"))
                .unwrap();
        assert_eq!(
            (form, &*tensors[0].name, &tensors[0].shape[..]),
            (PredictForm::Columns, "x", &[2, 2][..])
        );
        assert_eq!(written(&tensors), r#"{"outputs":[[1.0,2.5],[3.0,4.0]]}"#);

        let (form, tensors) =
            decode(r#"{"inputs": {"x": [[1], [2]], "n": 7}, "signature_name": ""}"#, None).unwrap();
        let seen: Vec<_> = tensors.iter().map(|t| (&*t.name, t.datatype, t.shape.clone())).collect();
        assert_eq!(form, PredictForm::Columns);
        assert_eq!(seen, [("x", Datatype::Fp32, vec![2, 1]), ("n", Datatype::Int64, vec![])]);
        assert_eq!(written(&tensors), r#"{"outputs":{"x":[[1.0],[2.0]],"n":7}}"#);
    }

    #[test]
    fn rows_are_read_as_they_were() {
        let (form, tensors) =
            decode(r#"{"instances": [{"x": [1, 2]}, {"x": [3, 4]}], "more": {}}"#, None).unwrap();
        assert_eq!((form, &tensors[0].shape[..]), (PredictForm::Rows, &[2, 2][..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, only, message) in [
            ("{}", Some("x"), "the request has neither 'instances' nor 'inputs'"),
            (
                r#"{"inputs": [1], "instances": [1]}"#,
                Some("x"),
                "the request has 'instances' and 'inputs': expected one of them, rows or whole tensors",
            ),
            (
                r#"{"inputs": [1], "inputs": [1]}"#,
                Some("x"),
                "invalid JSON at byte 25: 'inputs' that are given twice",
            ),
            (
                r#"{"inputs": [1], "signature_name": "train"}"#,
                Some("x"),
                "'signature_name' is 'train': a model has one signature, 'serving_default'",
            ),
            (
                r#"{"inputs": [1]}"#,
                None,
                "the model hasn't just one input: expected 'inputs' to be an object by input name",
            ),
            (
                r#"{"inputs": [{"name": "x"}]}"#,
                Some("x"),
                "'inputs' is an array of objects, as /v2/models/{model}/infer takes it: expected an object of arrays \
                 by input name, or the array of a model's one input",
            ),
            (
                r#"{"inputs": {"x": [[1], [2, 3]]}}"#,
                None,
                "input 'x': its arrays are ragged: one has shape [1], another [2]",
            ),
        ] {
            assert_eq!(decode(text, only).map(|(form, _)| form), Err(message.to_owned()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"\{"inputs":[\[\]\{\}0-9,.:"x-]{0,40}\}?"#) {
            let _ = decode(&text, Some("x"));
        }
    }
}
