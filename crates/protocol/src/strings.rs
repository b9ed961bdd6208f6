//! The elements of the datatype BYTES: byte strings in sequence, each preceded
//! by its length (4 bytes, little-endian).

use super::{ProtocolError, element_count};

/// The most strings of one input. Each becomes an object of about a hundred
/// bytes, however short it is. This limits their number; the limit of a body
/// limits their content.
pub const MOST_STRINGS: usize = 1 << 20;

/// Writes a string after its length. No string is 4 GiB long: bodies are
/// shorter.
pub fn push_string(to: &mut Vec<u8>, string: &[u8]) {
    to.extend_from_slice(&u32::try_from(string.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(string);
}

/// Iterates over the strings; ends at the first incomplete one.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Strings<'a> {
    /// The strings in `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// The bytes after the strings read so far.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, behind) = self.rest.split_first_chunk::<4>()?;
        let (string, rest) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(string)
    }
}

/// Checks that `data` is exactly as many strings as `shape` has elements.
/// Errors about too few and too many are in Triton's words.
///
/// # Errors
/// Which string is incomplete, how much is left over, or that there are too
/// many.
pub fn check_strings(name: &str, model: &str, shape: &[i64], data: &[u8]) -> Result<(), ProtocolError> {
    let expected = element_count(name, shape)?;
    if expected > MOST_STRINGS {
        return Err(ProtocolError::invalid(format!(
            "input '{name}': shape {shape:?} holds {expected} strings: the most of one input is {MOST_STRINGS}"
        )));
    }
    let mut strings = Strings::new(data);
    let whole = strings.by_ref().take(expected).count();
    let rest = strings.rest();
    if whole < expected && rest.is_empty() {
        return Err(ProtocolError::invalid(format!(
            "expected {expected} string elements for inference input '{name}' for model '{model}', got {whole}"
        )));
    }
    if whole < expected {
        let what = match rest.split_first_chunk::<4>() {
            Some((length, behind)) => {
                format!(
                    "has {} bytes by its length, but {} are left",
                    u32::from_le_bytes(*length),
                    behind.len()
                )
            }
            None => format!("lacks its length, 4 bytes: {} are left", rest.len()),
        };
        return Err(ProtocolError::invalid(format!(
            "input '{name}': BYTES of shape {shape:?} holds {expected} strings; the one at {whole} {what}"
        )));
    }
    if !rest.is_empty() {
        return Err(ProtocolError::invalid(format!(
            "unexpected number of string elements {} for inference input '{name}' for model '{model}', expecting \
             {expected}; {} bytes are left over behind them",
            expected + 1,
            rest.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(strings: &[&[u8]]) -> Vec<u8> {
        strings
            .iter()
            .flat_map(|s| [&u32::try_from(s.len()).unwrap().to_le_bytes()[..], s].concat())
            .collect()
    }

    #[test]
    fn whole_strings_pass_and_anything_else_is_named() {
        let data = wire(&[b"ab", b"", b"\xff\0"]);
        assert_eq!(Strings::new(&data).collect::<Vec<_>>(), [&b"ab"[..], b"", b"\xff\0"]);
        for shape in [&[3][..], &[3, 1], &[1, 3]] {
            assert_eq!(check_strings("x", "m", shape, &data), Ok(()));
        }
        assert_eq!(check_strings("x", "m", &[0], &[]), Ok(()));
        let refused =
            |shape: &[i64], data: &[u8]| check_strings("x", "m", shape, data).unwrap_err().to_string();
        for (shape, data, message) in [
            (&[4][..], &data[..], "expected 4 string elements for inference input 'x' for model 'm', got 3"),
            (
                &[2],
                &data,
                "unexpected number of string elements 3 for inference input 'x' for model 'm', expecting 2; 6 bytes \
                 are left over behind them",
            ),
            (
                &[1],
                &[1, 0, 0],
                "input 'x': BYTES of shape [1] holds 1 strings; the one at 0 lacks its length, 4 bytes: 3 are left",
            ),
            (
                &[1],
                b"\xff\xff\xff\xffab",
                "input 'x': BYTES of shape [1] holds 1 strings; the one at 0 has 4294967295 bytes by its length, but 2 are left",
            ),
            (
                &[1 << 40],
                &[],
                "input 'x': shape [1099511627776] holds 1099511627776 strings: the most of one input is 1048576",
            ),
        ] {
            assert_eq!(refused(shape, data), message);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_and_never_beyond(data in prop::collection::vec(any::<u8>(), 0..64), count in 0i64..8) {
            let mut strings = Strings::new(&data);
            let taken: usize = strings.by_ref().map(|string| string.len() + 4).sum();
            prop_assert_eq!(taken + strings.rest().len(), data.len());
            let _ = check_strings("x", "m", &[count], &data);
        }
    }
}
