//! What every form of a request keeps to, whichever way its tensors came.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Datatype, ProtocolError, RequestedOutput, Tensor, expected_bytes};

/// The longest name of a tensor, in bytes: names come back in errors.
pub const LONGEST_NAME: usize = 1024;

/// The most dimensions of a tensor.
pub const MOST_DIMENSIONS: usize = 64;

/// The most parameters that a request may have.
pub const MOST_PARAMETERS: usize = 256;

/// A request's inputs, checked as they are collected: distinct by name, each
/// with as many bytes as its shape takes.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The model that they are for: errors name it.
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

    /// Takes one in.
    ///
    /// # Errors
    /// A name that is there already, or data that doesn't fit the shape; the
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

    /// All of them, in order.
    #[must_use]
    pub fn done(self) -> Vec<Tensor> {
        self.tensors
    }
}

/// Checks that no output is asked for twice; in Triton's words.
///
/// # Errors
/// The first that is.
pub fn distinct(outputs: &[RequestedOutput]) -> Result<(), ProtocolError> {
    let mut names = HashSet::with_capacity(outputs.len());
    match outputs.iter().find(|output| !names.insert(&output.name)) {
        Some(output) => {
            Err(ProtocolError::invalid(format!("output '{}' already exists in request", output.name)))
        }
        None => Ok(()),
    }
}
