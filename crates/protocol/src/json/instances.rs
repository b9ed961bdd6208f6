//! KServe's first protocol: `{"instances": [...]}` in and `{"predictions":
//! [...]}` out, one item for each row. A row is an array, or an object by name
//! if a model has several inputs or outputs.

use std::sync::Arc;

use bytes::Bytes;

use super::numbers::read_data;
use super::plain::{datatype_in, likely_length, read_tensor, shape_of, write_nested};
use super::scan::Scanner;
use super::write::{Elements, write_string};
use crate::{Datatype, NonFinite, ProtocolError, Tensor};

/// Reads the value of `instances` into tensors with one row for each instance,
/// as [`super::decode_predict`] says.
pub(super) fn read_instances(
    scanner: &mut Scanner<'_>,
    only_input: Option<&str>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Tensor>, ProtocolError> {
    let mut inside = scanner.clone();
    let named = inside.eat(b'[') && inside.peek() == Some(b'{');
    match (named, only_input) {
        (true, _) => read_named(scanner, datatype_of),
        (false, Some(name)) => Ok(vec![read_rows(scanner, name, datatype_of)?]),
        (false, None) => Err(ProtocolError::invalid(
            "the model hasn't just one input: expected each of 'instances' to be an object by input name",
        )),
    }
}

/// `[[1, 2], [3, 4]]`: the tensor itself.
fn read_rows(
    scanner: &mut Scanner<'_>,
    name: &str,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Tensor, ProtocolError> {
    if scanner.peek() != Some(b'[') {
        return Err(scanner.unexpected("an array of instances"));
    }
    read_tensor(scanner, name, datatype_of)
}

/// An input whose rows are being read.
struct Column {
    name: String,
    datatype: Datatype,
    /// The shape of one row.
    shape: Vec<i64>,
    data: Vec<u8>,
    rows: i64,
}

/// `[{"a": 1, "b": [2]}, {"b": [4], "a": 3}]`
fn read_named(
    scanner: &mut Scanner<'_>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Tensor>, ProtocolError> {
    let mut columns: Vec<Column> = Vec::new();
    let mut rows = 0;
    scanner.array(|scanner| {
        scanner.object(|scanner, name| {
            let shape = shape_of(&mut scanner.clone(), name)?;
            let index = match columns.iter().position(|column| column.name == name) {
                Some(index) => index,
                None => {
                    let datatype = match datatype_of(name) {
                        Some(datatype) => datatype,
                        None => datatype_in(scanner.clone().skip()?),
                    };
                    let (name, shape) = (name.to_owned(), shape.clone());
                    columns.push(Column { name, datatype, shape, data: Vec::new(), rows: 0 });
                    columns.len() - 1
                }
            };
            let column = &mut columns[index];
            if column.shape != shape {
                return Err(ProtocolError::invalid(format!(
                    "input '{name}': instance {rows} has shape {shape:?}, those before it {:?}",
                    column.shape
                )));
            }
            read_data(scanner, name, column.datatype, &mut column.data)?;
            column.rows += 1;
            Ok(())
        })?;
        rows += 1;
        match columns.iter().find(|column| column.rows != rows) {
            None => Ok(()),
            Some(column) => Err(ProtocolError::invalid(format!(
                "input '{}' is given {} times in {rows} instances: once in each is expected",
                column.name, column.rows
            ))),
        }
    })?;
    let tensor = |column: Column| Tensor {
        name: Arc::from(column.name),
        datatype: column.datatype,
        shape: std::iter::once(rows).chain(column.shape).collect(),
        data: Bytes::from(column.data),
    };
    Ok(columns.into_iter().map(tensor).collect())
}

/// Writes outputs as predictions, one for each row: arrays if there is one
/// output, else objects by output name.
///
/// # Errors
/// If several outputs differ in their number of rows.
pub fn write_predictions(outputs: &[Tensor], non_finite: NonFinite) -> Result<Vec<u8>, ProtocolError> {
    write_under(b"{\"predictions\":", outputs, non_finite)
}

/// Writes inputs as instances, as a client does, one for each row: arrays if
/// there is one input, else objects by input name.
///
/// # Errors
/// If several inputs differ in their number of rows.
pub fn write_instances(inputs: &[Tensor]) -> Result<Vec<u8>, ProtocolError> {
    write_under(b"{\"instances\":", inputs, NonFinite::Words)
}

fn write_under(head: &[u8], outputs: &[Tensor], non_finite: NonFinite) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Vec::with_capacity(likely_length(outputs));
    out.extend_from_slice(head);
    if let [only] = outputs {
        write_nested(&mut out, &mut Elements::new(only, non_finite), &only.shape);
    } else {
        let rows = outputs.first().and_then(|output| output.shape.first()).copied().unwrap_or(0);
        if let Some(odd) = outputs.iter().find(|output| output.shape.first() != Some(&rows)) {
            return Err(ProtocolError::invalid(format!(
                "output '{}' has shape {:?}, which isn't a row for each of {rows} predictions: ask by /v2",
                odd.name, odd.shape
            )));
        }
        write_rows(&mut out, outputs, rows, non_finite);
    }
    out.push(b'}');
    Ok(out)
}

fn write_rows(out: &mut Vec<u8>, outputs: &[Tensor], rows: i64, non_finite: NonFinite) {
    let mut elements: Vec<_> = outputs.iter().map(|output| Elements::new(output, non_finite)).collect();
    out.push(b'[');
    for row in 0..rows {
        out.extend_from_slice(if row > 0 { b",{" } else { b"{" });
        for (index, (output, elements)) in outputs.iter().zip(&mut elements).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, &output.name);
            out.push(b':');
            write_nested(out, elements, output.shape.get(1..).unwrap_or(&[]));
        }
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::super::decode_predict;
    use super::*;

    fn decode(text: &str, only: Option<&str>) -> Result<Vec<Tensor>, String> {
        let datatype_of = |name: &str| (name == "x").then_some(Datatype::Fp32);
        decode_predict(text.as_bytes(), only, datatype_of)
            .map(|(_, tensors)| tensors)
            .map_err(|error| error.to_string())
    }

    fn written(tensors: &[Tensor]) -> String {
        String::from_utf8(write_predictions(tensors, NonFinite::Null).unwrap()).unwrap()
    }

    #[test]
    fn rows_become_one_tensor_and_come_back() {
        let tensors =
            decode(r#"{"instances": [[1, 2.5], [3, 4]], "signature_name": "serving_default"}"#, Some("x"))
                .unwrap();
        assert_eq!((&*tensors[0].name, &tensors[0].shape[..]), ("x", &[2, 2][..]));
        assert_eq!(written(&tensors), r#"{"predictions":[[1.0,2.5],[3.0,4.0]]}"#);
        let scalars = decode(r#"{"instances": [1, 2, 3]}"#, Some("y")).unwrap();
        assert_eq!((scalars[0].datatype, &scalars[0].shape[..]), (Datatype::Int64, &[3][..]));
        assert_eq!(written(&scalars), r#"{"predictions":[1,2,3]}"#);
    }

    #[test]
    fn rows_by_name_become_a_tensor_each() {
        let tensors =
            decode(r#"{"instances": [{"x": [1, 2], "n": 7}, {"n": 8, "x": [3, 4]}]}"#, None).unwrap();
        let seen: Vec<_> =
            tensors.iter().map(|t| (&*t.name, t.datatype, t.shape.clone(), t.data.len())).collect();
        assert_eq!(seen, [("x", Datatype::Fp32, vec![2, 2], 16), ("n", Datatype::Int64, vec![2], 16)]);
        assert_eq!(written(&tensors), r#"{"predictions":[{"x":[1.0,2.0],"n":7},{"x":[3.0,4.0],"n":8}]}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, only, message) in [
            ("{}", Some("x"), "the request has neither 'instances' nor 'inputs'"),
            (
                r#"{"instances": 3}"#,
                Some("x"),
                "invalid JSON at byte 14: expected an array of instances, got '3'",
            ),
            (
                r#"{"instances": [[1], [2, 3]]}"#,
                Some("x"),
                "input 'x': its arrays are ragged: one has shape [1], another [2]",
            ),
            (
                r#"{"instances": [[1]]}"#,
                None,
                "the model hasn't just one input: expected each of 'instances' to be an object by input name",
            ),
            (
                r#"{"instances": [{"x": 1}, {"x": [1]}]}"#,
                None,
                "input 'x': instance 1 has shape [1], those before it []",
            ),
            (
                r#"{"instances": [{"x": 1, "n": 1}, {"x": 1}]}"#,
                None,
                "input 'n' is given 1 times in 2 instances: once in each is expected",
            ),
            (
                r#"{"instances": [{"x": 1}, {"x": 1, "n": 1}]}"#,
                None,
                "input 'n' is given 1 times in 2 instances: once in each is expected",
            ),
            (
                r#"{"instances": [{"x": 1, "x": 2}]}"#,
                None,
                "input 'x' is given 2 times in 1 instances: once in each is expected",
            ),
        ] {
            assert_eq!(decode(text, only), Err(message.to_owned()), "{text}");
        }
        let tensor = |shape: &[i64]| Tensor {
            name: Arc::from("y"),
            datatype: Datatype::Uint8,
            shape: shape.to_vec(),
            data: Bytes::from(vec![0; 2]),
        };
        assert_eq!(
            write_predictions(&[tensor(&[2]), tensor(&[1, 2])], NonFinite::Null).unwrap_err().to_string(),
            "output 'y' has shape [1, 2], which isn't a row for each of 2 predictions: ask by /v2"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"\{"instances":[\[\]\{\}0-9,.:"x-]{0,40}\}?"#) {
            let _ = decode(&text, Some("x"));
        }
    }
}
