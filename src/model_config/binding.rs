//! Which of a request's tensors is which of the model's arguments, by the
//! rules of Triton's PyTorch backend.

use super::{ConfigError, ModelConfig, TensorConfig};
use crate::backend::{Argument, ArgumentKind, Signature};

/// A model's inputs and outputs by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// In the order in which the model takes them.
    pub inputs: Vec<BoundInput>,
    /// Whether the inputs are the entries of one dictionary.
    pub dictionary: bool,
    /// In the order of the configuration; empty where there is none: then the
    /// outputs are named as the model names them, or `OUTPUT__0` and so on.
    pub outputs: Vec<BoundOutput>,
    /// By which rule the inputs were bound.
    pub convention: NamingConvention,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundInput {
    /// Its name on the wire.
    pub name: String,
    /// As configured; `None` passes any datatype and shape on.
    pub spec: Option<TensorConfig>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundOutput {
    /// Its name on the wire.
    pub name: String,
    /// Its position among the model's outputs.
    pub index: usize,
    /// As configured.
    pub spec: Option<TensorConfig>,
}

/// How names of inputs are matched with arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamingConvention {
    /// Every name is one of forward's arguments.
    ForwardArgument,
    /// Every name is `<anything>__<position>`.
    NamedIndex,
    /// Neither: the order of the configuration is the order of the arguments.
    ConfigurationOrder,
    /// The names are the keys of the one dictionary that forward takes.
    Dictionary,
}

impl Binding {
    /// Binds a configuration to what its file says.
    ///
    /// # Errors
    /// Arguments that can't be served, or names that don't fit them.
    pub fn new(config: &ModelConfig, signature: &Signature) -> Result<Self, ConfigError> {
        let arguments = signature.arguments.as_slice();
        let outputs = bind_outputs(config)?;
        if let [Argument { kind: ArgumentKind::TensorDict, name, .. }] = arguments {
            if !config.declared {
                return Err(ConfigError::new(format!(
                    "forward takes a dictionary ('{name}'), whose keys the file doesn't tell: \
                     name the inputs in a config.pbtxt"
                )));
            }
            let inputs = config.inputs.iter().map(|input| bound(input, &input.name)).collect();
            return Ok(Self { inputs, dictionary: true, outputs, convention: NamingConvention::Dictionary });
        }
        arguments.iter().try_for_each(|argument| check_argument(argument, arguments.len()))?;
        if !config.declared {
            // Arguments with defaults may be left out, but not guessed at.
            let inputs = arguments
                .iter()
                .filter(|argument| !argument.has_default)
                .map(|argument| BoundInput { name: argument.name.clone(), spec: None })
                .collect();
            return Ok(Self {
                inputs,
                dictionary: false,
                outputs,
                convention: NamingConvention::ForwardArgument,
            });
        }
        let required = arguments.iter().filter(|argument| !argument.has_default).count();
        if !(required..=arguments.len()).contains(&config.inputs.len()) {
            return Err(ConfigError::new(format!(
                "configuration expects {} inputs, model provides {}: {}",
                config.inputs.len(),
                arguments.len(),
                arguments.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
            )));
        }
        let (positions, convention) = positions(&config.inputs, arguments);
        let mut inputs: Vec<Option<BoundInput>> = vec![None; config.inputs.len()];
        for (input, position) in config.inputs.iter().zip(&positions) {
            let slot = inputs.get_mut(*position).ok_or_else(|| {
                ConfigError::field(
                    &format!("input '{}'", input.name),
                    format!(
                        "it is argument {position} of forward, but {} inputs are configured",
                        positions.len()
                    ),
                )
            })?;
            if slot.replace(bound(input, &input.name)).is_some() {
                return Err(ConfigError::field(
                    &format!("input '{}'", input.name),
                    format!("another input is argument {position} of forward too"),
                ));
            }
        }
        let inputs = inputs.into_iter().flatten().collect();
        Ok(Self { inputs, dictionary: false, outputs, convention })
    }
}

fn bound(input: &TensorConfig, name: &str) -> BoundInput {
    BoundInput { name: name.to_owned(), spec: Some(input.clone()) }
}

fn check_argument(argument: &Argument, count: usize) -> Result<(), ConfigError> {
    match &argument.kind {
        ArgumentKind::Tensor => Ok(()),
        // One that may be left out is.
        ArgumentKind::TensorDict | ArgumentKind::Strings | ArgumentKind::Other(_) if argument.has_default => {
            Ok(())
        }
        ArgumentKind::TensorDict => Err(ConfigError::new(format!(
            "forward's argument '{}' is a dictionary beside {} others: only a single input of type \
             Dict(str, Tensor) or inputs of type Tensor are supported",
            argument.name,
            count - 1
        ))),
        ArgumentKind::Strings => Err(ConfigError::new(format!(
            "forward's argument '{}' is a list of strings: not served yet",
            argument.name
        ))),
        ArgumentKind::Other(kind) => Err(ConfigError::new(format!(
            "forward's argument '{}' is of type {kind}: only Tensor and Dict(str, Tensor) are supported",
            argument.name
        ))),
    }
}

/// Each input's position among the arguments. A mixture of conventions falls
/// to the order of the configuration.
fn positions(inputs: &[TensorConfig], arguments: &[Argument]) -> (Vec<usize>, NamingConvention) {
    let by_argument = |input: &TensorConfig| arguments.iter().position(|a| a.name == input.name);
    if let Some(positions) = inputs.iter().map(by_argument).collect() {
        return (positions, NamingConvention::ForwardArgument);
    }
    if let Some(positions) = inputs.iter().map(|input| named_index(&input.name)).collect() {
        return (positions, NamingConvention::NamedIndex);
    }
    ((0..inputs.len()).collect(), NamingConvention::ConfigurationOrder)
}

/// The number behind the first `__`.
fn named_index(name: &str) -> Option<usize> {
    let (_, index) = name.split_once("__")?;
    index.parse().ok()
}

fn bind_outputs(config: &ModelConfig) -> Result<Vec<BoundOutput>, ConfigError> {
    let indices: Option<Vec<usize>> = config.outputs.iter().map(|output| named_index(&output.name)).collect();
    let indices = indices.unwrap_or_else(|| (0..config.outputs.len()).collect());
    Ok(config
        .outputs
        .iter()
        .zip(indices)
        .map(|(output, index)| BoundOutput { name: output.name.clone(), index, spec: Some(output.clone()) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(inputs: &[&str], outputs: &[&str]) -> ModelConfig {
        let tensor = |kind: &str, name: &&str| {
            format!("{kind} {{ name: \"{name}\" data_type: TYPE_FP32 dims: [ 1 ] }}\n")
        };
        let text: String = inputs
            .iter()
            .map(|name| tensor("input", name))
            .chain(outputs.iter().map(|name| tensor("output", name)))
            .collect();
        ModelConfig::parse(&text, "m").unwrap()
    }

    fn signature(arguments: &[(&str, ArgumentKind, bool)]) -> Signature {
        let argument = |(name, kind, has_default): &(&str, ArgumentKind, bool)| Argument {
            name: (*name).to_owned(),
            kind: kind.clone(),
            has_default: *has_default,
        };
        Signature { arguments: arguments.iter().map(argument).collect(), stateful: None }
    }

    fn tensors(names: &[&'static str]) -> Signature {
        signature(&names.iter().map(|name| (*name, ArgumentKind::Tensor, false)).collect::<Vec<_>>())
    }

    fn order(inputs: &[&str], arguments: &[&'static str]) -> (Vec<String>, NamingConvention) {
        let binding = Binding::new(&config(inputs, &[]), &tensors(arguments)).unwrap();
        (binding.inputs.into_iter().map(|input| input.name).collect(), binding.convention)
    }

    #[test]
    fn names_are_matched_by_argument_then_by_index_then_by_order() {
        use NamingConvention::{ConfigurationOrder, ForwardArgument, NamedIndex};
        assert_eq!(order(&["b", "a"], &["a", "b"]), (vec!["a".into(), "b".into()], ForwardArgument));
        assert_eq!(order(&["X__1", "Y__0"], &["a", "b"]), (vec!["Y__0".into(), "X__1".into()], NamedIndex));
        assert_eq!(order(&["b", "X__0"], &["a", "b"]), (vec!["b".into(), "X__0".into()], ConfigurationOrder));
        assert_eq!(order(&["p", "q"], &["a", "b"]), (vec!["p".into(), "q".into()], ConfigurationOrder));
    }

    #[test]
    fn outputs_go_by_index_or_by_order() {
        let indices = |names: &[&str]| -> Vec<usize> {
            let binding = Binding::new(&config(&["a"], names), &tensors(&["a"])).unwrap();
            binding.outputs.iter().map(|output| output.index).collect()
        };
        assert_eq!(indices(&["OUTPUT__1", "OUTPUT__0"]), [1, 0]);
        assert_eq!(indices(&["OUTPUT__1", "plain"]), [0, 1]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |config: &ModelConfig, signature: &Signature| {
            Binding::new(config, signature).unwrap_err().to_string()
        };
        assert_eq!(
            error(&config(&["a"], &[]), &tensors(&["a", "b"])),
            "configuration expects 1 inputs, model provides 2: a, b"
        );
        assert_eq!(
            error(&config(&["X__0", "X__5"], &[]), &tensors(&["a", "b"])),
            "config.pbtxt: input 'X__5': it is argument 5 of forward, but 2 inputs are configured"
        );
        assert_eq!(
            error(&config(&["X__0", "Y__0"], &[]), &tensors(&["a", "b"])),
            "config.pbtxt: input 'Y__0': another input is argument 0 of forward too"
        );
        let other = signature(&[("n", ArgumentKind::Other("int".to_owned()), false)]);
        assert_eq!(
            error(&config(&["n"], &[]), &other),
            "forward's argument 'n' is of type int: only Tensor and Dict(str, Tensor) are supported"
        );
    }

    #[test]
    fn a_dictionary_takes_its_keys_from_the_configuration_and_defaults_may_be_left_out() {
        let dictionary = signature(&[("d", ArgumentKind::TensorDict, false)]);
        let binding = Binding::new(&config(&["k", "j"], &[]), &dictionary).unwrap();
        assert!(binding.dictionary);
        assert_eq!(binding.inputs[1].name, "j");
        let defaulted = signature(&[
            ("x", ArgumentKind::Tensor, false),
            ("flag", ArgumentKind::Other("bool".to_owned()), true),
        ]);
        assert_eq!(Binding::new(&config(&["x"], &[]), &defaulted).unwrap().inputs.len(), 1);
    }
}
