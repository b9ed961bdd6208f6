//! The places among `forward`'s arguments that a request can fill.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{ConfigError, TensorConfig};
use cresset_backend::{Argument, ArgumentKind, Leaf, Scalar};
use cresset_protocol::Datatype;

/// One place among the arguments: an argument, or a value within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArgumentPlace {
    /// `x`, or `state.0`.
    pub(super) path: String,
    /// The position of its argument.
    pub(super) argument: usize,
    pub(super) leaf: Leaf,
    pub(super) presence: Presence,
}

/// Whether a request must fill a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Required,
    /// If it fills another place of the same argument.
    WithOthers,
    /// Never: the place is optional.
    Optional,
}

/// The arguments that a request can fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    all: Vec<Argument>,
    /// In the order of the arguments, without the values of lists and
    /// dictionaries: each request decides how many values it sends.
    pub(super) places: Vec<ArgumentPlace>,
    /// Whether there are lists or dictionaries.
    pub(super) open: bool,
    /// Whether an argument holds several values. It is cached because each request
    /// asks.
    pub(super) nests: bool,
    /// The position of the only argument that is a dictionary of tensors, if there
    /// is exactly one: its keys then need no prefix.
    dictionary: Option<usize>,
}

impl Arguments {
    /// Looks through all of `forward`'s arguments.
    ///
    /// # Errors
    /// If an argument can't be sent and has no default.
    pub(super) fn new(all: &[Argument]) -> Result<Self, ConfigError> {
        let mut made =
            Self { all: all.to_vec(), places: Vec::new(), open: false, nests: false, dictionary: None };
        for (position, argument) in all.iter().enumerate() {
            let Argument { name, kind, optional } = argument;
            let mut walk =
                ArgumentWalk { argument: position, optional: *optional, places: Vec::new(), open: false };
            match (walk.enter(kind, name.clone(), false), optional) {
                (Ok(()), _) => {
                    made.places.extend(walk.places);
                    made.open |= walk.open;
                }
                // It keeps its default.
                (Err(_), true) => {}
                (Err(spelt), false) => {
                    return Err(ConfigError::Binding(format!(
                        "forward's argument '{name}' is of type '{kind}' and has no default: {spelt} can't be \
                         sent, but tensors, numbers, strings, and lists, tuples and dictionaries of them can. Save \
                         the module within another one, whose forward takes what can be sent and makes '{name}' of it"
                    )));
                }
            }
        }
        made.nests = made.open || made.places.iter().any(|place| place.path.contains('.'));
        let mut dictionaries =
            all.iter().enumerate().filter(|(_, argument)| argument.kind.is_tensor_dict()).map(|(at, _)| at);
        made.dictionary = dictionaries.next().filter(|_| dictionaries.next().is_none());
        Ok(made)
    }

    /// The place that an input of this name fills: the path itself, or a key of
    /// the only dictionary.
    pub(super) fn find(&self, name: &str) -> Option<ArgumentPlace> {
        let of_path = self.places.iter().find(|place| place.path == name).cloned();
        of_path.or_else(|| self.find_open(name)).or_else(|| {
            let dictionary = &self.all.get(self.dictionary?)?.name;
            self.find_open(&format!("{dictionary}.{name}"))
        })
    }

    /// A place in a list or dictionary.
    fn find_open(&self, path: &str) -> Option<ArgumentPlace> {
        let (first, rest) = path.split_once('.').filter(|(_, rest)| !rest.is_empty())?;
        let argument = self.all.iter().position(|argument| argument.name == first)?;
        let leaf = self.all[argument].kind.at(rest)?.leaf()?;
        Some(ArgumentPlace { path: path.to_owned(), argument, leaf, presence: Presence::Optional })
    }

    /// The argument at this position as a whole; `None` if its values are sent one by
    /// one.
    pub(super) fn whole(&self, position: usize) -> Option<&ArgumentPlace> {
        let name = &self.all.get(position)?.name;
        self.places.iter().find(|place| place.path == *name)
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_open(&self, position: usize) -> bool {
        let kind = self.all.get(position).map(|argument| &argument.kind);
        matches!(kind, Some(ArgumentKind::List(_) | ArgumentKind::Dict(_)))
    }

    pub(super) fn get(&self, position: usize) -> Option<&Argument> {
        self.all.get(position)
    }

    /// A place that is missing although another of the same list or tuple is filled.
    pub(super) fn lacks(&self, places: &BTreeSet<&str>) -> Option<Lack> {
        let present = Present(places);
        self.all.iter().find_map(|argument| present.lacks(&argument.kind, &argument.name))
    }

    /// Whether an argument has this name, even one that can't be sent.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|argument| argument.name == name)
    }

    /// For messages: `forward(x, mask)`.
    pub(super) fn shown(&self) -> String {
        let names: Vec<&str> = self.all.iter().map(|argument| argument.name.as_str()).collect();
        format!("forward({})", names.join(", "))
    }
}

/// A place that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A list's value, although a later one is there.
    Before(String),
    /// A tuple's value, although another one is there.
    Beside(String),
}

/// The places that a request fills.
struct Present<'a>(&'a BTreeSet<&'a str>);

impl Present<'_> {
    /// Whether anything is at `place` or within it.
    fn begins(&self, place: &str) -> bool {
        self.0.contains(place) || self.within(&format!("{place}.")).next().is_some()
    }

    /// The paths that begin with this one.
    fn within<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .copied()
            .take_while(move |path| path.starts_with(start))
    }

    fn lacks(&self, kind: &ArgumentKind, place: &str) -> Option<Lack> {
        if !self.begins(place) {
            return None;
        }
        match kind {
            ArgumentKind::Optional(inner) => self.lacks(inner, place),
            ArgumentKind::Tuple(elements) => {
                let all = elements.iter().enumerate();
                self.lacks_one(all.map(|(index, element)| (element, format!("{place}.{index}"))))
            }
            ArgumentKind::Named(fields) => {
                self.lacks_one(fields.iter().map(|(field, element)| (element, format!("{place}.{field}"))))
            }
            ArgumentKind::List(element) => {
                let count = self.keys(place).len();
                (0..count).find_map(|index| {
                    let inner = format!("{place}.{index}");
                    if self.begins(&inner) { self.lacks(element, &inner) } else { Some(Lack::Before(inner)) }
                })
            }
            ArgumentKind::Dict(value) if value.leaf().is_none() => {
                self.keys(place).iter().find_map(|key| self.lacks(value, &format!("{place}.{key}")))
            }
            ArgumentKind::Dict(_)
            | ArgumentKind::Tensor
            | ArgumentKind::Strings
            | ArgumentKind::Scalar(_)
            | ArgumentKind::Numbers(_)
            | ArgumentKind::Other(_) => None,
        }
    }

    fn lacks_one<'a>(&self, elements: impl Iterator<Item = (&'a ArgumentKind, String)>) -> Option<Lack> {
        let may_be_empty = |kind: &ArgumentKind| {
            matches!(kind, ArgumentKind::Optional(_) | ArgumentKind::List(_) | ArgumentKind::Dict(_))
        };
        let mut elements = elements;
        elements.find_map(|(kind, place)| match self.begins(&place) {
            true => self.lacks(kind, &place),
            false => (!may_be_empty(kind)).then_some(Lack::Beside(place)),
        })
    }

    /// The distinct next steps of the paths within a place.
    fn keys(&self, place: &str) -> BTreeSet<String> {
        let start = format!("{place}.");
        let step = |path: &str| path[start.len()..].split('.').next().map(str::to_owned);
        self.within(&start).filter_map(step).collect()
    }
}

/// A walk into one argument.
struct ArgumentWalk {
    argument: usize,
    optional: bool,
    places: Vec<ArgumentPlace>,
    open: bool,
}

impl ArgumentWalk {
    /// # Errors
    /// If the argument holds a type that can't be sent.
    fn enter(&mut self, kind: &ArgumentKind, path: String, may_be_none: bool) -> Result<(), String> {
        if let Some(leaf) = kind.leaf() {
            let presence = match (self.optional, path.contains('.')) {
                _ if may_be_none || matches!(kind, ArgumentKind::Optional(_)) => Presence::Optional,
                (false, _) => Presence::Required,
                (true, true) => Presence::WithOthers,
                (true, false) => Presence::Optional,
            };
            self.places.push(ArgumentPlace { path, argument: self.argument, leaf, presence });
            return Ok(());
        }
        match kind {
            ArgumentKind::Other(spelt) => Err(format!("'{spelt}'")),
            ArgumentKind::Optional(inner) => self.enter(inner, path, true),
            ArgumentKind::Tuple(elements) => (0..)
                .zip(elements)
                .try_for_each(|(index, element)| self.enter(element, format!("{path}.{index}"), may_be_none)),
            ArgumentKind::Named(fields) => fields
                .iter()
                .try_for_each(|(field, element)| self.enter(element, format!("{path}.{field}"), may_be_none)),
            ArgumentKind::List(element) | ArgumentKind::Dict(element) => {
                self.open = true;
                // Only checks that it can be sent: the request chooses the places.
                ArgumentWalk { argument: 0, optional: true, places: Vec::new(), open: false }.enter(
                    element,
                    String::new(),
                    true,
                )
            }
            ArgumentKind::Tensor
            | ArgumentKind::Strings
            | ArgumentKind::Scalar(_)
            | ArgumentKind::Numbers(_) => Ok(()),
        }
    }
}

/// Whether a configured input fits its place.
pub(super) fn check_kind(
    place: &ArgumentPlace,
    spec: &TensorConfig,
    batched: bool,
) -> Result<(), ConfigError> {
    let ArgumentPlace { path, leaf, .. } = place;
    let wrong = |takes: String, wanted: &str| {
        let (name, got) = (&spec.name, spec.datatype);
        let text = format!(
            "forward's argument '{path}' takes {takes}: expected {wanted} for input '{name}', got {got}"
        );
        Err(ConfigError::Binding(text))
    };
    let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
    let lengths = dims.iter().filter(|dimension| **dimension != 1).count();
    let expected = match leaf {
        Leaf::Tensor if spec.datatype == Datatype::Bytes => {
            return wrong("tensors".to_owned(), "a datatype of numbers");
        }
        Leaf::Strings if spec.datatype != Datatype::Bytes => {
            return wrong("strings (List[str])".to_owned(), "TYPE_STRING");
        }
        Leaf::Scalar(scalar) | Leaf::Numbers(scalar) if !scalar.takes(spec.datatype) => {
            let wanted = match scalar {
                Scalar::Str => "TYPE_STRING",
                Scalar::Bool => "TYPE_BOOL",
                Scalar::Int => "a datatype of whole numbers",
                Scalar::Float | Scalar::Number => "a datatype of numbers",
            };
            return wrong(scalar.to_string(), wanted);
        }
        Leaf::Strings if lengths > usize::from(!batched) => {
            let expected = if batched { "one string for each row, as dims: [ 1 ]" } else { "one dimension" };
            format!("is a list of strings, which has no shape: expected {expected}")
        }
        Leaf::Scalar(scalar) if lengths > 0 => format!("is one {scalar}: expected dims: [ 1 ]"),
        Leaf::Numbers(scalar) if lengths > 1 => format!("is a list of {scalar}: expected one dimension"),
        Leaf::Tensor | Leaf::Strings | Leaf::Scalar(_) | Leaf::Numbers(_) => return Ok(()),
    };
    Err(ConfigError::Binding(format!(
        "forward's argument '{path}' {expected} for input '{}', got {dims:?}",
        spec.name
    )))
}
