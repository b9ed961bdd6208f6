//! How the names on the wire meet `forward`'s arguments and its results.
//!
//! The rules are those of Triton's PyTorch back end, so that a model bound by
//! it is bound alike here. Where they leave a gap that ends in a wrong answer
//! (two inputs for one argument, an index beyond the last), the model is
//! refused. What Triton refuses for its own reasons is bound: tensors beside a
//! dictionary, and a configuration that leaves the last arguments to their
//! defaults.

use std::collections::HashSet;
use std::fmt;

use super::arguments::{Arguments, check_kind};
use super::{ConfigError, ModelConfig, TensorConfig};
use crate::backend::{ArgumentKind, BatchOutput, Signature};

/// Which of Triton's conventions the inputs' names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamingConvention {
    /// Every name is one of `forward`'s arguments, or a key of its dictionary.
    ForwardArgument,
    /// Every name is `<name>__<index>`.
    NamedIndex,
    /// Neither: the configuration's order is the arguments' order.
    StrictOrder,
}

impl fmt::Display for NamingConvention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForwardArgument => "by argument name",
            Self::NamedIndex => "by index in the name",
            Self::StrictOrder => "in the configuration's order",
        })
    }
}

/// A model's inputs and outputs, joined with its file's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// In the order of the arguments, each argument once; a dictionary's keys
    /// stand together in its place.
    pub inputs: Vec<BoundInput>,
    /// Where in `inputs` the keys of a dictionary go that nothing configures:
    /// every further input of a request is one. `None` where there is no such
    /// dictionary.
    pub open_keys: Option<usize>,
    /// In the order of the configuration; empty where it names none, then
    /// [`output_name`] names whatever comes.
    pub outputs: Vec<BoundOutput>,
    /// How the inputs were bound.
    pub convention: NamingConvention,
}

/// An input and the argument that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundInput {
    /// Its name on the wire.
    pub name: String,
    /// The position among `forward`'s arguments without `self`; the
    /// dictionary's for a key.
    pub argument: usize,
    /// Whether the argument takes strings and no tensor.
    pub strings: bool,
    /// Whether a request may leave it to its default, with all behind it: not
    /// where it is configured.
    pub optional: bool,
    /// What the configuration says of it; `None` takes any datatype and shape.
    pub spec: Option<TensorConfig>,
}

/// An output and the result that it is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundOutput {
    /// Its name on the wire.
    pub name: String,
    /// The position among what `forward` returns.
    pub index: usize,
    /// What the configuration says of it.
    pub spec: Option<TensorConfig>,
}

impl Binding {
    /// Joins a configuration with what the model's file says.
    ///
    /// # Errors
    /// [`ConfigError::Binding`] where `forward` takes what can't be sent, or
    /// the configuration's inputs aren't its arguments.
    pub fn new(config: &ModelConfig, signature: &Signature) -> Result<Self, ConfigError> {
        let arguments = Arguments::new(&signature.arguments)?;
        let (inputs, convention) = if config.inputs.is_empty() {
            (from_file(&arguments), NamingConvention::ForwardArgument)
        } else if let Some(dictionary) = arguments.dictionary {
            (with_keys(config, &arguments, dictionary)?, NamingConvention::ForwardArgument)
        } else {
            bind_inputs(config, &arguments)?
        };
        for input in &inputs {
            if let Some(spec) = &input.spec {
                check_kind(&arguments.filled[input.argument], spec, config.max_batch_size > 0)?;
            }
        }
        let open_keys = arguments.dictionary.filter(|_| config.inputs.is_empty());
        Ok(Self { inputs, open_keys, outputs: bind_outputs(&config.outputs)?, convention })
    }

    /// What the log should say where names were passed over for their order.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.convention == NamingConvention::StrictOrder).then(|| {
            let names: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
            format!(
                "inputs '{}' are neither all of forward's arguments nor all <name>__<index>: \
                 bound {}",
                names.join("', '"),
                self.convention
            )
        })
    }
}

impl BoundOutput {
    /// The one of a model's outputs that is meant: the one with this key, else
    /// the one at this position.
    #[must_use]
    pub fn find<'a>(&self, outputs: &'a [BatchOutput]) -> Option<&'a BatchOutput> {
        let by_key = outputs.iter().find(|output| output.name.as_deref() == Some(&self.name));
        by_key.or_else(|| outputs.get(self.index))
    }
}

/// The name of a result that no configuration names: the key that the model
/// gives it, or Triton's `OUTPUT__<index>`.
#[must_use]
pub fn output_name(index: usize, key: Option<&str>) -> String {
    key.map_or_else(|| format!("OUTPUT__{index}"), str::to_owned)
}

fn from_file(arguments: &Arguments<'_>) -> Vec<BoundInput> {
    let all = arguments.filled.iter().enumerate();
    all.filter(|(position, _)| arguments.dictionary != Some(*position))
        .map(|(argument, of_file)| BoundInput {
            name: of_file.name.clone(),
            argument,
            strings: of_file.kind == ArgumentKind::Strings,
            optional: of_file.has_default,
            spec: None,
        })
        .collect()
}

fn bound(input: &TensorConfig, argument: usize, arguments: &Arguments<'_>) -> BoundInput {
    let strings = arguments.filled[argument].kind == ArgumentKind::Strings;
    BoundInput { name: input.name.clone(), argument, strings, optional: false, spec: Some(input.clone()) }
}

/// Beside a dictionary, inputs that have another argument's name go there, and
/// all others are keys.
fn with_keys(
    config: &ModelConfig,
    arguments: &Arguments<'_>,
    dictionary: usize,
) -> Result<Vec<BoundInput>, ConfigError> {
    let place = |input: &TensorConfig| arguments.position(&input.name).unwrap_or(dictionary);
    let inputs = config.inputs.iter().map(|input| bound(input, place(input), arguments)).collect();
    let inputs = by_argument(inputs);
    for (position, argument) in arguments.filled.iter().enumerate() {
        if argument.has_default || inputs.iter().any(|input| input.argument == position) {
            continue;
        }
        let missing = if position == dictionary { "keys of the dictionary" } else { "the argument" };
        return Err(ConfigError::Binding(format!(
            "no input is configured for {missing} '{}' of {}: beside a dictionary, inputs have the names of the \
             other arguments or are its keys",
            argument.name,
            arguments.shown()
        )));
    }
    Ok(inputs)
}

fn bind_inputs(
    config: &ModelConfig,
    arguments: &Arguments<'_>,
) -> Result<(Vec<BoundInput>, NamingConvention), ConfigError> {
    let inputs = &config.inputs;
    // Triton counts arguments that have a default too; the last of them may be
    // left to it here.
    if inputs.len() > arguments.filled.len() || inputs.len() < arguments.required() {
        return Err(ConfigError::Binding(format!(
            "unable to load model '{}', configuration expects {} inputs, model provides {}: {}",
            config.name,
            inputs.len(),
            arguments.filled.len(),
            arguments.shown()
        )));
    }
    let (bound, convention) = by_convention(inputs, arguments)?;
    match bound.iter().zip(0..).find(|(input, position)| input.argument != *position) {
        None => Ok((bound, convention)),
        Some((input, skipped)) => Err(ConfigError::Binding(format!(
            "input '{}' is an argument behind '{}', which no input is configured for: only the last arguments \
             may be left to their defaults",
            input.name, arguments.filled[skipped].name
        ))),
    }
}

fn by_convention(
    inputs: &[TensorConfig],
    arguments: &Arguments<'_>,
) -> Result<(Vec<BoundInput>, NamingConvention), ConfigError> {
    let bound = |(input, position)| bound(input, position, arguments);
    let by_name = |input: &TensorConfig| arguments.position(&input.name);
    if let Some(positions) = inputs.iter().map(by_name).collect::<Option<Vec<_>>>() {
        let bound = inputs.iter().zip(positions).map(bound).collect();
        return Ok((by_argument(bound), NamingConvention::ForwardArgument));
    }
    let Some(indices) = indices(inputs)? else {
        return Ok((inputs.iter().zip(0..).map(bound).collect(), NamingConvention::StrictOrder));
    };
    let mut taken = HashSet::new();
    let mut inputs_by_index = Vec::with_capacity(inputs.len());
    for (input, index) in inputs.iter().zip(indices) {
        if index >= arguments.filled.len() {
            return Err(ConfigError::Binding(format!(
                "input '{}' refers to an argument which doesn't exist: this model has {} arguments, from 0",
                input.name,
                arguments.filled.len()
            )));
        }
        if !taken.insert(index) {
            return Err(ConfigError::Binding(format!(
                "input '{}' refers to argument {index}, as an input before it does",
                input.name
            )));
        }
        inputs_by_index.push(bound((input, index)));
    }
    Ok((by_argument(inputs_by_index), NamingConvention::NamedIndex))
}

fn by_argument(mut inputs: Vec<BoundInput>) -> Vec<BoundInput> {
    inputs.sort_by_key(|input| input.argument);
    inputs
}

/// By index where all names have one, else by order. How many results there
/// are shows when the model runs.
fn bind_outputs(outputs: &[TensorConfig]) -> Result<Vec<BoundOutput>, ConfigError> {
    let indices = indices(outputs)?.unwrap_or_else(|| (0..outputs.len()).collect());
    let bound = |(output, index): (&TensorConfig, usize)| BoundOutput {
        name: output.name.clone(),
        index,
        spec: Some(output.clone()),
    };
    Ok(outputs.iter().zip(indices).map(bound).collect())
}

/// The index that each name ends in, if all of them do: the digits behind the
/// first `__`, and 0 where there are none, as Triton reads them.
fn indices(tensors: &[TensorConfig]) -> Result<Option<Vec<usize>>, ConfigError> {
    let mut indices = Vec::with_capacity(tensors.len());
    for TensorConfig { name, .. } in tensors {
        match name.split_once("__") {
            Some((_, "")) => indices.push(0),
            Some((_, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let index = digits
                    .parse()
                    .map_err(|_| ConfigError::Binding(format!("the index in '{name}' is too large")))?;
                indices.push(index);
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(indices))
}

#[cfg(test)]
mod tests;
