//! Random tensors for what a model declares.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::metadata::Input;
use crate::protocol::Datatype;

/// No input is larger than this many elements: a slip of the keyboard should
/// be an error, not a machine without memory.
const MAX_ELEMENTS: usize = 1 << 28;

/// How many letters a random string has.
const STRING_LENGTH: usize = 16;

/// An input with its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

/// Values before they are written as bytes or as JSON. The small numbers that
/// are made fit every datatype of their kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Booleans(Vec<bool>),
    /// From 0 to 99: token ids and class numbers that any vocabulary has.
    Integers(Vec<u8>),
    /// From 0 to 1.
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

/// The shape that a person gives to one input: `name:1,128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    name: String,
    dimensions: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, dimensions) =
            text.rsplit_once(':').ok_or_else(|| format!("expected NAME:N[,N…], got '{text}'"))?;
        let dimensions: Result<_, _> = dimensions.split(',').map(|n| n.trim().parse()).collect();
        let dimensions =
            dimensions.map_err(|_| format!("the dimensions in '{text}' must be whole numbers from 0"))?;
        Ok(Self { name: name.to_owned(), dimensions })
    }
}

/// Random values for every input, the same for the same seed.
///
/// A variable first dimension is the batch; any other needs one of `shapes`.
pub(super) fn random(
    inputs: &[Input],
    shapes: &[Shape],
    batch: Option<NonZeroUsize>,
    seed: u64,
) -> Result<Vec<Tensor>> {
    if let Some(stray) = shapes.iter().find(|shape| inputs.iter().all(|input| input.name != shape.name)) {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        bail!("--shape names '{}', which is no input; the inputs are {}", stray.name, names.join(", "));
    }
    let given = |input: &Input| shapes.iter().find(|shape| shape.name == input.name);
    let batches = |input: &Input| given(input).is_none() && input.shape.first().is_some_and(|&size| size < 0);
    if let Some(batch) = batch
        && !inputs.iter().any(batches)
    {
        // Passed over, it would make one row look like many.
        bail!("--batch {batch} has no input to go to: none has a variable first dimension");
    }
    let batch = batch.unwrap_or(NonZeroUsize::MIN);
    let mut random = Random::new(seed);
    inputs
        .iter()
        .map(|input| {
            let shape = match given(input) {
                Some(shape) => shape.dimensions.clone(),
                None => declared(input, batch)?,
            };
            tensor(input, shape, &mut random)
        })
        .collect()
}

fn declared(input: &Input, batch: NonZeroUsize) -> Result<Vec<usize>> {
    let size = |(axis, &dimension): (usize, &i64)| match (axis, usize::try_from(dimension)) {
        (_, Ok(size)) => Ok(size),
        (0, Err(_)) => Ok(batch.get()),
        (_, Err(_)) => bail!(
            "input '{0}' has shape {1:?}, whose variable dimensions need --shape {0}:N[,N…]",
            input.name,
            input.shape
        ),
    };
    input.shape.iter().enumerate().map(size).collect()
}

fn tensor(input: &Input, shape: Vec<usize>, random: &mut Random) -> Result<Tensor> {
    let datatype: Datatype = input.datatype.parse().with_context(|| format!("input '{}'", input.name))?;
    let count = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let count = count.filter(|&count| count <= MAX_ELEMENTS);
    let count = count.with_context(|| format!("input '{}' of shape {shape:?} is too large", input.name))?;
    ensure!(count > 0, "input '{}' of shape {shape:?} has no elements", input.name);
    Ok(Tensor { name: input.name.clone(), datatype, shape, values: Values::random(datatype, count, random) })
}

impl Values {
    fn random(datatype: Datatype, count: usize, random: &mut Random) -> Self {
        match datatype {
            Datatype::Bool => Self::Booleans((0..count).map(|_| random.below(2) == 1).collect()),
            Datatype::Uint8
            | Datatype::Uint16
            | Datatype::Uint32
            | Datatype::Uint64
            | Datatype::Int8
            | Datatype::Int16
            | Datatype::Int32
            | Datatype::Int64 => Self::Integers((0..count).map(|_| random.below(100)).collect()),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                Self::Floats((0..count).map(|_| random.unit()).collect())
            }
            Datatype::Bytes => Self::Strings((0..count).map(|_| random.word()).collect()),
        }
    }
}

/// Marsaglia's xorshift with a multiplied output (xorshift64*): plenty for
/// filler, a few lines, the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves; an odd constant spreads
        // neighbouring seeds.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `end` - 1.
    fn below(&mut self, end: u8) -> u8 {
        // The upper half scaled: below `end` by construction.
        (((self.next() >> 32) * u64::from(end)) >> 32) as u8
    }

    /// From 0 up to 1: as many bits as an FP32's fraction holds.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    fn word(&mut self) -> String {
        (0..STRING_LENGTH).map(|_| char::from(b'a' + self.below(26))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64]) -> Input {
        Input { name: "x".to_owned(), datatype: datatype.to_owned(), shape: shape.to_vec() }
    }

    fn one(input: Input, shapes: &[&str], batch: Option<usize>) -> Result<Tensor> {
        let shapes: Vec<Shape> = shapes.iter().map(|shape| shape.parse().unwrap()).collect();
        random(&[input], &shapes, batch.and_then(NonZeroUsize::new), 7).map(|mut all| all.remove(0))
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
    }

    #[test]
    fn values_fit_and_the_seed_decides() {
        let floats = one(input("FP32", &[1000]), &[], None).unwrap();
        assert_eq!(floats, one(input("FP32", &[1000]), &[], None).unwrap());
        let Values::Floats(floats) = floats.values else { panic!("floats") };
        assert!(floats.iter().all(|value| (0.0..1.0).contains(value)));
        assert!((floats.iter().sum::<f32>() / 1000.0 - 0.5).abs() < 0.05);
        let Values::Integers(integers) = one(input("INT8", &[1000]), &[], None).unwrap().values else {
            panic!("integers")
        };
        assert!(integers.iter().all(|&value| value < 100));
        assert!(integers.contains(&0) && integers.contains(&99));
        for seed in [0, 1, u64::MAX] {
            assert_ne!(Random::new(seed).next(), 0);
        }
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let stray = one(input("FP32", &[1]), &["y:1"], None).unwrap_err().to_string();
        assert_eq!(stray, "--shape names 'y', which is no input; the inputs are x");
        let huge = one(input("FP32", &[i64::MAX, 3]), &[], None).unwrap_err().to_string();
        assert!(huge.contains("too large"), "{huge}");
        assert!(one(input("FP31", &[1]), &[], None).is_err());
        for wrong in ["x", "x:", "x:1,-1", "x:a"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
