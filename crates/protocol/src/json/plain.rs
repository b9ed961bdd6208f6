//! The simplest JSON for tensors, for clients without a library: `{"x": [[1.0,
//! 2.0]], "y": [[3]]}` in, the same form out. Shapes follow from the nesting.

use std::sync::Arc;

use bytes::Bytes;

use super::numbers::read_data;
use super::scan::Scanner;
use super::write::{Elements, write_string};
use crate::{Datatype, NonFinite, ProtocolError, Tensor};

/// Whether JSON text looks like a request of the Open Inference Protocol: an
/// object whose `inputs` is an array of objects.
#[must_use]
pub fn is_inference_request(text: &[u8]) -> bool {
    let mut found = false;
    // The later full parse reports text that is not JSON.
    let _ = Scanner::new(text).object(|scanner, key| {
        if key == "inputs" {
            let mut inside = scanner.clone();
            found = inside.eat(b'[') && matches!(inside.peek(), Some(b'{' | b']'));
        }
        scanner.skip().map(|_| ())
    });
    found
}

/// Reads an object of nested arrays by input name. `datatype_of` tells the
/// datatype that the model expects. If it is unknown, the values decide:
///
/// - INT64 for numbers that are all written without a point
/// - BOOL for booleans
/// - BYTES for strings
/// - FP32 otherwise
///
/// # Errors
/// If it is not such an object, if arrays are ragged, or if the datatype can't
/// hold the numbers.
pub fn decode_named_tensors(
    text: &[u8],
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Tensor>, ProtocolError> {
    let mut scanner = Scanner::new(text);
    let tensors = read_by_name(&mut scanner, datatype_of)?;
    scanner.end()?;
    Ok(tensors)
}

/// The same, within other JSON.
pub(super) fn read_by_name(
    scanner: &mut Scanner<'_>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Tensor>, ProtocolError> {
    let mut tensors = Vec::new();
    scanner.object(|scanner, name| {
        if tensors.iter().any(|known: &Tensor| *known.name == *name) {
            return Err(scanner.error("an input that is given twice".to_owned()));
        }
        tensors.push(read_tensor(scanner, name, &datatype_of)?);
        Ok(())
    })?;
    Ok(tensors)
}

/// Reads one input's nested arrays; see [`decode_named_tensors`].
///
/// # Errors
/// As there.
pub fn decode_named_tensor(
    name: &str,
    text: &[u8],
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Tensor, ProtocolError> {
    let mut scanner = Scanner::new(text);
    let tensor = read_tensor(&mut scanner, name, datatype_of)?;
    scanner.end()?;
    Ok(tensor)
}

/// The kind of a JSON text, with its article: `an array`.
///
/// # Errors
/// If it is not JSON.
pub fn kind(text: &[u8]) -> Result<&'static str, ProtocolError> {
    let mut scanner = Scanner::new(text);
    let kind = match scanner.peek() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't') => "true",
        Some(b'f') => "false",
        Some(b'n') => "null",
        _ => "a number",
    };
    scanner.skip()?;
    scanner.end()?;
    Ok(kind)
}

/// Reads nested arrays into a tensor; see [`decode_named_tensors`] for its
/// datatype.
pub(super) fn read_tensor(
    scanner: &mut Scanner<'_>,
    name: &str,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Tensor, ProtocolError> {
    let shape = shape_of(&mut scanner.clone(), name)?;
    let datatype = match datatype_of(name) {
        Some(datatype) => datatype,
        None => datatype_in(scanner.clone().skip()?),
    };
    let mut data = Vec::new();
    read_data(scanner, name, datatype, &mut data)?;
    Ok(Tensor { name: Arc::from(name), datatype, shape, data: Bytes::from(data) })
}

/// The shape of nested arrays; all arrays at one level must have the same
/// shape.
pub(super) fn shape_of(scanner: &mut Scanner<'_>, name: &str) -> Result<Vec<i64>, ProtocolError> {
    if scanner.peek() != Some(b'[') {
        scanner.skip()?;
        return Ok(Vec::new());
    }
    let mut length: i64 = 0;
    let mut inner: Option<Vec<i64>> = None;
    scanner.array(|scanner| {
        let shape = shape_of(scanner, name)?;
        length += 1;
        match &inner {
            Some(first) if *first != shape => Err(ProtocolError::invalid(format!(
                "input '{name}': its arrays are ragged: one has shape {first:?}, another {shape:?}"
            ))),
            Some(_) => Ok(()),
            None => {
                inner = Some(shape);
                Ok(())
            }
        }
    })?;
    let mut shape = vec![length];
    shape.extend(inner.unwrap_or_default());
    Ok(shape)
}

pub(super) fn datatype_in(value: &[u8]) -> Datatype {
    let mut inside = value.iter().filter(|byte| !matches!(byte, b'[' | b' ' | b'\n' | b'\r' | b'\t'));
    match inside.next() {
        Some(b't' | b'f') => Datatype::Bool,
        Some(b'"') => Datatype::Bytes,
        _ if value.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E' | b'N' | b'I')) => Datatype::Fp32,
        Some(b']') | None => Datatype::Fp32,
        Some(_) => Datatype::Int64,
    }
}

/// Writes tensors as an object of nested arrays by output name.
#[must_use]
pub fn write_named_tensors(tensors: &[Tensor], non_finite: NonFinite) -> Vec<u8> {
    let mut out = Vec::with_capacity(likely_length(tensors));
    write_by_name(&mut out, tensors, non_finite);
    out
}

/// The approximate length of tensors in JSON.
pub(super) fn likely_length(tensors: &[Tensor]) -> usize {
    64 + tensors.iter().map(|tensor| tensor.data.len() * 3).sum::<usize>()
}

/// The same, within other JSON.
pub(super) fn write_by_name(out: &mut Vec<u8>, tensors: &[Tensor], non_finite: NonFinite) {
    out.push(b'{');
    for (index, tensor) in tensors.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, &tensor.name);
        out.push(b':');
        write_nested(out, &mut Elements::new(tensor, non_finite), &tensor.shape);
    }
    out.push(b'}');
}

pub(super) fn write_nested(out: &mut Vec<u8>, elements: &mut Elements<'_>, shape: &[i64]) {
    let mut first = true;
    let Some((&length, inner)) = shape.split_first() else {
        elements.write_next(out, &mut first);
        return;
    };
    out.push(b'[');
    for index in 0..length {
        if inner.is_empty() {
            if !elements.write_next(out, &mut first) {
                break;
            }
        } else {
            if index > 0 {
                out.push(b',');
            }
            write_nested(out, elements, inner);
        }
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_datatypes_come_from_the_text_where_nothing_else_tells() {
        let text = br#"{"a": [[1, 2], [3, 4]], "b": [0.5], "c": true, "d": ["x"], "e": [], "f": [1, 2]}"#;
        let tensors = decode_named_tensors(text, |name| (name == "f").then_some(Datatype::Fp32)).unwrap();
        let seen: Vec<_> =
            tensors.iter().map(|t| (&*t.name, t.datatype, t.shape.clone(), t.data.len())).collect();
        assert_eq!(
            seen,
            [
                ("a", Datatype::Int64, vec![2, 2], 32),
                ("b", Datatype::Fp32, vec![1], 4),
                ("c", Datatype::Bool, vec![], 1),
                ("d", Datatype::Bytes, vec![1], 5),
                ("e", Datatype::Fp32, vec![0], 0),
                ("f", Datatype::Fp32, vec![2], 8),
            ]
        );
        assert_eq!(
            String::from_utf8(write_named_tensors(&tensors, NonFinite::Null)).unwrap(),
            r#"{"a":[[1,2],[3,4]],"b":[0.5],"c":true,"d":["x"],"e":[],"f":[1.0,2.0]}"#
        );
    }

    #[test]
    fn what_is_no_object_is_named() {
        for (text, name) in [
            ("[[1, 2]]", "an array"),
            (" \"x\" ", "a string"),
            ("-1.5", "a number"),
            ("NaN", "a number"),
            ("true", "true"),
            ("null", "null"),
        ] {
            assert_eq!(kind(text.as_bytes()), Ok(name), "{text}");
        }
        for text in ["abc", "", "[1", "1 2", "truth"] {
            assert!(kind(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn ragged_arrays_are_named() {
        let error = decode_named_tensors(br#"{"x": [[1, 2], [3]]}"#, |_| None).unwrap_err();
        assert_eq!(error.to_string(), "input 'x': its arrays are ragged: one has shape [2], another [1]");
    }
}
