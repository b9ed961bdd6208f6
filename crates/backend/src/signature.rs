//! What a model's file says of itself, whatever its format.

use std::fmt;

use super::Argument;
use cresset_protocol::Datatype;

/// What a model takes and gives, as far as its file tells. A TorchScript file
/// tells the names and the types of `forward`'s arguments, and neither datatypes
/// nor shapes: those need a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// The arguments of its call in order, and how values nest in them.
    pub arguments: Vec<Argument>,
    /// The tensors within those that the file declares, each by its place.
    pub inputs: Vec<DeclaredTensor>,
    /// The results that the file declares, in order.
    pub outputs: Vec<DeclaredTensor>,
    /// Why the model must not be shared or batched across callers: it writes to
    /// state of its own. `None` if it doesn't.
    pub stateful: Option<String>,
    /// What an operator should know of the file on this device, a line each:
    /// `its code names cuda:0, …`.
    pub notes: Vec<String>,
}

/// A tensor as a model's file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTensor {
    /// Of an input its place, as of [`BatchInput`](crate::BatchInput); of an
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
        /// All dimensions of this name have one size in a request.
        name: String,
        /// The least size.
        min: i64,
        /// The largest size; `None` if there is no bound.
        max: Option<i64>,
    },
}

/// What else a file tells, in its format's own words: `frozen`, `its attributes
/// become constants when it is loaded`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub label: &'static str,
    /// What the file tells.
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
