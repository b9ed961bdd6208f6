//! Makes up inputs that are the same for all rows of a batch.

use bytes::{Bytes, BytesMut};

use super::input::TrialInput;
use crate::model_config::{BoundInput, Presence};
use cresset_backend::{Leaf, Scalar};
use cresset_protocol::Datatype;

/// The stand-in for an input without a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// Nothing: it is left out.
    Out,
    /// A value, the same for all rows.
    Value(TrialInput),
}

/// Values to try for an argument that is a number: a count or a switch, and a
/// usual sample rate of sound.
const NUMBERS: [u32; 3] = [1, 0, 16_000];

/// The numbers to try if there are such arguments; else any one number.
#[must_use]
pub fn numbers(inputs: &[BoundInput]) -> &'static [u32] {
    let counts = inputs.iter().any(|input| input.leaf.shared().is_some());
    if counts { &NUMBERS } else { &NUMBERS[..1] }
}

/// The stand-in, in a batch of `rows`, for an input that is known only by its
/// argument: nothing if it may be left out, else `number`, or an empty string.
/// `None` if it can't be made up.
#[must_use]
pub fn unsent(bound: &BoundInput, rows: Option<u32>, number: u32) -> Option<Unsent> {
    if bound.spec.is_none() && bound.presence != Presence::Required {
        return Some(Unsent::Out);
    }
    let scalar = match bound.leaf {
        Leaf::Scalar(scalar) | Leaf::Numbers(scalar) => scalar,
        Leaf::Tensor | Leaf::Strings => return None,
    };
    let datatype = bound.datatype().unwrap_or(Datatype::Fp64);
    let element = match scalar {
        Scalar::Str => vec![0; 4],
        Scalar::Bool => vec![0],
        Scalar::Int | Scalar::Float | Scalar::Number => datatype.element(number),
    };
    let dims = bound.spec.as_ref().map(|spec| spec.reshape.as_ref().unwrap_or(&spec.dims));
    let count = match (bound.leaf, dims.map(Vec::as_slice)) {
        (Leaf::Numbers(_), Some([count])) => (*count).max(1),
        _ => 1,
    };
    let value = Bytes::from(element.repeat(usize::try_from(count).unwrap_or(1)));
    let (shape, data) = repeated(&[count], &value, rows);
    Some(Unsent::Value(TrialInput { name: bound.place.to_string(), datatype, shape, data: Some(data) }))
}

/// A value's shape and elements, repeated for each row if there are rows.
#[must_use]
pub fn repeated(shape: &[i64], data: &Bytes, rows: Option<u32>) -> (Vec<i64>, Bytes) {
    let shape = rows.map(i64::from).into_iter().chain(shape.iter().copied()).collect();
    if rows.is_none_or(|rows| rows == 1) {
        return (shape, data.clone());
    }
    let rows = rows.unwrap_or(1);
    let mut repeated = BytesMut::with_capacity(data.len().saturating_mul(rows as usize));
    (0..rows).for_each(|_| repeated.extend_from_slice(data));
    (shape, repeated.freeze())
}
