//! The rules for the inputs of every request form.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Datatype, ProtocolError, RequestedOutput, Tensor, expected_bytes};

/// The longest name of a tensor, in bytes: errors repeat names.
pub const LONGEST_NAME: usize = 1024;

/// The most dimensions of a tensor.
pub const MOST_DIMENSIONS: usize = 64;

/// The most parameters that a request may have.
pub const MOST_PARAMETERS: usize = 256;

/// A request's inputs, checked as they are collected: distinct by name, and
/// each with as many bytes as its shape takes.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The model of the request: errors name it.
    model: &'a str,
    names: HashSet<Arc<str>>,
    tensors: Vec<Tensor>,
}

impl<'a> Inputs<'a> {
    /// Room for `count` of them.
    #[must_use]
    pub fn with_capacity(model: &'a str, count: usize) -> Self {
        Self { model, names: HashSet::with_capacity(count), tensors: Vec::with_capacity(count) }
    }

    /// Adds one input.
    ///
    /// # Errors
    /// If the name is there already, or if the data doesn't fit the shape; the
    /// latter in Triton's words.
    pub fn push(
        &mut self,
        name: String,
        datatype: Datatype,
        shape: Vec<i64>,
        data: Bytes,
    ) -> Result<(), ProtocolError> {
        let name: Arc<str> = Arc::from(name);
        if !self.names.insert(Arc::clone(&name)) {
            return Err(ProtocolError::invalid(format!("input '{name}' is given twice")));
        }
        if let Some(expected) = expected_bytes(&name, datatype, &shape)?
            && data.len() != expected
        {
            return Err(ProtocolError::invalid(format!(
                "input byte size mismatch for input '{name}' for model '{}'. Expected {expected}, got {}: \
                 {datatype} of shape {shape:?}",
                self.model,
                data.len()
            )));
        }
        self.tensors.push(Tensor { name, datatype, shape, data });
        Ok(())
    }

    /// All inputs, in order.
    #[must_use]
    pub fn done(self) -> Vec<Tensor> {
        self.tensors
    }
}

/// Checks that no output is asked for twice.
///
/// # Errors
/// The first repeated output, in Triton's words.
pub fn distinct(outputs: &[RequestedOutput]) -> Result<(), ProtocolError> {
    let mut names = HashSet::with_capacity(outputs.len());
    match outputs.iter().find(|output| !names.insert(&output.name)) {
        Some(output) => {
            Err(ProtocolError::invalid(format!("output '{}' already exists in request", output.name)))
        }
        None => Ok(()),
    }
}
