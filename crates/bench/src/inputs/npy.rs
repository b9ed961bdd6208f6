//! NumPy's `.npy` files: a header that is a Python literal, then the elements.
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use cresset_protocol::Datatype;

/// An array in the protocol's terms.
#[derive(Debug, PartialEq)]
pub(super) struct Array {
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<i64>,
    pub(super) data: Bytes,
}

pub(super) fn read(file: &[u8]) -> Result<Array> {
    let rest = file.strip_prefix(b"\x93NUMPY").context("it doesn't begin as one")?;
    let (version, rest) = rest.split_at_checked(2).context("it is cut short")?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().context("it is cut short")?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().context("it is cut short")?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => bail!("its version is {other}, expected 1 to 3"),
    };
    let (header, data) = rest.split_at_checked(length).context("it is cut short")?;
    let header = std::str::from_utf8(header).context("its header is no text")?;

    ensure!(value(header, "fortran_order")?.starts_with("False"), "it is in Fortran's order, save it in C's");
    let datatype = datatype(value(header, "descr")?)?;
    let shape = shape(value(header, "shape")?)?;
    let count: i64 = shape.iter().product();
    let expected = usize::try_from(count)? * datatype.size().unwrap_or(1);
    ensure!(data.len() == expected, "its shape {shape:?} takes {expected} bytes, it has {}", data.len());
    Ok(Array { datatype, shape, data: Bytes::copy_from_slice(data) })
}

/// The text after a key.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str> {
    let found = header.split_once(&format!("'{key}':")).map(|(_, value)| value.trim_start());
    found.with_context(|| format!("its header names no {key}"))
}

fn datatype(value: &str) -> Result<Datatype> {
    let name = value.trim_start_matches('\'').split('\'').next().unwrap_or_default();
    Ok(match name {
        "|b1" => Datatype::Bool,
        "|u1" => Datatype::Uint8,
        "<u2" => Datatype::Uint16,
        "<u4" => Datatype::Uint32,
        "<u8" => Datatype::Uint64,
        "|i1" => Datatype::Int8,
        "<i2" => Datatype::Int16,
        "<i4" => Datatype::Int32,
        "<i8" => Datatype::Int64,
        "<f2" => Datatype::Fp16,
        "<f4" => Datatype::Fp32,
        "<f8" => Datatype::Fp64,
        other => bail!("its elements are '{other}', expected little-endian numbers or booleans"),
    })
}

/// `(2, 3), …` or `(5,), …` or `(), …`.
fn shape(value: &str) -> Result<Vec<i64>> {
    let inside = value.strip_prefix('(').and_then(|value| value.split_once(')'));
    let (inside, _) = inside.context("its shape is no tuple")?;
    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().with_context(|| format!("its shape names '{size}'"))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn shapes_of_any_rank() {
        let array = read(&file("<f4", "(2, 1)", &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        assert_eq!((array.datatype, array.shape, array.data.len()), (Datatype::Fp32, vec![2, 1], 8));
        assert_eq!(read(&file("|u1", "(3,)", &[1, 2, 3])).unwrap().shape, [3]);
        assert_eq!(read(&file("<i8", "()", &[0; 8])).unwrap().shape, [0_i64; 0]);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let said = |file: &[u8]| format!("{:#}", read(file).unwrap_err());
        assert!(said(b"PNG").contains("begin"));
        assert!(said(&file("<f4", "(2,)", &[0; 7])).contains("takes 8 bytes, it has 7"));
        assert!(said(&file(">f4", "(1,)", &[0; 4])).contains("'>f4'"));
        assert!(said(&file("<f4", "(1,)", &[0; 4])[..20]).contains("cut short"));
        let fortran = String::from_utf8_lossy(&file("|u1", "(1,)", b"x")[6..]).replace("False", "True");
        let fortran = [b"\x93NUMPY", fortran.as_bytes()].concat();
        assert!(!said(&fortran).is_empty());
    }
}
