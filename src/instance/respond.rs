//! A batch's outputs into responses: each request gets its own rows, as
//! slices of one memory.

use std::sync::Arc;

use super::classify::classify;
use crate::backend::BatchOutput;
use crate::error::{Error, Result};
use crate::model_config::{Binding, BoundOutput, output_name};
use crate::protocol::{Datatype, RequestedOutput, Strings, Tensor, fill_shape};

/// Names and checks a batch's outputs, in the order of the configuration.
/// `rows` is the size of the batch, `None` where the model doesn't batch.
pub(super) fn name_outputs(
    outputs: Vec<BatchOutput>,
    binding: &Binding,
    rows: Option<u32>,
) -> Result<Vec<Tensor>> {
    let named: Vec<Tensor> = if binding.outputs.is_empty() {
        outputs.into_iter().enumerate().map(|(index, output)| unnamed(index, output)).collect()
    } else {
        let given = outputs.len();
        binding
            .outputs
            .iter()
            .map(|bound| match find(&outputs, bound) {
                Some(output) => configured(bound, output.clone(), rows),
                None => Err(Error::internal(format!(
                    "output '{}' in the model configuration refers to output {} of the model, which gives {given}",
                    bound.name, bound.index
                ))),
            })
            .collect::<Result<_>>()?
    };
    if let Some(rows) = rows {
        named.iter().try_for_each(|output| has_rows(output, rows))?;
    }
    Ok(named)
}

/// A dictionary's key wins over the position.
fn find<'a>(outputs: &'a [BatchOutput], bound: &BoundOutput) -> Option<&'a BatchOutput> {
    let by_key = outputs.iter().find(|output| output.name.as_deref() == Some(&bound.name));
    by_key.or_else(|| outputs.get(bound.index))
}

fn unnamed(index: usize, output: BatchOutput) -> Tensor {
    let name = output_name(index, output.name.as_deref());
    Tensor { name: Arc::from(name), datatype: output.datatype, shape: output.shape, data: output.data }
}

fn configured(bound: &BoundOutput, output: BatchOutput, rows: Option<u32>) -> Result<Tensor> {
    let mut shape = output.shape;
    if let Some(spec) = &bound.spec {
        if spec.datatype != output.datatype {
            return Err(Error::internal(format!(
                "configuration expects datatype {} for output '{}', model provides {}",
                spec.datatype, bound.name, output.datatype
            )));
        }
        // Strings and numbers of Python's have no shape of their own: theirs is
        // the configuration's.
        if output.datatype == Datatype::Bytes || (shape.is_empty() && rows.is_none()) {
            shape = shaped(shape, &spec.dims, rows);
        } else if spec.reshape.is_some() {
            shape = reshaped(&shape, &spec.dims, rows.is_some()).ok_or_else(|| {
                Error::internal(format!(
                    "output '{}' of shape {shape:?} can't be reshaped to {:?}",
                    bound.name, spec.dims
                ))
            })?;
        }
    }
    Ok(Tensor { name: Arc::from(bound.name.as_str()), datatype: output.datatype, shape, data: output.data })
}

/// `dims` for as many elements as `shape` holds, behind the batch where there
/// is one; `shape` itself where they don't fit.
fn shaped(shape: Vec<i64>, dims: &[i64], rows: Option<u32>) -> Vec<i64> {
    let wanted: Vec<i64> = rows.map(i64::from).into_iter().chain(dims.iter().copied()).collect();
    fill_shape(&wanted, &shape).unwrap_or(shape)
}

/// The client's shape for an output that the configuration reshapes: its
/// `dims`, one varying dimension filled in from the number of elements.
fn reshaped(shape: &[i64], dims: &[i64], batched: bool) -> Option<Vec<i64>> {
    let (batch, inner) = shape.split_at(usize::from(batched).min(shape.len()));
    Some(batch.iter().copied().chain(fill_shape(dims, inner)?).collect())
}

fn has_rows(output: &Tensor, rows: u32) -> Result<()> {
    if output.shape.first() == Some(&i64::from(rows)) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "output '{}' has shape {:?} for a batch of {rows}: its first dimension must be the batch; \
         a model whose outputs don't batch needs max_batch_size: 0",
        output.name, output.shape
    )))
}

/// Takes the next `rows` off the front of each of `outputs`.
pub(super) fn take_rows(outputs: &mut [Tensor], rows: u32) -> Vec<Tensor> {
    outputs
        .iter_mut()
        .map(|output| {
            let left = output.shape.first().copied().unwrap_or(0);
            let mut shape = output.shape.clone();
            if let (Some(taken), Some(left)) = (shape.first_mut(), output.shape.first_mut()) {
                *taken = i64::from(rows).min(*left);
                *left -= *taken;
            }
            let bytes = match output.datatype.size() {
                Some(_) => {
                    let left = usize::try_from(left).unwrap_or(0).max(1);
                    output.data.len() / left * left.min(rows as usize)
                }
                None => bytes_of_strings(&output.data, &shape),
            };
            Tensor {
                name: output.name.clone(),
                datatype: output.datatype,
                shape,
                data: output.data.split_to(bytes.min(output.data.len())),
            }
        })
        .collect()
}

/// How many bytes the first strings of `data` take, as many as `shape` holds.
fn bytes_of_strings(data: &[u8], shape: &[i64]) -> usize {
    let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
    let mut strings = Strings::new(data);
    strings.by_ref().take(count).for_each(drop);
    data.len() - strings.rest().len()
}

/// The outputs that a request asks for, in its order and as it asks for them;
/// all of them where it names none.
pub(super) fn choose(
    outputs: Vec<Tensor>,
    asked: &[RequestedOutput],
    binding: &Binding,
    batched: bool,
) -> Result<Vec<Tensor>> {
    if asked.is_empty() {
        return Ok(outputs);
    }
    let find = |asked: &RequestedOutput| {
        let Some(output) = outputs.iter().find(|output| *output.name == *asked.name) else {
            let names: Vec<String> = outputs.iter().map(|output| format!("'{}'", output.name)).collect();
            return Err(Error::invalid(format!(
                "unexpected inference output '{}': the model gives {}",
                asked.name,
                names.join(", ")
            )));
        };
        if asked.classification == 0 {
            return Ok(output.clone());
        }
        let bound = binding.outputs.iter().find(|bound| bound.name == asked.name);
        let spec = bound.and_then(|bound| bound.spec.as_ref());
        let labels: &[String] = spec.map_or(&[], |spec| &*spec.labels);
        classify(output, asked.classification, batched, labels)
    };
    asked.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn tensor(datatype: Datatype, shape: &[i64], data: &[u8]) -> Tensor {
        Tensor { name: Arc::from("y"), datatype, shape: shape.to_vec(), data: Bytes::copy_from_slice(data) }
    }

    #[test]
    fn rows_are_taken_one_request_after_the_other() {
        let words: [&[u8]; 4] = [b"one", b"", b"three", b"\xff"];
        let wire = |words: &[&[u8]]| {
            words.iter().flat_map(|w| [&[w.len() as u8, 0, 0, 0][..], w].concat()).collect()
        };
        let (all, first, rest): (Vec<u8>, Vec<u8>, Vec<u8>) =
            (wire(&words), wire(&words[..1]), wire(&words[1..]));
        let mut outputs = [
            tensor(Datatype::Int16, &[4, 2], &(0..16).collect::<Vec<u8>>()),
            tensor(Datatype::Bytes, &[4, 1], &all),
            tensor(Datatype::Fp32, &[4, 0], &[]),
        ];
        let one = take_rows(&mut outputs, 1);
        assert_eq!(one[0], tensor(Datatype::Int16, &[1, 2], &[0, 1, 2, 3]));
        assert_eq!(one[1], tensor(Datatype::Bytes, &[1, 1], &first));
        assert_eq!(one[2], tensor(Datatype::Fp32, &[1, 0], &[]));
        let three = take_rows(&mut outputs, 3);
        assert_eq!(three[0], tensor(Datatype::Int16, &[3, 2], &(4..16).collect::<Vec<u8>>()));
        assert_eq!(three[1], tensor(Datatype::Bytes, &[3, 1], &rest));
        assert!(outputs.iter().all(|output| output.data.is_empty() && output.shape[0] == 0));
    }

    #[test]
    fn strings_and_numbers_get_the_configured_shape_where_it_fits() {
        assert_eq!(shaped(vec![3], &[1], Some(3)), [3, 1]);
        assert_eq!(shaped(vec![6], &[2], Some(3)), [3, 2]);
        assert_eq!(shaped(vec![6], &[-1], Some(3)), [3, 2]);
        assert_eq!(shaped(vec![5], &[1], Some(3)), [5], "whoever reads the shape finds it wrong");
        assert_eq!(shaped(vec![5], &[-1], None), [5]);
        assert_eq!(shaped(vec![], &[1], None), [1]);
        assert_eq!(shaped(vec![], &[1, 1], None), [1, 1]);
        assert_eq!(shaped(vec![], &[2], None), [0; 0]);
    }
}
