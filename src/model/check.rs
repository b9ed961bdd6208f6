//! A request against the model it asks: names, datatypes, shapes, rows. What
//! passes can be batched and run; what doesn't is named.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::batching::Batching;
use crate::error::{Error, Result};
use crate::model_config::{Binding, BoundInput, ModelConfig, TensorConfig};
use crate::model_settings::LargeRequests;
use crate::protocol::{Datatype, RequestedOutput, Tensor, check_strings, fill_shape};
use crate::scheduler::RowSize;

/// A request's inputs in the model's order; one that is made while the batch
/// is collected has its shape and no data.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) inputs: Vec<Tensor>,
    pub(super) rows: u32,
    pub(super) bucket: Vec<i64>,
    pub(super) size: RowSize,
}

/// Checks `inputs` and puts them into the model's order and shapes.
pub(super) fn check_inputs(
    inputs: Vec<Tensor>,
    config: &ModelConfig,
    binding: &Binding,
    batching: &Batching,
) -> Result<Checked> {
    let model = &config.name;
    let mut given: HashMap<_, _> = inputs.into_iter().map(|input| (input.name.clone(), input)).collect();
    let mut ordered = Vec::with_capacity(binding.inputs.len());
    let mut missing = Vec::new();
    // An argument that is left to its default, with all behind it.
    let mut left_out = None;
    for (index, bound) in binding.inputs.iter().enumerate() {
        match (given.remove(bound.name.as_str()), left_out) {
            (Some(input), None) => ordered.push(check_one(input, bound, config)?),
            (Some(_), Some(before)) => missing.push(before),
            (None, _) if batching.makes(index) => ordered.push(to_be_made(bound)),
            (None, _) if bound.optional => left_out = left_out.or(Some(bound.name.as_str())),
            (None, _) => missing.push(bound.name.as_str()),
        }
    }
    if let Some(place) = binding.open_keys.filter(|_| missing.is_empty()) {
        // Nothing names the keys but the request itself.
        let mut keys = given.drain().map(|(_, input)| input).collect::<Vec<Tensor>>();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys.iter().try_for_each(|key| check_values(key, false, &config.name))?;
        let place = place.min(ordered.len());
        ordered.splice(place..place, keys);
    }
    if let Some(unexpected) = given.keys().min() {
        return Err(Error::invalid(format!(
            "unexpected inference input '{unexpected}' for model '{model}', which takes {}",
            quoted("input", binding.inputs.iter().map(|input| input.name.as_str()))
        )));
    }
    if !missing.is_empty() {
        return Err(Error::invalid(format!(
            "the request lacks {} of model '{model}'",
            quoted("input", missing.into_iter())
        )));
    }
    let rows = rows(&ordered, config, batching)?;
    let length = length(&ordered, config, batching)?;
    for (index, input) in ordered.iter_mut().enumerate().filter(|(_, input)| is_to_be_made(input)) {
        let spec = binding.inputs.get(index).and_then(|bound| bound.spec.as_ref());
        let shape = spec.map(model_dims).unwrap_or_default();
        let own = shape.iter().map(|size| if *size < 0 { i64::from(length) } else { *size });
        input.shape = std::iter::once(i64::from(rows)).chain(own).collect();
    }
    let bucket =
        bucket(ordered.iter().map(|input| (input.datatype, input.shape.as_slice())), config, batching);
    let size = batching.row_size(&ordered, length);
    Ok(Checked { inputs: ordered, rows, bucket, size })
}

/// Checks that the outputs asked for are the model's, as far as that is known
/// before it runs.
pub(super) fn check_outputs(asked: &[RequestedOutput], config: &ModelConfig) -> Result<()> {
    let unknown = asked.iter().find(|output| {
        !config.outputs.is_empty() && !config.outputs.iter().any(|known| known.name == output.name)
    });
    match unknown {
        None => Ok(()),
        Some(output) => Err(Error::invalid(format!(
            "unexpected inference output '{}' for model '{}', which gives {}",
            output.name,
            config.name,
            quoted("output", config.outputs.iter().map(|output| output.name.as_str()))
        ))),
    }
}

fn check_one(mut input: Tensor, bound: &BoundInput, config: &ModelConfig) -> Result<Tensor> {
    let (name, model) = (&bound.name, &config.name);
    let Some(spec) = &bound.spec else {
        check_values(&input, bound.strings, model)?;
        return Ok(input);
    };
    if input.datatype != spec.datatype {
        return Err(Error::invalid(format!(
            "inference input '{name}' data-type is '{}', but model '{model}' expects '{}'",
            input.datatype, spec.datatype
        )));
    }
    check_values(&input, bound.strings, model)?;
    let batched = config.max_batch_size > 0;
    let expected: Vec<i64> = batched.then_some(-1).into_iter().chain(spec.dims.iter().copied()).collect();
    let fits = input.shape.len() == expected.len()
        && input.shape.iter().zip(&expected).all(|(got, expected)| *expected < 0 || got == expected);
    if !fits {
        let note = if batched {
            ". The first dimension is the batch, because max_batch_size isn't zero"
        } else {
            ""
        };
        return Err(Error::invalid(format!(
            "unexpected shape for input '{name}' for model '{model}'. Expected {}, got {}{note}",
            shown(&expected),
            shown(&input.shape)
        )));
    }
    if let Some(reshape) = &spec.reshape {
        input.shape = reshaped(&input.shape, spec, reshape, batched)?;
    }
    Ok(input)
}

/// Checks what the bytes alone can be wrong in. `strings` says that the
/// argument takes strings and nothing else.
fn check_values(input: &Tensor, strings: bool, model: &str) -> Result<()> {
    let name = &input.name;
    if strings != (input.datatype == Datatype::Bytes) {
        let takes = if strings { "strings, datatype BYTES" } else { "a tensor of numbers" };
        return Err(Error::invalid(format!(
            "input '{name}' of model '{model}' is {takes}, got {}",
            input.datatype
        )));
    }
    if strings {
        check_strings(name, &input.shape, &input.data)?;
    }
    if input.datatype == Datatype::Bool && input.data.iter().any(|byte| *byte > 1) {
        return Err(Error::invalid(format!("input '{name}': a BOOL is one byte of 0 or 1")));
    }
    Ok(())
}

/// The shape that the model sees where its configuration reshapes the input.
fn reshaped(shape: &[i64], spec: &TensorConfig, reshape: &[i64], batched: bool) -> Result<Vec<i64>> {
    let (batch, inner) = shape.split_at(usize::from(batched).min(shape.len()));
    let filled = fill_shape(reshape, inner).ok_or_else(|| {
        Error::invalid(format!(
            "input '{}' of shape {} can't be reshaped to {}",
            spec.name,
            shown(inner),
            shown(reshape)
        ))
    })?;
    Ok(batch.iter().copied().chain(filled).collect())
}

/// The shape that the model sees, without the batch.
fn model_dims(spec: &TensorConfig) -> &[i64] {
    spec.reshape.as_ref().unwrap_or(&spec.dims)
}

/// In the place of an input that the request leaves to be made, until its shape
/// is known. No request's own is a scalar where the model batches.
fn to_be_made(bound: &BoundInput) -> Tensor {
    let datatype = bound.spec.as_ref().map_or(Datatype::Uint8, |spec| spec.datatype);
    Tensor { name: Arc::from(bound.name.as_str()), datatype, shape: Vec::new(), data: Bytes::new() }
}

fn is_to_be_made(input: &Tensor) -> bool {
    input.shape.is_empty() && input.data.is_empty()
}

/// The length of the inputs that are padded, equal in all of them; zero where
/// none is.
fn length(inputs: &[Tensor], config: &ModelConfig, batching: &Batching) -> Result<u32> {
    let Some(padding) = &batching.padding else { return Ok(0) };
    let own = |(index, input): (usize, &Tensor)| {
        let dimension = batching.dimension(index)?;
        Some((input.name.clone(), dimension, *input.shape.get(dimension)?))
    };
    let mut lengths = inputs.iter().enumerate().filter_map(own);
    let Some((first, _, length)) = lengths.next() else { return Ok(0) };
    if let Some((other, dimension, differs)) = lengths.find(|(.., other)| *other != length) {
        return Err(Error::invalid(format!(
            "inputs '{first}' and '{other}' of model '{}' are padded together and have one length: \
             got {length} and {differs}, in dimension {dimension} of '{other}'",
            config.name
        )));
    }
    // What is made for a length is as long: it must have been sent.
    if length > 0
        && inputs
            .iter()
            .enumerate()
            .any(|(index, input)| batching.dimension(index).is_some() && input.shape.contains(&0))
    {
        return Err(Error::invalid(format!(
            "input '{first}' of model '{}' is {length} long, but an input that is padded with it is empty",
            config.name
        )));
    }
    let most = padding.lengths.max_length.unwrap_or(u32::MAX);
    u32::try_from(length).ok().filter(|length| *length <= most).ok_or_else(|| {
        Error::invalid(format!(
            "input '{first}' of model '{}' is {length} long: at most {most} is taken",
            config.name
        ))
    })
}

/// The rows of the batch dimension, equal in all inputs.
fn rows(inputs: &[Tensor], config: &ModelConfig, batching: &Batching) -> Result<u32> {
    let (model, max) = (&config.name, config.max_batch_size);
    if max == 0 {
        return Ok(1);
    }
    let mut rows = None;
    for input in inputs.iter().filter(|input| !is_to_be_made(input)) {
        let own = input.shape.first().copied().unwrap_or(0);
        match rows {
            None => rows = Some(own),
            Some(rows) if rows == own => {}
            Some(rows) => {
                return Err(Error::invalid(format!(
                    "input '{}' batch size does not match other inputs for '{model}': it has {own} rows, \
                     another has {rows}",
                    input.name
                )));
            }
        }
    }
    match rows.map(u32::try_from) {
        Some(Ok(0)) => Err(Error::invalid(format!("the request for model '{model}' has a batch of 0 rows"))),
        Some(Ok(rows)) if rows <= max || batching.large_requests == LargeRequests::Split => Ok(rows),
        _ => Err(Error::invalid(format!(
            "inference request batch-size must be <= {max} for '{model}', got {}",
            rows.unwrap_or(0)
        ))),
    }
}

/// What must be equal in requests that run together; empty where the model
/// runs each by itself.
pub(super) fn bucket<'a>(
    inputs: impl ExactSizeIterator<Item = (Datatype, &'a [i64])>,
    config: &ModelConfig,
    batching: &Batching,
) -> Vec<i64> {
    if config.dynamic_batching.is_none() {
        return Vec::new();
    }
    // Datatype and rank too: an input that no configuration declares may come
    // in any, and the dimensions behind the batch alone don't tell them apart.
    let mut bucket = Vec::with_capacity(inputs.len() * 6);
    for (index, (datatype, shape)) in inputs.enumerate() {
        bucket.push(datatype as i64);
        bucket.push(i64::try_from(shape.len()).unwrap_or(i64::MAX));
        let start = bucket.len();
        bucket.extend(shape.iter().skip(1));
        // Whatever its length.
        if let Some(padded) =
            batching.dimension(index).and_then(|dimension| bucket.get_mut(start + dimension - 1))
        {
            *padded = -1;
        }
    }
    bucket
}

fn quoted<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    match names.len() {
        0 => format!("no {what}s"),
        1 => format!("{what} {}", names[0]),
        _ => format!("{what}s {}", names.join(", ")),
    }
}

/// A shape as Triton's messages write it.
fn shown(shape: &[i64]) -> String {
    let dimensions: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dimensions.join(","))
}
