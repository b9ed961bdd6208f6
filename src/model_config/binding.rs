//! How the names on the wire meet `forward`'s arguments and its results.
//!
//! The rules are those of Triton's PyTorch back end, so that a model bound by
//! it is bound alike here. Where they leave a gap that ends in a wrong answer
//! (two inputs for one argument, an index beyond the last), the model is
//! refused.

use std::collections::HashSet;
use std::fmt;

use super::{ConfigError, ModelConfig, TensorConfig};
use crate::backend::{Argument, ArgumentKind, Signature};

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
    /// In the order of the arguments, each argument once. Empty beside
    /// `dictionary` where nothing is configured: a request's names are the keys.
    pub inputs: Vec<BoundInput>,
    /// `forward` takes one dictionary, whose keys are the inputs' names.
    pub dictionary: bool,
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
    /// The position among `forward`'s arguments without `self`; among the
    /// configuration's inputs for a dictionary.
    pub argument: usize,
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
        let arguments = &signature.arguments;
        let dictionary = takes_a_dictionary(arguments)?;
        let (inputs, convention) = if dictionary {
            (in_order(&config.inputs), NamingConvention::ForwardArgument)
        } else if config.inputs.is_empty() {
            (from_file(arguments), NamingConvention::ForwardArgument)
        } else {
            bind_inputs(config, arguments)?
        };
        Ok(Self { inputs, dictionary, outputs: bind_outputs(&config.outputs)?, convention })
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

/// The name of a result that no configuration names: the key that the model
/// gives it, or Triton's `OUTPUT__<index>`.
#[must_use]
pub fn output_name(index: usize, key: Option<&str>) -> String {
    key.map_or_else(|| format!("OUTPUT__{index}"), str::to_owned)
}

/// Whether the arguments are one dictionary; they are all tensors otherwise.
fn takes_a_dictionary(arguments: &[Argument]) -> Result<bool, ConfigError> {
    if let [Argument { kind: ArgumentKind::TensorDict, .. }] = arguments {
        return Ok(true);
    }
    if arguments.iter().skip(1).any(|argument| argument.kind == ArgumentKind::TensorDict) {
        return Err(ConfigError::Binding(
            "multiple inputs of kind DictType were detected: \
             only a single input of type Dict(str, Tensor) is supported"
                .to_owned(),
        ));
    }
    for Argument { name, kind, .. } in arguments {
        let spelt = match kind {
            ArgumentKind::Tensor => continue,
            ArgumentKind::TensorDict => "Dict(str, Tensor)",
            ArgumentKind::Strings => {
                return Err(ConfigError::Binding(format!(
                    "forward's argument '{name}' is of type 'List[str]': string tensors are not served yet"
                )));
            }
            ArgumentKind::Other(spelt) => spelt,
        };
        return Err(ConfigError::Binding(format!(
            "an input of type '{spelt}' was detected in the model (forward's argument '{name}'): \
             only a single input of type Dict(str, Tensor) or input(s) of type Tensor are supported"
        )));
    }
    Ok(false)
}

fn from_file(arguments: &[Argument]) -> Vec<BoundInput> {
    let bound = |(argument, of_file): (usize, &Argument)| BoundInput {
        name: of_file.name.clone(),
        argument,
        spec: None,
    };
    arguments.iter().enumerate().map(bound).collect()
}

fn in_order(inputs: &[TensorConfig]) -> Vec<BoundInput> {
    inputs.iter().enumerate().map(|(argument, input)| bound(input, argument)).collect()
}

fn bound(input: &TensorConfig, argument: usize) -> BoundInput {
    BoundInput { name: input.name.clone(), argument, spec: Some(input.clone()) }
}

fn bind_inputs(
    config: &ModelConfig,
    arguments: &[Argument],
) -> Result<(Vec<BoundInput>, NamingConvention), ConfigError> {
    let inputs = &config.inputs;
    // Arguments that have a default count too: Triton's rule.
    if inputs.len() != arguments.len() {
        let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        return Err(ConfigError::Binding(format!(
            "unable to load model '{}', configuration expects {} inputs, model provides {}: forward({})",
            config.name,
            inputs.len(),
            arguments.len(),
            names.join(", ")
        )));
    }

    let by_name = |input: &TensorConfig| arguments.iter().position(|argument| argument.name == input.name);
    if let Some(positions) = inputs.iter().map(by_name).collect::<Option<Vec<_>>>() {
        let bound = inputs.iter().zip(positions).map(|(input, position)| bound(input, position)).collect();
        return Ok((by_argument(bound), NamingConvention::ForwardArgument));
    }
    let Some(indices) = indices(inputs)? else {
        return Ok((in_order(inputs), NamingConvention::StrictOrder));
    };
    let mut taken = HashSet::new();
    let mut inputs_by_index = Vec::with_capacity(inputs.len());
    for (input, index) in inputs.iter().zip(indices) {
        if index >= arguments.len() {
            return Err(ConfigError::Binding(format!(
                "input '{}' refers to an argument which doesn't exist: this model has {} arguments, from 0",
                input.name,
                arguments.len()
            )));
        }
        if !taken.insert(index) {
            return Err(ConfigError::Binding(format!(
                "input '{}' refers to argument {index}, as an input before it does",
                input.name
            )));
        }
        inputs_by_index.push(bound(input, index));
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
