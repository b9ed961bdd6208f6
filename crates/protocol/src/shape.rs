//! Arithmetic on shapes that can't overflow, whatever a client sends.

use super::{Datatype, ProtocolError};

/// How many elements a tensor of `shape` has; 1 for a scalar's empty shape.
///
/// # Errors
/// If a dimension is negative, or if the product overflows `usize`.
pub fn element_count(name: &str, shape: &[i64]) -> Result<usize, ProtocolError> {
    let mut count: usize = 1;
    // The other dimensions must be addressable even if one is zero: strides are
    // products of them, and can overflow although the element count doesn't.
    let mut extent: i64 = 1;
    for &dimension in shape {
        let size = usize::try_from(dimension).map_err(|_| {
            ProtocolError::invalid(format!(
                "input '{name}': shape {shape:?} has a negative dimension; a request gives whole shapes"
            ))
        })?;
        extent = extent.checked_mul(dimension.max(1)).ok_or_else(|| too_large(name, shape))?;
        count = count.checked_mul(size).ok_or_else(|| too_large(name, shape))?;
    }
    Ok(count)
}

/// `shape` with its one variable dimension (-1) filled in, so that it has as
/// many elements as `of`; `None` if that is impossible.
#[must_use]
pub fn fill_shape(shape: &[i64], of: &[i64]) -> Option<Vec<i64>> {
    let product = |dimensions: &[i64]| -> Option<i64> {
        let mut known = dimensions.iter().filter(|dimension| **dimension >= 0);
        known.try_fold(1i64, |product, dimension| product.checked_mul(*dimension))
    };
    let (elements, known) = (product(of)?, product(shape)?);
    let open = if known == 0 { 0 } else { elements / known };
    let filled: Vec<i64> = shape.iter().map(|d| if *d >= 0 { *d } else { open }).collect();
    (product(&filled)? == elements).then_some(filled)
}

/// The bytes of `count` elements; `None` for strings.
///
/// # Errors
/// If the product overflows `usize`.
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
        fn agrees_with_wide_arithmetic(shape in prop::collection::vec(-2i64..1 << 40, 0..6)) {
            let wide = |least: i64| {
                shape.iter().try_fold(1i128, |n, &d| (d >= 0).then(|| n.checked_mul(i128::from(d.max(least))))?)
            };
            let fits = wide(1).is_some_and(|extent| extent <= i128::from(i64::MAX));
            match element_count("x", &shape) {
                Ok(count) => prop_assert_eq!(Some(count as i128), wide(0)),
                Err(_) => prop_assert!(!fits),
            }
        }
    }

    #[test]
    fn one_open_dimension_is_filled() {
        assert_eq!(fill_shape(&[-1, 2, 2], &[3, 4]), Some(vec![3, 2, 2]));
        assert_eq!(fill_shape(&[], &[1]), Some(vec![]));
        assert_eq!(fill_shape(&[-1, 5], &[3, 4]), None);
        assert_eq!(fill_shape(&[2, 2], &[4]), Some(vec![2, 2]));
        assert_eq!(fill_shape(&[-1], &[1 << 62, 4]), None, "no overflow");
        assert_eq!(fill_shape(&[-1, 4], &[0, 4]), Some(vec![0, 4]));
    }
}
