//! Rows of unequal lengths, such as texts. Each row becomes the tensors of its
//! own request. The forms are the same that hold one tensor for all rows of
//! equal length.

use super::columns::PredictForm;
use super::instances::write_predictions;
use super::plain::{read_tensor, write_nested};
use super::scan::Scanner;
use super::write::{Elements, write_string};
use crate::{Datatype, NonFinite, ProtocolError, Tensor};

/// Reads an object of arrays by input name row by row, each with a first
/// dimension of 1; see [`super::decode_named_tensors`].
///
/// # Errors
/// If it is not such an object, or if inputs differ in their number of rows.
pub fn decode_named_rows(
    text: &[u8],
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Vec<Tensor>>, ProtocolError> {
    let mut scanner = Scanner::new(text);
    let rows = by_name(&mut scanner, &datatype_of)?;
    scanner.end()?;
    Ok(rows)
}

/// Reads the forms of [`super::decode_predict`] row by row.
///
/// # Errors
/// Those of [`super::decode_predict`].
pub fn decode_predict_rows(
    text: &[u8],
    only_input: Option<&str>,
    datatype_of: impl Fn(&str) -> Option<Datatype>,
) -> Result<(PredictForm, Vec<Vec<Tensor>>), ProtocolError> {
    let mut found = None;
    let mut scanner = Scanner::new(text);
    scanner.object(|scanner, key| {
        let form = match key {
            "instances" => PredictForm::Rows,
            "inputs" => PredictForm::Columns,
            _ => return scanner.skip().map(|_| ()),
        };
        let rows = match (form, scanner.peek()) {
            (PredictForm::Columns, Some(b'{')) => by_name(scanner, &datatype_of)?,
            (PredictForm::Rows | PredictForm::Columns, _) => listed(scanner, only_input, &datatype_of)?,
        };
        found = Some((form, rows));
        Ok(())
    })?;
    scanner.end()?;
    found.ok_or_else(|| ProtocolError::invalid("the request has neither 'instances' nor 'inputs'"))
}

/// `{"ids": [[1, 2], [3]], "mask": [[1, 1], [1]]}`
fn by_name(
    scanner: &mut Scanner<'_>,
    datatype_of: &impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Vec<Tensor>>, ProtocolError> {
    let mut rows: Vec<Vec<Tensor>> = Vec::new();
    let mut inputs = 0;
    scanner.object(|scanner, name| {
        let mut row = 0;
        scanner.array(|scanner| {
            if inputs == 0 {
                rows.push(Vec::new());
            }
            match rows.get_mut(row) {
                Some(of_row) => of_row.push(of_one(read_tensor(scanner, name, datatype_of)?)),
                None => return Err(unequal(name, "more")),
            }
            row += 1;
            Ok(())
        })?;
        inputs += 1;
        if row == rows.len() { Ok(()) } else { Err(unequal(name, "fewer")) }
    })?;
    Ok(rows)
}

/// `[[1, 2], [3]]`, or objects by input name.
fn listed(
    scanner: &mut Scanner<'_>,
    only_input: Option<&str>,
    datatype_of: &impl Fn(&str) -> Option<Datatype>,
) -> Result<Vec<Vec<Tensor>>, ProtocolError> {
    let mut rows = Vec::new();
    scanner.array(|scanner| {
        let mut row = Vec::new();
        if scanner.peek() == Some(b'{') {
            scanner.object(|scanner, name| {
                row.push(of_one(read_tensor(scanner, name, datatype_of)?));
                Ok(())
            })?;
        } else if let Some(name) = only_input {
            row.push(of_one(read_tensor(scanner, name, datatype_of)?));
        } else {
            return Err(ProtocolError::invalid(
                "the model hasn't just one input: expected each row to be an object by input name",
            ));
        }
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

fn unequal(name: &str, than: &str) -> ProtocolError {
    ProtocolError::invalid(format!("input '{name}' has {than} rows than the inputs before it"))
}

/// A row as a batch of one.
fn of_one(mut row: Tensor) -> Tensor {
    row.shape.insert(0, 1);
    row
}

/// Writes each row's outputs, of one row each, as an object of arrays by output
/// name.
#[must_use]
pub fn write_named_rows(rows: &[Vec<Tensor>], non_finite: NonFinite) -> Vec<u8> {
    let mut out = Vec::new();
    write_columns(&mut out, rows, non_finite);
    out
}

/// Writes each row's outputs in the forms of [`super::decode_predict`]'s
/// answers.
///
/// # Errors
/// Those of [`write_predictions`].
pub fn write_predict_rows(
    form: PredictForm,
    rows: &[Vec<Tensor>],
    non_finite: NonFinite,
) -> Result<Vec<u8>, ProtocolError> {
    const HEAD: &[u8] = b"{\"predictions\":[";
    let mut out;
    match form {
        PredictForm::Rows => {
            out = HEAD.to_vec();
            for (index, row) in rows.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let one = write_predictions(row, non_finite)?;
                let inner = one.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(b"]}"));
                out.extend_from_slice(inner.unwrap_or(b"null"));
            }
            out.extend_from_slice(b"]}");
        }
        PredictForm::Columns => {
            out = b"{\"outputs\":".to_vec();
            match rows.first().map(Vec::as_slice) {
                Some([_]) => write_column(&mut out, rows, 0, non_finite),
                _ => write_columns(&mut out, rows, non_finite),
            }
            out.push(b'}');
        }
    }
    Ok(out)
}

fn write_columns(out: &mut Vec<u8>, rows: &[Vec<Tensor>], non_finite: NonFinite) {
    out.push(b'{');
    for (index, output) in rows.first().into_iter().flatten().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, &output.name);
        out.push(b':');
        write_column(out, rows, index, non_finite);
    }
    out.push(b'}');
}

fn write_column(out: &mut Vec<u8>, rows: &[Vec<Tensor>], index: usize, non_finite: NonFinite) {
    out.push(b'[');
    for (row, tensor) in rows.iter().filter_map(|row| row.get(index)).enumerate() {
        if row > 0 {
            out.push(b',');
        }
        write_nested(out, &mut Elements::new(tensor, non_finite), tensor.shape.get(1..).unwrap_or(&[]));
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(rows: &[Vec<Tensor>]) -> Vec<Vec<(&str, &[i64])>> {
        rows.iter().map(|row| row.iter().map(|t| (&*t.name, t.shape.as_slice())).collect()).collect()
    }

    #[test]
    fn rows_of_any_length_are_read_and_written_in_each_form() {
        let named =
            decode_named_rows(br#"{"a": [[1, 2], [3]], "b": [[1, 1], [1]]}"#, |_| Some(Datatype::Int64))
                .unwrap();
        assert_eq!(
            shapes(&named),
            [[("a", &[1, 2][..]), ("b", &[1, 2])], [("a", &[1, 1][..]), ("b", &[1, 1])]]
        );
        assert_eq!(write_named_rows(&named, NonFinite::Null), br#"{"a":[[1,2],[3]],"b":[[1,1],[1]]}"#);

        let (form, rows) =
            decode_predict_rows(br#"{"instances": [[1, 2], [3]]}"#, Some("a"), |_| None).unwrap();
        let written = write_predict_rows(form, &rows, NonFinite::Null).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), r#"{"predictions":[[1,2],[3]]}"#);

        let objects = br#"{"instances": [{"a": [1, 2], "b": 1}, {"a": [3], "b": 2}]}"#;
        let (form, rows) = decode_predict_rows(objects, None, |_| None).unwrap();
        let written = write_predict_rows(form, &rows, NonFinite::Null).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"predictions":[{"a":[1,2],"b":1},{"a":[3],"b":2}]}"#
        );

        let (form, rows) = decode_predict_rows(br#"{"inputs": {"a": [[1], []]}}"#, None, |_| None).unwrap();
        let written = write_predict_rows(form, &rows, NonFinite::Null).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), r#"{"outputs":[[1],[]]}"#);
    }

    #[test]
    fn inputs_have_as_many_rows_each() {
        for (text, message) in [
            (&br#"{"a": [[1]], "b": [[1], [2]]}"#[..], "input 'b' has more rows than the inputs before it"),
            (br#"{"a": [[1], [2]], "b": [[1]]}"#, "input 'b' has fewer rows than the inputs before it"),
        ] {
            assert_eq!(decode_named_rows(text, |_| None).unwrap_err().to_string(), message);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"\{"(inputs|instances|a)":[\[\]\{\}0-9,.:"a-]{0,40}\}?"#) {
            let _ = decode_named_rows(text.as_bytes(), |_| None);
            let _ = decode_predict_rows(text.as_bytes(), Some("a"), |_| None);
        }
    }
}
