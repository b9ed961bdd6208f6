//! A batch's inputs in host memory, as one value that moves from stage to
//! stage. Only its owner may write to it.

use std::sync::Arc;

use super::{BatchInput, HostBuffer};
use cresset_protocol::Datatype;

/// The inputs of one batch, in memory that is kept for the next.
#[derive(Debug, Default)]
pub struct HostBatch {
    /// In the model's order.
    pub inputs: Vec<HostInput>,
}

/// One input of a batch.
#[derive(Debug)]
pub struct HostInput {
    /// Its place, as in [`BatchInput`].
    pub name: Arc<str>,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape, the batch dimension included.
    pub shape: Vec<i64>,
    /// `datatype.size() * product(shape)` bytes.
    pub data: HostBuffer,
}

impl HostBatch {
    /// The batch as a backend reads it.
    #[must_use]
    pub fn inputs(&self) -> Vec<BatchInput<'_>> {
        self.inputs
            .iter()
            .map(|input| BatchInput {
                name: &input.name,
                datatype: input.datatype,
                shape: &input.shape,
                data: input.data.as_slice(),
            })
            .collect()
    }
}
