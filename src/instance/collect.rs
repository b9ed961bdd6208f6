//! Requests into a batch: every byte is written once, into its place.

use crate::backend::{BatchInput, HostBuffer};
use crate::error::{Error, Result};
use crate::instance::QueuedRequest;
use crate::protocol::{Datatype, Tensor};

/// The inputs of one batch, in memory that is kept for the next.
#[derive(Debug, Default)]
pub(super) struct Collected {
    inputs: Vec<CollectedInput>,
}

#[derive(Debug)]
struct CollectedInput {
    name: std::sync::Arc<str>,
    datatype: Datatype,
    shape: Vec<i64>,
    data: HostBuffer,
}

impl Collected {
    /// Writes the inputs of `requests` one behind the other. All are of one
    /// bucket: their shapes differ in the first dimension alone, and there
    /// only where `batched`.
    pub(super) fn collect(
        &mut self,
        requests: &[QueuedRequest],
        batched: bool,
        new_buffer: impl Fn() -> HostBuffer,
    ) -> Result<()> {
        let Some(first) = requests.first() else {
            return Err(Error::internal("a batch without requests"));
        };
        for (index, input) in first.inputs.iter().enumerate() {
            let parts = || requests.iter().filter_map(|request| request.inputs.get(index));
            let mut shape = input.shape.clone();
            if batched && let Some(batch) = shape.first_mut() {
                *batch = parts().filter_map(|part| part.shape.first()).sum();
            }
            if self.inputs.len() <= index {
                self.inputs.push(CollectedInput {
                    name: input.name.clone(),
                    datatype: input.datatype,
                    shape: Vec::new(),
                    data: new_buffer(),
                });
            }
            let slot = &mut self.inputs[index];
            slot.name = input.name.clone();
            slot.datatype = input.datatype;
            slot.shape = shape;
            slot.data.begin(parts().map(|part: &Tensor| part.data.len()).sum());
            parts().for_each(|part| slot.data.extend(&part.data));
        }
        self.inputs.truncate(first.inputs.len());
        Ok(())
    }

    /// The batch as the backend takes it.
    pub(super) fn inputs(&self) -> Vec<BatchInput<'_>> {
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
