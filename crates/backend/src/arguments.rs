//! The arguments of `forward`, as the file declares them.

use std::fmt;

use serde::Deserialize;

use cresset_protocol::Datatype;

/// One argument of `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    pub kind: ArgumentKind,
    /// Whether it may be omitted: it has a default, or may be `None`.
    pub optional: bool,
}

/// A type of argument. Values within containers are sent one by one, each under
/// its place. A backend may encode the type in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentKind {
    /// `Tensor`.
    Tensor,
    /// `List[str]`.
    Strings,
    /// One number or one string.
    Scalar(Scalar),
    /// A list of numbers.
    Numbers(Scalar),
    /// A value, or `None`.
    Optional(Box<Self>),
    /// `List[…]` of any other type: its places are numbered.
    List(Box<Self>),
    /// `Tuple[…]`: its places are numbered.
    Tuple(Vec<Self>),
    /// A `NamedTuple`: its places are its fields.
    Named(Vec<(String, Self)>),
    /// `Dict[str, …]`: its places are its keys.
    Dict(Box<Self>),
    /// A type that can't be sent, as the file spells it.
    Other(String),
}

/// The types of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalar {
    /// `int`.
    Int,
    /// `float`.
    Float,
    /// `bool`.
    Bool,
    /// `str`.
    Str,
    /// Any number.
    Number,
}

/// The kind of value that one input of a request becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// A tensor.
    Tensor,
    /// A list of strings.
    Strings,
    /// One number or string, the same for a whole batch.
    Scalar(Scalar),
    /// A list of numbers, the same for a whole batch.
    Numbers(Scalar),
}

impl Argument {
    /// The same type without `Optional`: `optional` tells whether it may be
    /// `None`.
    #[must_use]
    pub fn peeled(self) -> Self {
        if let ArgumentKind::Optional(inner) = &self.kind {
            let kind = ArgumentKind::clone(inner);
            return Self { kind, optional: true, ..self };
        }
        self
    }
}

impl ArgumentKind {
    /// How a value of this type is sent. `None` for a container, whose values
    /// are sent one by one, and for a type that can't be sent.
    #[must_use]
    pub fn leaf(&self) -> Option<Leaf> {
        match self {
            Self::Tensor => Some(Leaf::Tensor),
            Self::Strings => Some(Leaf::Strings),
            Self::Scalar(scalar) => Some(Leaf::Scalar(*scalar)),
            Self::Numbers(scalar) => Some(Leaf::Numbers(*scalar)),
            Self::Optional(inner) => inner.leaf(),
            Self::List(_) | Self::Tuple(_) | Self::Named(_) | Self::Dict(_) | Self::Other(_) => None,
        }
    }

    /// Whether it is `Dict[str, Tensor]`.
    #[must_use]
    pub fn is_tensor_dict(&self) -> bool {
        matches!(self, Self::Dict(value) if value.leaf() == Some(Leaf::Tensor))
    }

    /// The type at `rest`, the path within a value of this type: `0.h`.
    #[must_use]
    pub fn at(&self, rest: &str) -> Option<&Self> {
        if let Self::Optional(inner) = self {
            return inner.at(rest);
        }
        if rest.is_empty() {
            return Some(self);
        }
        // A tensor's key may contain dots.
        if let (Self::Dict(value), true) = (self, self.is_tensor_dict()) {
            return value.at("");
        }
        let (step, rest) = match rest.split_once('.') {
            // Nothing follows the last dot.
            Some((_, "")) => return None,
            Some(both) => both,
            None => (rest, ""),
        };
        let index = || step.parse::<usize>().ok().filter(|index| index.to_string() == step);
        match self {
            Self::List(element) => index().and_then(|_| element.at(rest)),
            Self::Tuple(elements) => elements.get(index()?)?.at(rest),
            Self::Named(fields) => fields.iter().find(|(field, _)| field == step)?.1.at(rest),
            Self::Dict(value) => value.at(rest).filter(|_| !step.is_empty()),
            Self::Optional(inner) => inner.at(rest),
            Self::Tensor | Self::Strings | Self::Scalar(_) | Self::Numbers(_) | Self::Other(_) => None,
        }
    }
}

impl Scalar {
    /// Whether a tensor of this type can hold these values.
    #[must_use]
    pub fn takes(self, datatype: Datatype) -> bool {
        match self {
            Self::Int => datatype.is_whole(),
            Self::Float => datatype.is_whole() || datatype.is_float(),
            Self::Bool => datatype == Datatype::Bool,
            Self::Str => datatype == Datatype::Bytes,
            Self::Number => datatype != Datatype::Bytes,
        }
    }

    /// The datatype that holds all of its values; `None` if there is none.
    #[must_use]
    pub fn datatype(self) -> Option<Datatype> {
        match self {
            Self::Int => Some(Datatype::Int64),
            Self::Float => Some(Datatype::Fp64),
            Self::Bool => Some(Datatype::Bool),
            Self::Str => Some(Datatype::Bytes),
            Self::Number => None,
        }
    }
}

impl Leaf {
    /// The values, if they are the same for the whole batch.
    #[must_use]
    pub fn shared(self) -> Option<Scalar> {
        match self {
            Self::Scalar(scalar) | Self::Numbers(scalar) => Some(scalar),
            Self::Tensor | Self::Strings => None,
        }
    }
}

/// As Python spells it.
impl fmt::Display for ArgumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("Tensor"),
            Self::Strings => f.write_str("List[str]"),
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Numbers(scalar) => write!(f, "List[{scalar}]"),
            Self::Optional(inner) => write!(f, "Optional[{inner}]"),
            Self::List(element) => write!(f, "List[{element}]"),
            Self::Tuple(elements) => {
                let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
                write!(f, "Tuple[{}]", elements.join(", "))
            }
            Self::Named(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
                write!(f, "NamedTuple({})", fields.join(", "))
            }
            Self::Dict(value) => write!(f, "Dict[str, {value}]"),
            Self::Other(spelt) => f.write_str(spelt),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Str => "str",
            Self::Number => "number",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> ArgumentKind {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_backends_json_is_read_and_spelt_as_python_does() {
        for (json, spelt) in [
            (r#""tensor""#, "Tensor"),
            (r#"{"optional":{"scalar":"float"}}"#, "Optional[float]"),
            (r#"{"tuple":["tensor",{"list":"tensor"}]}"#, "Tuple[Tensor, List[Tensor]]"),
            (
                r#"{"dict":{"named":[["h","tensor"],["n",{"numbers":"int"}]]}}"#,
                "Dict[str, NamedTuple(h: Tensor, n: List[int])]",
            ),
            (r#"{"other":"Device"}"#, "Device"),
        ] {
            assert_eq!(read(json).to_string(), spelt);
        }
    }

    #[test]
    fn a_place_leads_to_its_type_or_nowhere() {
        let kind = read(
            r#"{"tuple":["tensor",{"named":[["h",{"list":"tensor"}],["k",{"dict":"tensor"}]]},{"dict":{"list":{"scalar":"int"}}}]}"#,
        );
        let leaf = |rest: &str| kind.at(rest).and_then(ArgumentKind::leaf);
        for tensor in ["0", "1.h.0", "1.h.17", "1.k.a", "1.k.a.b"] {
            assert_eq!(leaf(tensor), Some(Leaf::Tensor), "{tensor}");
        }
        assert_eq!(leaf("2.a.0"), Some(Leaf::Scalar(Scalar::Int)));
        for nowhere in [
            "", "1", "3", "00", "-1", "0.0", "1.h", "1.h.x", "1.h.01", "1.z", "2", "2.a", "2..0", "2.a.0.0",
            "0.", "2.a.0.",
        ] {
            assert_eq!(leaf(nowhere), None, "{nowhere}");
        }
    }
}
