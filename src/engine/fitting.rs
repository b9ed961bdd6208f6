//! Fits plain tensors as people write them: a row without its batch, texts
//! without the dimension of one. A tensor that can be read in several ways
//! stays as it is; the check of the request refuses it.

use std::sync::Arc;

use crate::model::ServedModel;
use cresset_protocol::Tensor;

/// The names that clients use for a text, beside the model's own.
const TEXT: [&str; 4] = ["text", "texts", "data", "inputs"];

/// Gives each tensor its input's configured shape, if the nesting of its lists
/// can be read in one way only, and gives a text the name of the model's only
/// input.
pub(super) fn fit(model: &ServedModel, mut inputs: Vec<Tensor>) -> Vec<Tensor> {
    if let ([only], Some(text)) = (inputs.as_mut_slice(), model.only_text())
        && TEXT.contains(&&*only.name)
        && !model.has_input(&only.name)
    {
        only.name = Arc::from(text);
    }
    for input in &mut inputs {
        if let Some((dims, batched)) = model.input_dims(&input.name)
            && let Some(shape) = fitted(&input.shape, dims, batched)
        {
            input.shape = shape;
        }
    }
    inputs
}

/// The shape for these dims; `None` if it fits already, or if several would.
fn fitted(shape: &[i64], dims: &[i64], batched: bool) -> Option<Vec<i64>> {
    let rank = dims.len() + usize::from(batched);
    let fits = |shape: &[i64], dims: &[i64]| {
        shape.len() == dims.len() && shape.iter().zip(dims).all(|(got, dim)| *dim < 0 || got == dim)
    };
    if shape.len() >= rank || shape.contains(&0) {
        return None;
    }
    let ones = vec![1; rank - shape.len()];
    if batched && fits(shape, dims) {
        // One row.
        return Some([&[1], shape].concat());
    }
    if shape.is_empty() {
        // One number or text.
        return dims.iter().all(|dim| matches!(dim, 1 | -1)).then_some(ones);
    }
    // Each row's, or the whole's, last dimensions are one.
    let (front, last) = dims.split_at(dims.len().checked_sub(ones.len())?);
    let own = shape.get(usize::from(batched)..).unwrap_or_default();
    (last.iter().all(|dim| matches!(dim, 1 | -1)) && fits(own, front)).then(|| [shape, &ones].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_is_taken_and_several_are_left() {
        for (shape, dims, batched, expected) in [
            // A row, as it is.
            (&[4][..], &[4][..], true, Some(vec![1, 4])),
            (&[7], &[-1], true, Some(vec![1, 7])),
            (&[3, 2, 2], &[3, -1, -1], true, Some(vec![1, 3, 2, 2])),
            // Texts, or numbers of one each.
            (&[5], &[1], true, Some(vec![5, 1])),
            (&[1], &[1], true, Some(vec![1, 1])),
            (&[], &[1], true, Some(vec![1, 1])),
            (&[], &[-1], false, Some(vec![1])),
            (&[5, 3], &[3, 1], true, Some(vec![5, 3, 1])),
            // Shapes that fit already, and shapes that can't.
            (&[0], &[-1], true, None),
            (&[2, 4], &[4], true, None),
            (&[3], &[4], true, None),
            (&[], &[4], true, None),
            (&[2, 4], &[3, 4], true, None),
            (&[4], &[2, 2], false, None),
            (&[5], &[3, 1, 1], true, None),
        ] {
            assert_eq!(fitted(shape, dims, batched), expected, "{shape:?} for {dims:?}");
        }
    }
}
