//! Inputs that become one number, one string, or one list of numbers: the same
//! value for all rows of a request, and of the batch that it runs in.

use crate::error::{Error, Result};
use crate::model_config::BoundInput;
use crate::trial::values::repeated;
use cresset_backend::{Leaf, Scalar};
use cresset_protocol::{Datatype, Strings, Tensor, check_strings};

/// The most bytes that a value takes once it is repeated for each row.
const MOST_BYTES: usize = 1 << 20;

/// The input as one row's value: of shape `[1]`, or `[n]` for a list. It may
/// come once, or once for each row.
pub(super) fn value(input: Tensor, scalar: Scalar, bound: &BoundInput, model: &str) -> Result<Tensor> {
    let name = &bound.name;
    if !scalar.takes(input.datatype) {
        return Err(Error::invalid(format!(
            "input '{name}' of model '{model}' is {}, got {}",
            spelt(bound.leaf, scalar),
            input.datatype
        )));
    }
    if input.datatype == Datatype::Bytes {
        check_strings(name, model, &input.shape, &input.data)?;
    }
    if input.datatype == Datatype::Bool && input.data.iter().any(|byte| *byte > 1) {
        return Err(Error::invalid(format!("input '{name}': a BOOL is one byte of 0 or 1")));
    }
    if input.datatype == Datatype::Uint64
        && matches!(scalar, Scalar::Int | Scalar::Number)
        && input.data.chunks(8).any(|number| number.last().is_some_and(|high| *high >= 0x80))
    {
        return Err(Error::invalid(format!(
            "input '{name}' of model '{model}': an int is at most {}",
            i64::MAX
        )));
    }
    let rows = match (bound.leaf, input.shape.as_slice()) {
        (Leaf::Numbers(_), [rows, _, ..]) => usize::try_from(*rows).unwrap_or(0),
        (Leaf::Numbers(_), _) => 1,
        (Leaf::Scalar(_) | Leaf::Tensor | Leaf::Strings, shape) => {
            usize::try_from(shape.iter().product::<i64>()).unwrap_or(0)
        }
    };
    let wrong = |what: &str| {
        Error::invalid(format!(
            "input '{name}' of model '{model}' is {}, the same for all rows of a request: got shape {:?}{what}",
            spelt(bound.leaf, scalar),
            input.shape
        ))
    };
    if rows == 0 {
        return Err(wrong(", which has none"));
    }
    let row = if input.datatype == Datatype::Bytes {
        Strings::new(&input.data).next().map_or(0, |string| string.len() + 4).min(input.data.len())
    } else {
        input.data.len() / rows
    };
    let first = input.data.slice(..row);
    let same = first.is_empty()
        || (input.data.len() == first.len() * rows && input.data.chunks(first.len()).all(|row| row == first));
    if !same {
        return Err(wrong(" with values that differ"));
    }
    let count = match bound.leaf {
        Leaf::Numbers(_) => first.len() / input.datatype.size().unwrap_or(1),
        Leaf::Scalar(_) | Leaf::Tensor | Leaf::Strings => 1,
    };
    let shape = vec![i64::try_from(count).unwrap_or(i64::MAX)];
    let dims = bound.spec.as_ref().map(|spec| spec.reshape.as_ref().unwrap_or(&spec.dims));
    if let (Leaf::Numbers(_), Some([expected])) = (bound.leaf, dims.map(Vec::as_slice))
        && *expected >= 0
        && shape != [*expected]
    {
        return Err(wrong(&format!(" where {expected} are configured")));
    }
    Ok(Tensor { name: input.name, datatype: input.datatype, shape, data: first })
}

/// A value once for each of `rows`.
pub(super) fn repeat(value: &mut Tensor, rows: u32) -> Result<()> {
    let bytes = value.data.len().saturating_mul(rows as usize);
    if rows > 1 && bytes > MOST_BYTES {
        return Err(Error::invalid(format!(
            "input '{}' has {} bytes, the same for each of {rows} rows: {MOST_BYTES} at most in all",
            value.name,
            value.data.len()
        )));
    }
    (value.shape, value.data) = repeated(&value.shape, &value.data, Some(rows));
    Ok(())
}

fn spelt(leaf: Leaf, scalar: Scalar) -> String {
    match leaf {
        Leaf::Numbers(_) => format!("a list of {scalar}"),
        Leaf::Scalar(_) | Leaf::Tensor | Leaf::Strings => format!("one {scalar}"),
    }
}
