//! The declarations of a model's file, in any format.

use std::fmt;

use super::Argument;
use cresset_protocol::Datatype;

/// A model's inputs and outputs, as far as its file declares them. A
/// TorchScript file declares the names and the types of `forward`'s arguments,
/// but neither datatypes nor shapes: those need a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// The arguments of its call in order, and how values nest in them.
    pub arguments: Vec<Argument>,
    /// The tensors within the arguments that the file declares, by place.
    pub inputs: Vec<DeclaredTensor>,
    /// The results that the file declares, in order.
    pub outputs: Vec<DeclaredTensor>,
    /// Why the model must not be shared or batched across requests: it writes
    /// to state of its own. `None` if it doesn't.
    pub stateful: Option<String>,
    /// Facts that an operator should know about the file on this device, one
    /// line each: `its code names cuda:0, …`.
    pub notes: Vec<String>,
}

/// A tensor as a model's file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTensor {
    /// For an input its place, as in [`BatchInput`](crate::BatchInput); for an
    /// output its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape, the batch dimension included.
    pub shape: Vec<Dimension>,
}

/// A dimension as a model's file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// Always this size.
    Fixed(i64),
    /// A size that varies within a range.
    Symbol {
        /// All dimensions of this name have the same size in a request.
        name: String,
        /// The least size.
        min: i64,
        /// The largest size; `None` if there is no bound.
        max: Option<i64>,
    },
}

/// A further fact about a file, in its format's terms: `frozen`, `its
/// attributes become constants when it is loaded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The subject.
    pub label: &'static str,
    /// The fact.
    pub text: String,
}

/// `FP32 [batch (1 to 8), 3]`.
impl fmt::Display for DeclaredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "{} [{}]", self.datatype, shape.join(", "))
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Symbol { name, min, max: Some(max) } => write!(f, "{name} ({min} to {max})"),
            Self::Symbol { name, min, max: None } => write!(f, "{name} ({min} or more)"),
        }
    }
}
