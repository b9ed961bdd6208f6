//! A batch's outputs into responses: each request gets its own rows, as
//! slices of one memory.

use std::sync::Arc;

use super::classify::classify;
use crate::backend::BatchOutput;
use crate::error::{Error, Result};
use crate::model_config::{Binding, BoundOutput, output_name};
use crate::protocol::{RequestedOutput, Tensor, fill_shape};

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
                Some(output) => configured(bound, output.clone(), rows.is_some()),
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

fn configured(bound: &BoundOutput, output: BatchOutput, batched: bool) -> Result<Tensor> {
    let mut shape = output.shape;
    if let Some(spec) = &bound.spec {
        if spec.datatype != output.datatype {
            return Err(Error::internal(format!(
                "configuration expects datatype {} for output '{}', model provides {}",
                spec.datatype, bound.name, output.datatype
            )));
        }
        if spec.reshape.is_some() {
            shape = reshaped(&shape, &spec.dims, batched).ok_or_else(|| {
                Error::internal(format!(
                    "output '{}' of shape {shape:?} can't be reshaped to {:?}",
                    bound.name, spec.dims
                ))
            })?;
        }
    }
    Ok(Tensor { name: Arc::from(bound.name.as_str()), datatype: output.datatype, shape, data: output.data })
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

/// The part of `outputs` that belongs to the rows from `start` on.
pub(super) fn slice_rows(outputs: &[Tensor], start: u32, rows: u32, total: u32) -> Vec<Tensor> {
    outputs
        .iter()
        .map(|output| {
            let row_bytes = output.data.len() / total.max(1) as usize;
            let mut shape = output.shape.clone();
            if let Some(batch) = shape.first_mut() {
                *batch = i64::from(rows);
            }
            let from = start as usize * row_bytes;
            Tensor {
                name: output.name.clone(),
                datatype: output.datatype,
                shape,
                data: output.data.slice(from..from + rows as usize * row_bytes),
            }
        })
        .collect()
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
