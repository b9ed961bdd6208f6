//! Typed contents: a tensor's elements as numbers, in the field that belongs
//! to its datatype.

use bytes::Bytes;

use super::proto::InferTensorContents;
use crate::error::{Error, Result};
use cresset_protocol::Datatype;

/// The elements' bytes, and how many elements there were.
pub(super) fn read(
    name: &str,
    datatype: Datatype,
    contents: InferTensorContents,
) -> Result<(usize, Vec<u8>)> {
    let belongs = field(datatype).ok_or_else(|| {
        Error::invalid(format!(
            "input '{name}': {datatype} has no typed contents: send it in raw_input_contents"
        ))
    })?;
    if let Some(filled) = filled(&contents).find(|filled| *filled != belongs) {
        return Err(Error::invalid(format!(
            "input '{name}': {datatype} stands in {belongs}, but {filled} has elements"
        )));
    }
    let out_of_range = |value: &dyn std::fmt::Display| {
        Error::invalid(format!("input '{name}': expected numbers of datatype {datatype}, got {value}"))
    };
    let c = contents;
    match datatype {
        Datatype::Bool => Ok((c.bool_contents.len(), c.bool_contents.into_iter().map(u8::from).collect())),
        Datatype::Int8 => narrow(&c.int_contents, i8::to_le_bytes, out_of_range),
        Datatype::Int16 => narrow(&c.int_contents, i16::to_le_bytes, out_of_range),
        Datatype::Uint8 => narrow(&c.uint_contents, u8::to_le_bytes, out_of_range),
        Datatype::Uint16 => narrow(&c.uint_contents, u16::to_le_bytes, out_of_range),
        Datatype::Int32 => Ok(whole(&c.int_contents, i32::to_le_bytes)),
        Datatype::Int64 => Ok(whole(&c.int64_contents, i64::to_le_bytes)),
        Datatype::Uint32 => Ok(whole(&c.uint_contents, u32::to_le_bytes)),
        Datatype::Uint64 => Ok(whole(&c.uint64_contents, u64::to_le_bytes)),
        Datatype::Fp32 => Ok(whole(&c.fp32_contents, f32::to_le_bytes)),
        Datatype::Fp64 => Ok(whole(&c.fp64_contents, f64::to_le_bytes)),
        Datatype::Bytes => strings(name, &c.bytes_contents),
        // They have no field, and were refused above.
        Datatype::Fp16 | Datatype::Bf16 => Ok((0, Vec::new())),
    }
}

/// Whether they have no elements.
pub(super) fn is_empty(contents: &InferTensorContents) -> bool {
    filled(contents).next().is_none()
}

/// The field for a datatype's elements.
fn field(datatype: Datatype) -> Option<&'static str> {
    match datatype {
        Datatype::Bool => Some("bool_contents"),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => Some("int_contents"),
        Datatype::Int64 => Some("int64_contents"),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => Some("uint_contents"),
        Datatype::Uint64 => Some("uint64_contents"),
        Datatype::Fp32 => Some("fp32_contents"),
        Datatype::Fp64 => Some("fp64_contents"),
        Datatype::Bytes => Some("bytes_contents"),
        Datatype::Fp16 | Datatype::Bf16 => None,
    }
}

/// The fields that hold elements.
fn filled(contents: &InferTensorContents) -> impl Iterator<Item = &'static str> {
    let c = contents;
    [
        ("bool_contents", c.bool_contents.is_empty()),
        ("int_contents", c.int_contents.is_empty()),
        ("int64_contents", c.int64_contents.is_empty()),
        ("uint_contents", c.uint_contents.is_empty()),
        ("uint64_contents", c.uint64_contents.is_empty()),
        ("fp32_contents", c.fp32_contents.is_empty()),
        ("fp64_contents", c.fp64_contents.is_empty()),
        ("bytes_contents", c.bytes_contents.is_empty()),
    ]
    .into_iter()
    .filter_map(|(field, empty)| (!empty).then_some(field))
}

fn whole<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> (usize, Vec<u8>) {
    (values.len(), values.iter().flat_map(|value| bytes(*value)).collect())
}

/// Elements that travel in a wider type than theirs.
fn narrow<W: Copy + std::fmt::Display, T: TryFrom<W>, const N: usize>(
    values: &[W],
    bytes: fn(T) -> [u8; N],
    out_of_range: impl Fn(&dyn std::fmt::Display) -> Error,
) -> Result<(usize, Vec<u8>)> {
    let mut out = Vec::with_capacity(values.len() * N);
    for value in values {
        let narrowed = T::try_from(*value).map_err(|_| out_of_range(value))?;
        out.extend_from_slice(&bytes(narrowed));
    }
    Ok((values.len(), out))
}

/// Strings, each behind its length.
fn strings(name: &str, values: &[Bytes]) -> Result<(usize, Vec<u8>)> {
    let mut out = Vec::with_capacity(values.iter().map(|value| value.len() + 4).sum());
    for value in values {
        let length = u32::try_from(value.len())
            .map_err(|_| Error::invalid(format!("input '{name}': a string of {} bytes", value.len())))?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value);
    }
    Ok((values.len(), out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_datatype_has_its_field_and_its_size() {
        let contents = InferTensorContents {
            bool_contents: vec![true, false],
            int_contents: vec![-1, 2],
            int64_contents: vec![-3, 4],
            uint_contents: vec![5, 6],
            uint64_contents: vec![7, 8],
            fp32_contents: vec![0.5, -0.5],
            fp64_contents: vec![0.25, -0.25],
            bytes_contents: vec![Bytes::from_static(b"ab"), Bytes::new()],
        };
        let names: Vec<_> = filled(&contents).collect();
        assert_eq!(names.len(), 8);
        for datatype in Datatype::all() {
            let Some(own) = field(datatype) else {
                let error = read("x", datatype, InferTensorContents::default()).unwrap_err();
                assert!(error.message().ends_with("send it in raw_input_contents"), "{error}");
                continue;
            };
            // All but its own field emptied.
            let mut one = InferTensorContents::default();
            match own {
                "bool_contents" => one.bool_contents.clone_from(&contents.bool_contents),
                "int_contents" => one.int_contents.clone_from(&contents.int_contents),
                "int64_contents" => one.int64_contents.clone_from(&contents.int64_contents),
                "uint_contents" => one.uint_contents.clone_from(&contents.uint_contents),
                "uint64_contents" => one.uint64_contents.clone_from(&contents.uint64_contents),
                "fp32_contents" => one.fp32_contents.clone_from(&contents.fp32_contents),
                "fp64_contents" => one.fp64_contents.clone_from(&contents.fp64_contents),
                "bytes_contents" => one.bytes_contents.clone_from(&contents.bytes_contents),
                other => panic!("{other}"),
            }
            let (count, bytes) = read("x", datatype, one).unwrap();
            assert_eq!(count, 2, "{datatype}");
            assert_eq!(bytes.len(), datatype.size().map_or(10, |size| 2 * size), "{datatype}");
        }
        let bools = InferTensorContents { bool_contents: vec![true, false], ..Default::default() };
        assert_eq!(read("x", Datatype::Bool, bools), Ok((2, vec![1, 0])));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let ints =
            |values: &[i32]| InferTensorContents { int_contents: values.to_vec(), ..Default::default() };
        assert_eq!(read("x", Datatype::Int8, ints(&[-128, 127])), Ok((2, vec![0x80, 0x7f])));
        assert_eq!(
            read("x", Datatype::Int8, ints(&[128])).unwrap_err().message(),
            "input 'x': expected numbers of datatype INT8, got 128"
        );
        assert_eq!(
            read("x", Datatype::Fp32, ints(&[1])).unwrap_err().message(),
            "input 'x': FP32 stands in fp32_contents, but int_contents has elements"
        );
    }
}
