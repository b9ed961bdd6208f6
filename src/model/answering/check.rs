//! Checks a request against its model: names, datatypes, shapes, rows. A
//! request that passes can be batched and run; for any other the error names
//! what is wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::batching::Batching;
use super::values::{repeat, value};
use crate::error::{Error, Result};
use crate::model_config::{Binding, BoundInput, Lack, ModelConfig, Presence, TensorConfig};
use crate::model_settings::LargeRequests;
use cresset_backend::Leaf;
use cresset_protocol::{Datatype, RequestedOutput, Tensor, check_strings, fill_shape};
use cresset_scheduler::RowSize;

/// A request's inputs in the order of the binding's, each under its place:
///
/// - an input that the request leaves out is absent;
/// - an input that is made while the batch is collected has its shape and no
///   data;
/// - inputs that the configuration doesn't declare come last.
#[derive(Debug)]
pub(in crate::model) struct Checked {
    pub(in crate::model) inputs: Vec<Tensor>,
    pub(in crate::model) rows: u32,
    pub(in crate::model) bucket: Vec<i64>,
    pub(in crate::model) size: RowSize,
}

/// Checks `inputs` and puts them into the model's order and shapes. An argument
/// that is a number or a string may be among the `parameters`.
pub(in crate::model) fn check_inputs(
    inputs: Vec<Tensor>,
    parameters: Vec<Tensor>,
    config: &ModelConfig,
    binding: &Binding,
    batching: &Batching,
) -> Result<Checked> {
    let mut ordered = in_order(inputs, parameters, config, binding, batching)?;
    let rows = rows(&ordered, config, binding, batching)?;
    let length = length(&ordered, config, batching)?;
    for (index, (input, bound)) in ordered.iter_mut().zip(&binding.inputs).enumerate() {
        if bound.leaf.shared().is_some() && config.max_batch_size > 0 && !input.is_absent() {
            repeat(input, rows)?;
        }
        if input.is_absent() && batching.makes(index) {
            let shape = bound.spec.as_ref().map(model_dims).unwrap_or_default();
            let own = shape.iter().map(|size| if *size < 0 { i64::from(length) } else { *size });
            input.shape = std::iter::once(i64::from(rows)).chain(own).collect();
        }
        input.name = Arc::clone(&bound.place);
    }
    let shapes = ordered.iter().map(|input| (input.datatype, input.shape.as_slice()));
    let mut bucket = bucket(shapes, config, batching);
    if config.dynamic_batching.is_some() {
        bucket.extend(binding.variant(&ordered));
    }
    let size = batching.row_size(&ordered, length);
    Ok(Checked { inputs: ordered, rows, bucket, size })
}

/// Each input in its binding's place, shared values as one row's.
fn in_order(
    inputs: Vec<Tensor>,
    parameters: Vec<Tensor>,
    config: &ModelConfig,
    binding: &Binding,
    batching: &Batching,
) -> Result<Vec<Tensor>> {
    let model = &config.name;
    let by_name = |tensors: Vec<Tensor>| -> HashMap<Arc<str>, Tensor> {
        tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
    };
    let names: Vec<Arc<str>> = inputs.iter().map(|input| input.name.clone()).collect();
    let mut given = by_name(inputs);
    let mut parameters = by_name(values_of(parameters, &given, binding, model)?);
    let mut ordered = Vec::with_capacity(binding.inputs.len());
    let mut missing: Vec<String> = Vec::new();
    for (index, bound) in binding.inputs.iter().enumerate() {
        let name = bound.name.as_str();
        match given.remove(name) {
            Some(input) => ordered.push(check_one(input, bound, config)?),
            None if batching.makes(index) => ordered.push(to_be_made(bound)),
            None => match (parameters.remove(name), bound.leaf.shared()) {
                (Some(parameter), Some(scalar)) => ordered.push(value(parameter, scalar, bound, model)?),
                _ => {
                    if bound.presence == Presence::Required {
                        missing.push(name.to_owned());
                    }
                    ordered.push(Tensor::absent(Arc::clone(&bound.place)));
                }
            },
        }
    }
    given.extend(parameters);
    ordered.extend(further(&mut given, binding, model)?);
    if let Some(unexpected) = given.keys().min() {
        return Err(Error::invalid(format!(
            "unexpected inference input '{unexpected}' for model '{model}', which takes {}",
            quoted("input", binding.inputs.iter().map(|input| input.name.as_str()))
        )));
    }
    let places = ordered.iter().enumerate().filter(|(_, input)| !input.is_absent());
    let places =
        places.map(|(index, input)| binding.inputs.get(index).map_or(&*input.name, |bound| &*bound.place));
    match binding.lacks(places) {
        Some(Lack::Before(place)) => {
            return Err(Error::invalid(format!(
                "the request for model '{model}' lacks input '{place}', but has one behind it in the same list"
            )));
        }
        Some(Lack::Beside(place)) if !missing.contains(&place) => missing.push(place),
        Some(Lack::Beside(_)) | None => {}
    }
    if !missing.is_empty() {
        return Err(lacking(&names, &missing, binding, model));
    }
    Ok(ordered)
}

/// The parameters that are arguments of the model; the others aren't for the
/// model.
fn values_of(
    parameters: Vec<Tensor>,
    given: &HashMap<Arc<str>, Tensor>,
    binding: &Binding,
    model: &str,
) -> Result<Vec<Tensor>> {
    let mut values = Vec::new();
    for parameter in parameters {
        let name = Arc::clone(&parameter.name);
        let bound = binding.input(&name);
        let leaf = bound.map(|bound| bound.leaf).or_else(|| binding.find_open(&name).map(|open| open.leaf));
        let wrong = |what: &str| {
            Err(Error::invalid(format!("parameter '{name}' of the request for model '{model}' {what}")))
        };
        match leaf {
            Some(leaf) if leaf.shared().is_some() && given.contains_key(&name) => {
                return wrong("is also one of its inputs: send it once");
            }
            Some(leaf) if leaf.shared().is_some() && parameter.is_absent() => {
                return wrong("is no number, string, or list of numbers");
            }
            Some(leaf) if leaf.shared().is_some() => values.push(parameter),
            Some(_) if bound.is_some() => return wrong("is a tensor: send it among the inputs"),
            None if binding.has_argument(&name) => {
                return wrong("is an argument that can't be sent");
            }
            Some(_) | None => {}
        }
    }
    Ok(values)
}

/// The inputs that the configuration doesn't declare: values of lists and
/// dictionaries.
fn further(given: &mut HashMap<Arc<str>, Tensor>, binding: &Binding, model: &str) -> Result<Vec<Tensor>> {
    if !binding.open {
        return Ok(Vec::new());
    }
    let mut places = HashSet::new();
    let mut found = Vec::new();
    let mut names: Vec<Arc<str>> = given.keys().cloned().collect();
    names.sort_unstable();
    for name in names {
        let Some(bound) = binding.find_open(&name) else { continue };
        let Some(input) = given.remove(&name) else { continue };
        let input = match bound.leaf.shared() {
            Some(scalar) => value(input, scalar, &bound, model)?,
            None => check_values(&input, bound.leaf == Leaf::Strings, model).map(|()| input)?,
        };
        if !places.insert(Arc::clone(&bound.place)) {
            return Err(Error::invalid(format!("input '{name}' of model '{model}' is given twice")));
        }
        found.push(Tensor { name: bound.place, ..input });
    }
    Ok(found)
}

/// In Triton's words.
fn lacking(given: &[Arc<str>], missing: &[String], binding: &Binding, model: &str) -> Error {
    let listed = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",")
    };
    let declared = binding.inputs.iter().any(|input| input.spec.is_some());
    let least = binding.inputs.iter().filter(|input| input.presence == Presence::Required).count();
    // A client needn't send numbers that have defaults.
    let counts =
        |input: &&BoundInput| !declared || input.spec.is_some() || input.presence == Presence::Required;
    let most = binding.inputs.iter().filter(counts).count();
    let expected = if least == most {
        format!("{most}")
    } else {
        format!("number of inputs between {least} and {most}")
    };
    let plural = if least == most { " inputs" } else { "" };
    Error::invalid(format!(
        "expected {expected}{plural} but got {} inputs for model '{model}'. Got input(s) [{}], but missing required \
         input(s) [{}]. Please provide all required input(s).",
        given.len(),
        listed(&mut given.iter().map(|name| &**name)),
        listed(&mut missing.iter().map(String::as_str))
    ))
}

/// Checks that the outputs asked for are the model's, as far as that is known
/// before it runs.
pub(in crate::model) fn check_outputs(asked: &[RequestedOutput], config: &ModelConfig) -> Result<()> {
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
        return match bound.leaf.shared() {
            Some(scalar) => value(input, scalar, bound, model),
            None => check_values(&input, bound.leaf == Leaf::Strings, model).map(|()| input),
        };
    };
    if input.datatype != spec.datatype {
        return Err(Error::invalid(format!(
            "inference input '{name}' data-type is '{}', but model '{model}' expects '{}'",
            input.datatype, spec.datatype
        )));
    }
    if let Some(scalar) = bound.leaf.shared() {
        return value(input, scalar, bound, model);
    }
    check_values(&input, bound.leaf == Leaf::Strings, model)?;
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

/// Checks the bytes of an input. `strings` says that the argument takes strings
/// and nothing else.
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
        check_strings(name, model, &input.shape, &input.data)?;
    }
    if input.datatype == Datatype::Bool && input.data.iter().any(|byte| *byte > 1) {
        return Err(Error::invalid(format!("input '{name}': a BOOL is one byte of 0 or 1")));
    }
    Ok(())
}

/// The shape that the model sees if its configuration reshapes the input.
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

/// Stands for an input that the server makes: absent until its shape is known.
fn to_be_made(bound: &BoundInput) -> Tensor {
    let absent = Tensor::absent(Arc::clone(&bound.place));
    Tensor { datatype: bound.datatype().unwrap_or(absent.datatype), ..absent }
}

/// The length of the inputs that are padded, equal in all of them; zero if
/// none is padded.
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
    // A made input follows the length of the sent ones, so none of these may be
    // empty.
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
fn rows(inputs: &[Tensor], config: &ModelConfig, binding: &Binding, batching: &Batching) -> Result<u32> {
    let (model, max) = (&config.name, config.max_batch_size);
    if max == 0 {
        return Ok(1);
    }
    let mut rows = None;
    let shared = |index: usize| binding.inputs.get(index).is_some_and(|bound| bound.leaf.shared().is_some());
    let own = inputs.iter().enumerate().filter(|(index, input)| !input.is_absent() && !shared(*index));
    for (_, input) in own {
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
        None => Ok(1),
        Some(Ok(0)) => Err(Error::invalid(format!("the request for model '{model}' has a batch of 0 rows"))),
        Some(Ok(rows)) if rows <= max || batching.large_requests == LargeRequests::Split => Ok(rows),
        _ => Err(Error::invalid(format!(
            "inference request batch-size must be <= {max} for '{model}', got {}",
            rows.unwrap_or(0)
        ))),
    }
}

/// What must be equal in requests that run together; empty if the model runs each
/// by itself.
pub(in crate::model) fn bucket<'a>(
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
