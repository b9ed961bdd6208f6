//! Whether the declared transforms fit the model that they stand around.

use crate::model_config::{Binding, BoundInput, ModelConfig, TensorConfig};
use crate::transform::{MadeInput, ReadOutput, Transforms};

/// A transform must name tensors that the model has, of the shapes that it makes.
pub(super) fn check_transforms(
    transforms: &Transforms,
    config: &ModelConfig,
    binding: &Binding,
) -> Result<(), String> {
    if let Some(preprocessor) = transforms.preprocessor() {
        check_made(preprocessor.kind().table, &preprocessor.inputs(), config, binding)?;
    }
    if let Some(postprocessor) = transforms.postprocessor() {
        let table = postprocessor.table();
        postprocessor.outputs().iter().try_for_each(|output| check_read(table, output, config))?;
    }
    let files: Vec<&str> = transforms.files().collect();
    tracing::debug!(model = config.name, ?files, "the declared transforms fit the model");
    Ok(())
}

/// What a preprocessor makes must be all that a request must bring.
fn check_made(
    table: &str,
    made: &[MadeInput],
    config: &ModelConfig,
    binding: &Binding,
) -> Result<(), String> {
    let bound = made.iter().map(|input| bound(table, input, binding)).collect::<Result<Vec<_>, _>>()?;
    let all = binding.inputs.iter().all(|input| bound.contains(&input));
    let needed = || binding.needed().all(|input| bound.contains(&input));
    let wanted = || bound.iter().all(|input| binding.needed().any(|needed| needed == *input));
    let brought = all || (needed() && wanted());
    if !brought {
        return Err(match made.len() {
            1 => format!("{table}: the model takes more than one input"),
            count => format!("{table} makes {count} inputs, and the model takes others"),
        });
    }
    made.iter().zip(bound).try_for_each(|(made, bound)| check_input(table, made, bound, config))
}

/// The model's input that is made.
fn bound<'a>(table: &str, made: &MadeInput, binding: &'a Binding) -> Result<&'a BoundInput, String> {
    match &made.name {
        Some(name) => binding
            .input(name)
            .ok_or_else(|| format!("{table} input = '{name}': the model has no such input")),
        None => binding.only_input().ok_or_else(|| {
            let count = binding.inputs.len();
            format!("{table} names no input, and the model has {count}")
        }),
    }
}

fn check_input(
    table: &str,
    made: &MadeInput,
    bound: &BoundInput,
    config: &ModelConfig,
) -> Result<(), String> {
    let Some(spec) = &bound.spec else { return Ok(()) };
    let without_batch = config.max_batch_size > 0 || spec.dims.len() + 1 == made.shape.len();
    let shape = made.shape.get(usize::from(without_batch)..).unwrap_or_default();
    if fits(shape, &spec.dims) && spec.datatype == made.datatype {
        return Ok(());
    }
    Err(format!(
        "{table} makes {} {shape:?}, but input '{}' takes {} {:?}",
        made.datatype, bound.name, spec.datatype, spec.dims
    ))
}

fn check_read(table: &str, read: &ReadOutput, config: &ModelConfig) -> Result<(), String> {
    let is_read = |output: &&TensorConfig| read.name.as_ref().is_none_or(|name| *name == output.name);
    let Some(output) = config.outputs.iter().find(is_read) else {
        return match &read.name {
            Some(name) if !config.outputs.is_empty() => {
                Err(format!("{table} output = '{name}': the model has no such output"))
            }
            _ => Ok(()),
        };
    };
    if output.datatype != read.datatype {
        return Err(format!(
            "{table}: output '{}' is {}, and {} are {}",
            output.name, output.datatype, read.elements, read.datatype
        ));
    }
    let Some(row) = &read.row else { return Ok(()) };
    let without_batch = config.max_batch_size == 0 && output.dims.len() == row.len() + 1;
    let dims = output.dims.get(usize::from(without_batch)..).unwrap_or_default();
    if fits(row, dims) {
        return Ok(());
    }
    Err(format!(
        "{table} reads {} {row:?}, but output '{}' is {} {:?}",
        read.datatype, output.name, output.datatype, output.dims
    ))
}

/// Whether two shapes may be the same: -1 is any size.
fn fits(shape: &[i64], dims: &[i64]) -> bool {
    let alike = |(side, dim): (&i64, &i64)| *side < 0 || *dim < 0 || side == dim;
    shape.len() == dims.len() && shape.iter().zip(dims).all(alike)
}

#[cfg(test)]
mod tests;
