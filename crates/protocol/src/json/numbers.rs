//! A tensor's data: from JSON values directly to little-endian bytes.

use half::{bf16, f16};

use super::decimal::Decimal;
use super::scan::Scanner;
use crate::{Datatype, ProtocolError};

/// Reads a tensor's `data`, nested or flat, row-major, and appends its bytes
/// to `out`. Returns how many elements there were.
pub(super) fn read_data(
    scanner: &mut Scanner<'_>,
    name: &str,
    datatype: Datatype,
    out: &mut Vec<u8>,
) -> Result<usize, ProtocolError> {
    let mut count = 0;
    // One `match` for each tensor and not for each element.
    match datatype {
        Datatype::Bool => {
            read(scanner, &mut count, &mut |s| boolean(s, name), &mut |v| out.push(u8::from(v)))?
        }
        Datatype::Uint8 => integers(scanner, name, datatype, &mut count, out, u8::to_le_bytes)?,
        Datatype::Uint16 => integers(scanner, name, datatype, &mut count, out, u16::to_le_bytes)?,
        Datatype::Uint32 => integers(scanner, name, datatype, &mut count, out, u32::to_le_bytes)?,
        Datatype::Uint64 => integers(scanner, name, datatype, &mut count, out, u64::to_le_bytes)?,
        Datatype::Int8 => integers(scanner, name, datatype, &mut count, out, i8::to_le_bytes)?,
        Datatype::Int16 => integers(scanner, name, datatype, &mut count, out, i16::to_le_bytes)?,
        Datatype::Int32 => integers(scanner, name, datatype, &mut count, out, i32::to_le_bytes)?,
        Datatype::Int64 => integers(scanner, name, datatype, &mut count, out, i64::to_le_bytes)?,
        Datatype::Fp16 => {
            floats(scanner, name, datatype, &mut count, out, |v: f64| f16::from_f64(v).to_le_bytes())?
        }
        Datatype::Bf16 => {
            floats(scanner, name, datatype, &mut count, out, |v: f64| bf16::from_f64(v).to_le_bytes())?
        }
        Datatype::Fp32 => floats(scanner, name, datatype, &mut count, out, f32::to_le_bytes)?,
        Datatype::Fp64 => floats(scanner, name, datatype, &mut count, out, f64::to_le_bytes)?,
        Datatype::Bytes => strings(scanner, name, &mut count, out)?,
    }
    Ok(count)
}

/// Walks nested arrays, and passes each element on.
fn read<T>(
    scanner: &mut Scanner<'_>,
    count: &mut usize,
    element: &mut impl FnMut(&mut Scanner<'_>) -> Result<T, ProtocolError>,
    sink: &mut impl FnMut(T),
) -> Result<(), ProtocolError> {
    if scanner.peek() != Some(b'[') {
        sink(element(scanner)?);
        *count += 1;
        return Ok(());
    }
    scanner.array(|scanner| read(scanner, count, element, sink))
}

fn integers<T: std::str::FromStr, const N: usize>(
    scanner: &mut Scanner<'_>,
    name: &str,
    datatype: Datatype,
    count: &mut usize,
    out: &mut Vec<u8>,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<(), ProtocolError> {
    let mut element = |scanner: &mut Scanner<'_>| {
        let (token, integer) = token(scanner, name, datatype)?;
        let value = if integer { token.parse().ok() } else { None };
        value.ok_or_else(|| {
            ProtocolError::invalid(format!(
                "input '{name}': expected numbers of datatype {datatype}, got {token}"
            ))
        })
    };
    read(scanner, count, &mut element, &mut |value| out.extend_from_slice(&bytes(value)))
}

/// The type as which numbers for a floating datatype are parsed.
trait Float: std::str::FromStr + Copy {
    /// The nearest value, if the digits determine it directly.
    fn from_decimal(decimal: Decimal) -> Option<Self>;
    fn from_f64(value: f64) -> Self;
    fn is_finite(self) -> bool;
}

impl Float for f32 {
    #[inline]
    fn from_decimal(decimal: Decimal) -> Option<Self> {
        decimal.to_f32()
    }
    #[allow(clippy::cast_possible_truncation)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

impl Float for f64 {
    #[inline]
    fn from_decimal(decimal: Decimal) -> Option<Self> {
        decimal.to_f64()
    }
    fn from_f64(value: f64) -> Self {
        value
    }
    fn is_finite(self) -> bool {
        self.is_finite()
    }
}

fn floats<T: Float, const N: usize>(
    scanner: &mut Scanner<'_>,
    name: &str,
    datatype: Datatype,
    count: &mut usize,
    out: &mut Vec<u8>,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<(), ProtocolError> {
    // A number that would round to infinity is an error and not a silent
    // infinity. FP32 and FP64 are parsed directly.
    let narrowed: Option<fn(f64) -> bool> = if datatype == Datatype::Fp16 {
        Some(|value| f16::from_f64(value).is_finite())
    } else if datatype == Datatype::Bf16 {
        Some(|value| bf16::from_f64(value).is_finite())
    } else {
        None
    };
    let mut element = |scanner: &mut Scanner<'_>| {
        if narrowed.is_none()
            && let Some(value) = scanner.decimal(T::from_decimal)
        {
            return Ok(value);
        }
        if let Some(value) = scanner.not_finite() {
            return Ok(T::from_f64(value));
        }
        let (token, _) = token(scanner, name, datatype)?;
        let in_range = narrowed.is_none_or(|finite| token.parse::<f64>().is_ok_and(finite));
        match token.parse::<T>() {
            Ok(value) if value.is_finite() && in_range => Ok(value),
            _ => {
                Err(ProtocolError::invalid(format!("input '{name}': {token} is out of range for {datatype}")))
            }
        }
    };
    read(scanner, count, &mut element, &mut |value| out.extend_from_slice(&bytes(value)))
}

/// The next number's text, and whether it is an integer. An error for another
/// kind of value names the tensor.
fn token<'a>(
    scanner: &mut Scanner<'a>,
    name: &str,
    datatype: Datatype,
) -> Result<(&'a str, bool), ProtocolError> {
    match scanner.peek() {
        Some(b'0'..=b'9') | None => scanner.number(),
        Some(b'-') if !scanner.starts_with("-I") => scanner.number(),
        Some(_) => {
            let value = excerpt(scanner.skip()?);
            Err(ProtocolError::invalid(format!(
                "input '{name}': expected numbers of datatype {datatype}, got {value}"
            )))
        }
    }
}

fn boolean(scanner: &mut Scanner<'_>, name: &str) -> Result<bool, ProtocolError> {
    match scanner.peek() {
        Some(b't' | b'f') => scanner.boolean(),
        _ => match scanner.skip()? {
            b"0" => Ok(false),
            b"1" => Ok(true),
            other => Err(ProtocolError::invalid(format!(
                "input '{name}': expected true, false, 0 or 1 for datatype BOOL, got {}",
                excerpt(other)
            ))),
        },
    }
}

fn strings(
    scanner: &mut Scanner<'_>,
    name: &str,
    count: &mut usize,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let mut element = |scanner: &mut Scanner<'_>| match scanner.peek() {
        Some(b'"') => scanner.string().map(std::borrow::Cow::into_owned),
        _ => {
            let value = scanner.skip()?;
            Err(ProtocolError::invalid(format!(
                "input '{name}': expected strings for datatype BYTES, got {}",
                excerpt(value)
            )))
        }
    };
    let mut too_long = false;
    read(scanner, count, &mut element, &mut |text: String| {
        match u32::try_from(text.len()) {
            Ok(len) => out.extend_from_slice(&len.to_le_bytes()),
            Err(_) => too_long = true,
        }
        out.extend_from_slice(text.as_bytes());
    })?;
    if too_long {
        return Err(ProtocolError::invalid(format!("input '{name}': a string longer than 4 GiB")));
    }
    Ok(())
}

/// The beginning of a value, short enough for a message.
fn excerpt(value: &[u8]) -> String {
    const LONGEST: usize = 24;
    let text = String::from_utf8_lossy(value);
    if text.chars().count() <= LONGEST {
        return text.into_owned();
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(datatype: Datatype, text: &str) -> Result<(usize, Vec<u8>), String> {
        let mut out = Vec::new();
        let mut scanner = Scanner::new(text.as_bytes());
        let count = read_data(&mut scanner, "x", datatype, &mut out).map_err(|e| e.to_string())?;
        scanner.end().map_err(|e| e.to_string())?;
        Ok((count, out))
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn flat_and_nested_are_the_same() {
        let expected = (4, f32s(&[1.0, 2.5, -3.0, 4e-3]));
        assert_eq!(data(Datatype::Fp32, "[1, 2.5, -3, 4e-3]"), Ok(expected.clone()));
        assert_eq!(data(Datatype::Fp32, "[[1, 2.5], [-3, 4e-3]]"), Ok(expected));
        assert_eq!(data(Datatype::Fp32, "[]"), Ok((0, vec![])));
        assert_eq!(data(Datatype::Fp32, "7"), Ok((1, f32s(&[7.0]))), "a scalar");
    }

    #[test]
    fn not_finite_is_a_number_for_floats_and_an_error_for_the_others() {
        let (count, bytes) = data(Datatype::Fp32, "[NaN, Infinity, -Infinity, -Inf]").unwrap();
        assert_eq!(count, 4);
        let values: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert_eq!(
            data(Datatype::Int32, "[1, NaN]"),
            Err("input 'x': expected numbers of datatype INT32, got NaN".to_owned())
        );
        assert_eq!(
            data(Datatype::Int64, "[-Infinity]"),
            Err("input 'x': expected numbers of datatype INT64, got -Infinity".to_owned())
        );
        assert!(data(Datatype::Bool, "[NaN]").is_err());
    }

    #[test]
    fn every_datatype_has_its_range() {
        for (datatype, good, bad) in [
            (Datatype::Uint8, "255", "256"),
            (Datatype::Int8, "-128", "128"),
            (Datatype::Uint16, "65535", "-1"),
            (Datatype::Int16, "-32768", "40000"),
            (Datatype::Uint32, "4294967295", "4294967296"),
            (Datatype::Int32, "-2147483648", "2147483648"),
            (Datatype::Uint64, "18446744073709551615", "18446744073709551616"),
            (Datatype::Int64, "-9223372036854775808", "9223372036854775808"),
            (Datatype::Int32, "3", "3.5"),
            (Datatype::Fp16, "65519.9", "65520"),
            // The largest, in the fewest digits of an FP32: slightly above its
            // value.
            (Datatype::Bf16, "3.3895314e38", "3.4e38"),
            (Datatype::Fp32, "3e38", "1e39"),
            (Datatype::Fp64, "1e308", "1e309"),
            (Datatype::Bool, "true", "2"),
            (Datatype::Bytes, "\"a\"", "1"),
        ] {
            assert!(data(datatype, &format!("[{good}]")).is_ok(), "{datatype} {good}");
            assert!(data(datatype, &format!("[{bad}]")).is_err(), "{datatype} {bad}");
        }
    }

    #[test]
    fn strings_stand_behind_their_length() {
        assert_eq!(
            data(Datatype::Bytes, r#"["ab", "ü\n"]"#),
            Ok((2, b"\x02\0\0\0ab\x03\0\0\0\xc3\xbc\n".to_vec()))
        );
    }

    #[test]
    fn integers_near_the_edge_of_64_bits_stay_exact() {
        let (_, bytes) = data(Datatype::Int64, "[9007199254740993]").unwrap();
        assert_eq!(i64::from_le_bytes(bytes.try_into().unwrap()), 9_007_199_254_740_993);
    }
}
