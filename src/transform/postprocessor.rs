//! Postprocessors: what they do and what they declare.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::error::TransformError;
use cresset_protocol::{Datatype, Tensor};

/// Makes an answer of a model's outputs, such as labels of scores.
///
/// It is pure: no clock and no threads.
pub trait Postprocessor: Any + fmt::Debug + Send + Sync {
    /// The table of `cresset.toml` that declares it, as messages name it.
    fn table(&self) -> &'static str;

    /// The outputs that it reads: at least one.
    fn outputs(&self) -> Vec<ReadOutput>;

    /// The files that it was read from, in the model's directory, beside
    /// `cresset.toml`.
    fn files(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Makes an answer of each row. `outputs` are in the order of
    /// [`outputs`](Self::outputs), each of the datatype that is declared there.
    ///
    /// # Errors
    /// No answer can be made of these outputs.
    fn postprocess(&self, outputs: &[&Tensor]) -> Result<Vec<Arc<dyn RowAnswer>>, TransformError>;

    /// Whether the other is of the same type and makes the same of all outputs.
    fn equals(&self, other: &dyn Postprocessor) -> bool;
}

impl PartialEq for dyn Postprocessor {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

/// An output that a postprocessor reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOutput {
    /// Its name; `None` for the model's first output.
    pub name: Option<String>,
    /// The datatype that its elements must have.
    pub datatype: Datatype,
    /// The shape of one row, without a batch dimension, -1 for any size; `None` for
    /// any shape.
    pub row: Option<Vec<i64>>,
    /// What its elements are in messages, in the plural: `scores`.
    pub elements: &'static str,
}

/// A postprocessor's answer for one row.
pub trait RowAnswer: fmt::Debug + Send + Sync {
    /// Writes it as JSON.
    fn write(&self, form: AnswerForm, out: &mut Vec<u8>);
}

/// How much an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// All that is known: of labels a list of objects.
    Detailed,
    /// What TorchServe's clients expect: of labels `{"label": probability, …}`.
    Brief,
}
