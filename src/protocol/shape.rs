//! Arithmetic on shapes that can't overflow, whatever a client sends.

use super::{Datatype, ProtocolError};

/// How many elements a tensor of `shape` has; 1 for a scalar's empty shape.
///
/// # Errors
/// A negative dimension, or a product over `usize`.
pub fn element_count(name: &str, shape: &[i64]) -> Result<usize, ProtocolError> {
    let mut count: usize = 1;
    for &dimension in shape {
        let dimension = usize::try_from(dimension).map_err(|_| {
            ProtocolError::invalid(format!(
                "input '{name}': shape {shape:?} has a negative dimension; a request gives whole shapes"
            ))
        })?;
        // A later zero would make the product small again: overflow is looked
        // for on the way, so that [2^40, 2^40, 0] is refused too.
        count = count.checked_mul(dimension).ok_or_else(|| too_large(name, shape))?;
    }
    Ok(count)
}

/// The bytes that `count` elements take; `None` for strings.
///
/// # Errors
/// A product over `usize`.
pub fn expected_bytes(name: &str, datatype: Datatype, shape: &[i64]) -> Result<Option<usize>, ProtocolError> {
    let count = element_count(name, shape)?;
    let Some(size) = datatype.size() else { return Ok(None) };
    count.checked_mul(size).map(Some).ok_or_else(|| too_large(name, shape))
}

fn too_large(name: &str, shape: &[i64]) -> ProtocolError {
    ProtocolError::invalid(format!(
        "input '{name}': shape {shape:?} holds more elements than can be addressed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_overflows() {
        let shapes: [&[i64]; 4] = [
            &[1 << 4, (1 << 60) + 2],
            &[1 << 2, (1 << 60) + 2, 1 << 3],
            &[i64::MAX, 3],
            &[1 << 40, 1 << 40, 0],
        ];
        for shape in shapes {
            assert!(expected_bytes("x", Datatype::Fp32, shape).is_err(), "{shape:?}");
        }
        assert!(element_count("x", &[2, -1]).is_err());
        assert_eq!(element_count("x", &[]), Ok(1));
        assert_eq!(element_count("x", &[5, 0]), Ok(0));
        assert_eq!(expected_bytes("x", Datatype::Bytes, &[2]), Ok(None));
    }

    proptest! {
        #[test]
        fn agrees_with_wide_arithmetic(shape in prop::collection::vec(any::<i64>(), 0..6)) {
            let wide = shape.iter().try_fold(1u128, |n, &d| u128::try_from(d).ok().and_then(|d| n.checked_mul(d)));
            match element_count("x", &shape) {
                Ok(count) => prop_assert_eq!(Some(count as u128), wide),
                Err(_) => prop_assert!(
                    shape.iter().any(|d| *d < 0) || wide.is_none_or(|n| n > usize::MAX as u128 || n == 0)
                ),
            }
        }
    }
}
