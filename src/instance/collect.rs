//! Requests into a batch: every byte is written once, into its place.

use std::sync::Arc;

use super::execute::Context;
use super::request::QueuedRequest;
use crate::error::{Error, Result};
use cresset_backend::{HostBatch, HostBuffer, HostInput, HostMemory};
use cresset_protocol::{Datatype, Tensor};

/// Writes the inputs of `requests` one behind the other into `batch`. Its
/// memory is kept from the batch before, or comes from `memory`. All requests
/// are of one bucket: their shapes differ only in the first dimension, if the
/// model is batched, and in the padded one. Inputs that they leave out have no
/// place in the batch.
pub(super) fn collect(
    batch: &mut HostBatch,
    requests: &[QueuedRequest],
    context: &Context,
    memory: Option<&Arc<dyn HostMemory>>,
) -> Result<()> {
    let Some(first) = requests.first() else {
        return Err(Error::internal("a batch without requests"));
    };
    let padding = context.padding.as_deref().map(|padding| (padding, padding.length(requests)));
    let mut taken = 0;
    for (index, input) in first.inputs.iter().enumerate().filter(|(_, input)| !input.is_absent()) {
        let parts = || requests.iter().filter_map(|request| request.inputs.get(index));
        let mut shape = match padding {
            Some((padding, length)) => padding.shape(index, &input.shape, length),
            None => input.shape.clone(),
        };
        if context.batched
            && let Some(rows) = shape.first_mut()
        {
            *rows = parts().filter_map(|part| part.shape.first()).sum();
        }
        if batch.inputs.len() <= taken {
            batch.inputs.push(HostInput {
                name: input.name.clone(),
                datatype: input.datatype,
                shape: Vec::new(),
                data: HostBuffer::within(memory.cloned()),
            });
        }
        let slot = &mut batch.inputs[taken];
        taken += 1;
        slot.name = input.name.clone();
        slot.datatype = input.datatype;
        match padding {
            Some((padding, length)) => {
                slot.data.begin(bytes(&shape, input.datatype));
                requests.iter().for_each(|request| padding.write(index, request, length, &mut slot.data));
            }
            None => {
                slot.data.begin(parts().map(|part: &Tensor| part.data.len()).sum());
                parts().for_each(|part| slot.data.extend(&part.data));
            }
        }
        slot.shape = shape;
    }
    batch.inputs.truncate(taken);
    Ok(())
}

/// The size of a tensor of this shape in bytes; zero for strings, whose size
/// isn't known before.
fn bytes(shape: &[i64], datatype: Datatype) -> usize {
    let elements: i64 = shape.iter().product();
    usize::try_from(elements).unwrap_or(0) * datatype.size().unwrap_or(0)
}
