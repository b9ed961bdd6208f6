//! Binds the names on the wire to `forward`'s arguments and results.
//!
//! The rules are those of Triton's PyTorch backend, so that a model has the same
//! binding here, with these differences:
//!
//! - If Triton's rules would lead to a wrong answer, the model is refused: two
//!   inputs for one argument, an index beyond the last.
//! - Some models that Triton refuses are bound: tensors beside a dictionary, and a
//!   configuration that leaves the last arguments to their defaults.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};

use super::arguments::{ArgumentPlace, Arguments, check_kind};
pub use super::arguments::{Lack, Presence};
use super::{ConfigError, ModelConfig, TensorConfig};
use cresset_backend::{BatchOutput, Leaf, Signature};
use cresset_protocol::{Datatype, Tensor};

/// Which of Triton's conventions the inputs' names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamingConvention {
    /// Every name is a place among `forward`'s arguments, or a key of its
    /// dictionary.
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
    /// In the order of the arguments, each place once.
    pub inputs: Vec<BoundInput>,
    /// Whether requests bring further inputs: values of lists and dictionaries
    /// that nothing configures.
    pub open: bool,
    /// In the order of the configuration. If it names none, this is empty, and
    /// [`output_name`] names the outputs.
    pub outputs: Vec<BoundOutput>,
    /// How the inputs were bound.
    pub convention: NamingConvention,
    arguments: Arguments,
}

/// An input and the place that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundInput {
    /// Its name on the wire.
    pub name: String,
    /// Its place: an argument, or a value within one, behind dots.
    pub place: Arc<str>,
    /// The position of that argument, without `self`.
    pub argument: usize,
    /// The kind of value that the place takes.
    pub leaf: Leaf,
    /// Whether a request must bring it. A configured input is required unless it is
    /// `optional`.
    pub presence: Presence,
    /// Its entry in the configuration; `None` takes any datatype and shape.
    pub spec: Option<TensorConfig>,
}

impl BoundInput {
    /// Its datatype, if it is known.
    #[must_use]
    pub fn datatype(&self) -> Option<Datatype> {
        let declared = self.spec.as_ref().map(|spec| spec.datatype);
        declared.or_else(|| self.leaf.shared()?.datatype())
    }
}

/// An output and the result that it is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundOutput {
    /// Its name on the wire.
    pub name: String,
    /// The position among what `forward` returns.
    pub index: usize,
    /// Its entry in the configuration.
    pub spec: Option<TensorConfig>,
}

impl Binding {
    /// Joins a configuration with the signature of the model's file.
    ///
    /// # Errors
    /// [`ConfigError::Binding`] if `forward` needs an argument that can't be sent, or
    /// the configuration's inputs aren't its arguments.
    pub fn new(config: &ModelConfig, signature: &Signature) -> Result<Self, ConfigError> {
        let arguments = Arguments::new(&signature.arguments)?;
        let (inputs, convention) = if config.inputs.is_empty() {
            let of_file = arguments.places.iter().map(|place| bound(place, place.path.clone(), None));
            (of_file.collect::<Result<Vec<_>, _>>()?, NamingConvention::ForwardArgument)
        } else {
            bind_inputs(config, &arguments)?
        };
        let open = arguments.open && config.inputs.is_empty();
        Ok(Self { inputs, open, outputs: bind_outputs(&config.outputs)?, convention, arguments })
    }

    /// The place of an input that nothing configures: a value of a list or a
    /// dictionary.
    #[must_use]
    pub fn find_open(&self, name: &str) -> Option<BoundInput> {
        let place = self.arguments.find(name).filter(|_| self.open)?;
        bound(&place, name.to_owned(), None).ok()
    }

    /// A place that these lack although another of the same list or tuple is filled.
    #[must_use]
    pub fn lacks<'a>(&self, places: impl Iterator<Item = &'a str>) -> Option<Lack> {
        self.arguments.nests.then(|| self.arguments.lacks(&places.collect::<BTreeSet<_>>()))?
    }

    /// Whether an argument has this name, even one that can't be sent.
    #[must_use]
    pub fn has_argument(&self, name: &str) -> bool {
        self.arguments.has(name)
    }

    /// The input of this name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&BoundInput> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// The inputs that a request must bring, numbers and strings aside.
    pub fn needed(&self) -> impl Iterator<Item = &BoundInput> {
        let needed =
            |input: &&BoundInput| input.presence == Presence::Required && input.leaf.shared().is_none();
        self.inputs.iter().filter(needed)
    }

    /// The only input that a request must bring, numbers and strings aside; else the
    /// only input.
    #[must_use]
    pub fn only_input(&self) -> Option<&BoundInput> {
        if let [only] = self.inputs.as_slice() {
            return Some(only);
        }
        let mut needed = self.needed();
        needed.next().filter(|_| needed.next().is_none())
    }

    /// Whether two requests may differ in more than the rows of their inputs.
    #[must_use]
    pub fn varies(&self) -> bool {
        self.inputs.iter().any(|input| input.presence != Presence::Required || input.leaf.shared().is_some())
    }

    /// What requests must have in common, beside shapes, to run in one batch: which
    /// inputs they have, and the values that a whole batch shares. `inputs` are
    /// checked, and in the order of [`Binding::inputs`].
    #[must_use]
    pub fn variant(&self, inputs: &[Tensor]) -> Vec<i64> {
        let mut variant = Vec::new();
        if !self.varies() {
            return variant;
        }
        for (bound, input) in self.inputs.iter().zip(inputs) {
            variant.push(i64::from(!input.is_absent()));
            if bound.leaf.shared().is_some() {
                let rows = input.shape.first().copied().filter(|_| input.shape.len() > 1).unwrap_or(1);
                let row = input.data.len() / usize::try_from(rows).unwrap_or(1).max(1);
                variant.push(input.datatype as i64);
                variant.push(i64::try_from(row).unwrap_or(i64::MAX));
                variant.extend(words(input.data.get(..row).unwrap_or_default()));
            }
        }
        variant
    }

    /// A warning for the log if the inputs were bound by order and not by name.
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

/// A value's bytes, in eights; for a long value, two keyed hashes, so that a client
/// can't make another value with the same ones.
fn words(value: &[u8]) -> Vec<i64> {
    /// The size of the hashes. Most values are no longer.
    const SHORT: usize = 64;
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    if value.len() > SHORT {
        let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        return keys.iter().map(|key| i64::from_ne_bytes(key.hash_one(value).to_ne_bytes())).collect();
    }
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, byte)| *to = *byte);
        i64::from_le_bytes(word)
    };
    value.chunks(8).map(word).collect()
}

impl BoundOutput {
    /// Picks one of a model's outputs: the one with this key, else the one at this
    /// position.
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

fn bound(
    place: &ArgumentPlace,
    name: String,
    spec: Option<&TensorConfig>,
) -> Result<BoundInput, ConfigError> {
    let ArgumentPlace { path, argument, leaf, presence } = place;
    let presence = match spec {
        None => *presence,
        Some(spec) if spec.optional && *presence == Presence::Required => {
            return Err(ConfigError::Binding(format!(
                "input '{name}' is optional, but forward's argument '{path}' has no default and can't be None"
            )));
        }
        Some(spec) if spec.optional => *presence,
        Some(_) => Presence::Required,
    };
    Ok(BoundInput {
        name,
        place: Arc::from(path.as_str()),
        argument: *argument,
        leaf: *leaf,
        presence,
        spec: spec.cloned(),
    })
}

fn bind_inputs(
    config: &ModelConfig,
    arguments: &Arguments,
) -> Result<(Vec<BoundInput>, NamingConvention), ConfigError> {
    let inputs = &config.inputs;
    // Numbers may come as parameters, and needn't be configured.
    let required =
        |place: &&ArgumentPlace| place.presence == Presence::Required && place.leaf.shared().is_none();
    let needed = arguments.places.iter().filter(required).count();
    if (inputs.len() > arguments.places.len() && !arguments.open) || inputs.len() < needed {
        return Err(ConfigError::Binding(format!(
            "unable to load model '{}', configuration expects {} inputs, model provides {}: {}",
            config.name,
            inputs.len(),
            arguments.places.len(),
            arguments.shown()
        )));
    }
    let (places, convention) = by_convention(inputs, arguments)?;
    let mut taken: HashSet<&str> = HashSet::new();
    let mut all = Vec::with_capacity(inputs.len());
    for (input, place) in inputs.iter().zip(&places) {
        if !taken.insert(&place.path) {
            return Err(ConfigError::Binding(format!(
                "input '{}' refers to argument '{}', as an input before it does",
                input.name, place.path
            )));
        }
        check_kind(place, input, config.max_batch_size > 0)?;
        all.push(bound(place, input.name.clone(), Some(input))?);
    }
    for place in arguments.places.iter().filter(|place| !taken.contains(place.path.as_str())) {
        if place.leaf.shared().is_some() {
            all.push(bound(place, place.path.clone(), None)?);
        }
    }
    complete(&all, arguments)?;
    all.sort_by_key(|input| {
        let of_file = arguments.places.iter().position(|place| *place.path == *input.place);
        (input.argument, of_file)
    });
    Ok((all, convention))
}

/// Whether these inputs fill every place that `forward` requires.
fn complete(inputs: &[BoundInput], arguments: &Arguments) -> Result<(), ConfigError> {
    let fills = |argument: usize| inputs.iter().any(|input| input.argument == argument);
    let lacks = arguments.places.iter().find(|place| {
        let needed = match place.presence {
            Presence::Required => true,
            Presence::WithOthers => fills(place.argument),
            Presence::Optional => false,
        };
        needed && inputs.iter().all(|input| *input.place != *place.path)
    });
    let lacks = lacks.map(|place| format!("the argument '{}'", place.path)).or_else(|| {
        let empty = (0..arguments.count()).filter(|at| arguments.is_open(*at) && !fills(*at));
        let mut empty = empty.filter_map(|at| arguments.get(at)).filter(|argument| !argument.optional);
        empty.next().map(|argument| format!("the values of the argument '{}'", argument.name))
    });
    match lacks {
        None => match arguments.lacks(&inputs.iter().map(|input| &*input.place).collect()) {
            None => Ok(()),
            Some(Lack::Before(place)) => Err(ConfigError::Binding(format!(
                "no input is configured for '{place}', but for one behind it in the same list"
            ))),
            Some(Lack::Beside(place)) => Err(ConfigError::Binding(format!(
                "no input is configured for '{place}', but for another of the same tuple"
            ))),
        },
        Some(lacks) => Err(ConfigError::Binding(format!(
            "no input is configured for {lacks} of {}: inputs have the names of its arguments, those within lists, \
             tuples and dictionaries as ARGUMENT.INDEX, ARGUMENT.FIELD and ARGUMENT.KEY",
            arguments.shown()
        ))),
    }
}

fn by_convention(
    inputs: &[TensorConfig],
    arguments: &Arguments,
) -> Result<(Vec<ArgumentPlace>, NamingConvention), ConfigError> {
    let by_name = |input: &TensorConfig| arguments.find(&input.name);
    if let Some(places) = inputs.iter().map(by_name).collect::<Option<Vec<_>>>() {
        return Ok((places, NamingConvention::ForwardArgument));
    }
    let Some(indices) = indices(inputs)? else {
        let in_order: Vec<ArgumentPlace> = arguments.places.iter().take(inputs.len()).cloned().collect();
        let Some(beyond) = inputs.get(in_order.len()) else {
            return Ok((in_order, NamingConvention::StrictOrder));
        };
        return Err(ConfigError::Binding(format!(
            "input '{}' is no argument of {}, and no value within one",
            beyond.name,
            arguments.shown()
        )));
    };
    let whole = |(input, index): (&TensorConfig, usize)| {
        arguments.whole(index).cloned().ok_or_else(|| {
            let why = match arguments.get(index) {
                None => format!(
                    "an argument which doesn't exist: this model has {} arguments, from 0",
                    arguments.count()
                ),
                Some(argument) => {
                    format!("the argument '{}', which is of type '{}'", argument.name, argument.kind)
                }
            };
            ConfigError::Binding(format!("input '{}' refers to {why}", input.name))
        })
    };
    let places = inputs.iter().zip(indices).map(whole).collect::<Result<_, _>>()?;
    Ok((places, NamingConvention::NamedIndex))
}

/// Binds outputs by index if all names have one, else by order. The number of
/// results is known only when the model runs.
fn bind_outputs(outputs: &[TensorConfig]) -> Result<Vec<BoundOutput>, ConfigError> {
    let indices = indices(outputs)?.unwrap_or_else(|| (0..outputs.len()).collect());
    let bound = |(output, index): (&TensorConfig, usize)| BoundOutput {
        name: output.name.clone(),
        index,
        spec: Some(output.clone()),
    };
    Ok(outputs.iter().zip(indices).map(bound).collect())
}

/// The index of each name, if all names have one: the digits behind the first
/// `__`, or 0 if there are none, as Triton reads them.
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
