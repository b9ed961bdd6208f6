//! Requests into a batch: every byte is written once, into its place.

use std::sync::Arc;

use crate::backend::{HostBatch, HostBuffer, HostInput, HostMemory};
use crate::error::{Error, Result};
use crate::instance::QueuedRequest;
use crate::protocol::Tensor;

/// Writes the inputs of `requests` one behind the other into `batch`, whose
/// memory is kept from the one before or comes from `memory`. All are of one
/// bucket: their shapes differ in the first dimension alone, and there only
/// where `batched`.
pub(super) fn collect(
    batch: &mut HostBatch,
    requests: &[QueuedRequest],
    batched: bool,
    memory: Option<&Arc<dyn HostMemory>>,
) -> Result<()> {
    let Some(first) = requests.first() else {
        return Err(Error::internal("a batch without requests"));
    };
    for (index, input) in first.inputs.iter().enumerate() {
        let parts = || requests.iter().filter_map(|request| request.inputs.get(index));
        let mut shape = input.shape.clone();
        if batched && let Some(rows) = shape.first_mut() {
            *rows = parts().filter_map(|part| part.shape.first()).sum();
        }
        if batch.inputs.len() <= index {
            batch.inputs.push(HostInput {
                name: input.name.clone(),
                datatype: input.datatype,
                shape: Vec::new(),
                data: HostBuffer::within(memory.cloned()),
            });
        }
        let slot = &mut batch.inputs[index];
        slot.name = input.name.clone();
        slot.datatype = input.datatype;
        slot.shape = shape;
        slot.data.begin(parts().map(|part: &Tensor| part.data.len()).sum());
        parts().for_each(|part| slot.data.extend(&part.data));
    }
    batch.inputs.truncate(first.inputs.len());
    Ok(())
}
