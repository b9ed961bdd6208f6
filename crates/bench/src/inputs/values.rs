//! Generated tensors.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use crate::metadata::Input;
use crate::random::Random;
use cresset_protocol::{Datatype, Tensor, append_number, push_string};

/// No input is larger than this many elements: a typing error should be an
/// error, and not use up the machine's memory.
const MAX_ELEMENTS: usize = 1 << 28;

/// What generated tensors hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Filling {
    /// Floating point from 0 to 1, integers from 0 to 99, words of 16 letters
    Random,
    /// Zeros, and empty strings
    Zero,
}

/// A tensor of this shape for an input.
pub(super) fn make(
    input: &Input,
    shape: Vec<usize>,
    filling: Filling,
    random: &mut Random,
) -> Result<Tensor> {
    let datatype: Datatype = input.datatype.parse().with_context(|| format!("input '{}'", input.name))?;
    let count = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let count = count.filter(|&count| count <= MAX_ELEMENTS);
    let count = count.with_context(|| format!("input '{}' of shape {shape:?} is too large", input.name))?;
    ensure!(count > 0, "input '{}' of shape {shape:?} has no elements", input.name);
    let data = match filling {
        Filling::Zero => vec![0; count * datatype.size().unwrap_or(4)],
        Filling::Random => {
            let mut data = Vec::with_capacity(count * datatype.size().unwrap_or(4));
            for _ in 0..count {
                push(datatype, random, &mut data);
            }
            data
        }
    };
    let shape = shape.into_iter().map(|size| size as i64).collect();
    Ok(Tensor { name: Arc::from(input.name.as_str()), datatype, shape, data: Bytes::from(data) })
}

/// One more element, little-endian. The integers are token ids and class
/// numbers that any vocabulary has.
fn push(datatype: Datatype, random: &mut Random, data: &mut Vec<u8>) {
    if datatype == Datatype::Bytes {
        push_string(data, random.word().as_bytes());
        return;
    }
    let values = if datatype == Datatype::Bool { 2 } else { 100 };
    let (real, whole) =
        if datatype.is_float() { (random.unit(), 0) } else { (0.0, random.below(values) as u8) };
    append_number(datatype, real.into(), whole, data);
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::{Case, Shape, Shapes, Source, cases};
    use super::*;
    use crate::metadata::Metadata;

    fn input(datatype: &str, shape: &[i64]) -> Input {
        Input { name: "x".to_owned(), datatype: datatype.to_owned(), shape: shape.to_vec() }
    }

    fn made(input: Input, shapes: &[&str], batch: Option<usize>, filling: Filling) -> Result<Vec<Case>> {
        let shapes: Vec<Shape> = shapes.iter().map(|shape| shape.parse().unwrap()).collect();
        let shapes = Shapes::new(&shapes, batch.and_then(NonZeroUsize::new));
        let source = Source { shapes, files: &[], data: None, filling, variants: 5, seed: 7 };
        cases(&Metadata { inputs: vec![input], outputs: Vec::new() }, &source)
    }

    fn one(input: Input, shapes: &[&str], batch: Option<usize>) -> Result<Tensor> {
        made(input, shapes, batch, Filling::Random).map(|mut all| all.remove(0).inputs.remove(0))
    }

    #[test]
    fn a_variable_first_dimension_is_the_batch() {
        assert_eq!(one(input("FP32", &[-1, 3]), &[], Some(4)).unwrap().shape, [4, 3]);
        assert_eq!(one(input("FP32", &[-1, 3]), &[], None).unwrap().shape, [1, 3]);
        assert_eq!(one(input("FP32", &[2, 3]), &[], None).unwrap().shape, [2, 3]);
        assert!(one(input("FP32", &[2, 3]), &[], Some(4)).is_err());
        assert!(one(input("FP32", &[-1, 3]), &["x:2,3"], Some(4)).is_err());
    }

    #[test]
    fn other_variable_dimensions_need_a_shape() {
        let error = one(input("INT64", &[-1, -1]), &[], None).unwrap_err().to_string();
        assert!(error.contains("--shape x:"), "{error}");
        assert_eq!(one(input("INT64", &[-1, -1]), &["x:2,32"], None).unwrap().shape, [2, 32]);
        let many = made(input("INT64", &[-1, -1]), &["x:1,1..99"], None, Filling::Random).unwrap();
        let lengths: std::collections::BTreeSet<_> =
            many.iter().map(|case| case.inputs[0].shape[1]).collect();
        assert!(many.len() == 5 && lengths.len() > 1, "{lengths:?}");
    }

    #[test]
    fn values_fit_and_the_seed_decides() {
        let floats = one(input("FP32", &[1000]), &[], None).unwrap();
        assert_eq!(floats, one(input("FP32", &[1000]), &[], None).unwrap());
        let floats: Vec<f32> =
            floats.data.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        assert!(floats.iter().all(|value| (0.0..1.0).contains(value)));
        assert!((floats.iter().sum::<f32>() / 1000.0 - 0.5).abs() < 0.05);
        let integers = one(input("INT8", &[1000]), &[], None).unwrap().data;
        assert!(integers.iter().all(|&value| value < 100));
        assert!(integers.contains(&0) && integers.contains(&99));
    }

    #[test]
    fn every_datatype_fills_its_size() {
        for datatype in Datatype::all() {
            let expected = 3 * datatype.size().unwrap_or(4 + 16);
            assert_eq!(
                one(input(datatype.name(), &[3]), &[], None).unwrap().data.len(),
                expected,
                "{datatype}"
            );
            let zero = made(input(datatype.name(), &[3]), &[], None, Filling::Zero).unwrap();
            assert_eq!(zero[0].inputs[0].data, vec![0; 3 * datatype.size().unwrap_or(4)], "{datatype}");
        }
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let stray = one(input("FP32", &[1]), &["y:1"], None).unwrap_err().to_string();
        assert_eq!(stray, "--shape names 'y', which is no input; the inputs are x");
        let huge = one(input("FP32", &[i64::MAX, 3]), &[], None).unwrap_err().to_string();
        assert!(huge.contains("too large"), "{huge}");
        assert!(one(input("FP31", &[1]), &[], None).is_err());
    }
}
