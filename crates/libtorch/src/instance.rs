//! A module on the thread that runs it.

use std::marker::PhantomData;
use std::sync::Arc;

use super::ffi::RawInput;
use super::flight::{Lane, PinnedMemory};
use super::memory;
use super::module::Module;
use super::scalar_type;
use cresset_backend::{
    BackendError, BatchInput, BatchOutput, Drive, Flight, HostBatch, HostMemory, ModelInstance,
};
use cresset_protocol::{Datatype, Strings};

/// One instance. It lives and is dropped on the thread that made it, and uses
/// that thread's number of intra-op threads.
pub(super) struct LibtorchInstance {
    module: Arc<Module>,
    /// If batches overlap.
    lane: Option<Lane>,
    /// Not `Send`.
    thread: PhantomData<*const ()>,
}

impl LibtorchInstance {
    /// An instance that is driven as `drive` says.
    pub(super) fn new(module: Arc<Module>, drive: Drive) -> Result<Self, BackendError> {
        let lane = match drive {
            Drive::Inline => None,
            Drive::Overlapped => Some(Lane::new(module.device())?),
        };
        Ok(Self { module, lane, thread: PhantomData })
    }
}

impl ModelInstance for LibtorchInstance {
    fn drive(&self) -> Drive {
        if self.lane.is_some() { Drive::Overlapped } else { Drive::Inline }
    }

    fn host_memory(&self) -> Option<Arc<dyn HostMemory>> {
        let device = self.module.device();
        device.is_accelerator().then(|| Arc::new(PinnedMemory::of(device)) as Arc<dyn HostMemory>)
    }

    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let raw = inputs.iter().map(raw_input).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: `raw_input` checked that each shape lies within its data,
        // and `inputs` borrows all of it until the end.
        let outputs = unsafe { self.module.forward(&raw) }?;
        outputs.into_batch()
    }

    fn launch(&mut self, batch: HostBatch) -> Result<Box<dyn Flight>, BackendError> {
        let Some(lane) = &mut self.lane else {
            let outputs = self.forward(&batch.inputs())?;
            return Ok(<dyn Flight>::landed(outputs, batch));
        };
        lane.launch(&self.module, batch)
    }

    fn release_memory(&mut self) {
        memory::empty_caches();
    }
}

pub(super) fn raw_input(input: &BatchInput<'_>) -> Result<RawInput, BackendError> {
    let whole = if input.datatype == Datatype::Bytes {
        are_strings(input)
    } else {
        bytes_of(input) == Some(input.data.len())
    };
    if !whole {
        return Err(refused(format!(
            "input '{}' of type {} and shape {:?} came with {} bytes",
            input.name,
            input.datatype,
            input.shape,
            input.data.len()
        )));
    }
    Ok(RawInput {
        name: input.name.as_ptr().cast(),
        name_length: input.name.len(),
        scalar_type: scalar_type::from_datatype(input.datatype),
        sizes: input.shape.as_ptr(),
        rank: input.shape.len(),
        data: input.data.as_ptr().cast(),
        bytes: input.data.len(),
    })
}

/// How many bytes an input of this type and shape has; `None` if a
/// dimension is negative or the product overflows.
fn bytes_of(input: &BatchInput<'_>) -> Option<usize> {
    let sizes = input.shape.iter().map(|size| usize::try_from(*size).ok());
    sizes.into_iter().try_fold(input.datatype.size()?, |bytes, size| bytes.checked_mul(size?))
}

/// Whether the data holds as many strings as the shape has elements.
fn are_strings(input: &BatchInput<'_>) -> bool {
    let sizes = input.shape.iter().map(|size| usize::try_from(*size).ok());
    let expected = sizes.into_iter().try_fold(1_usize, |count, size| count.checked_mul(size?));
    let mut strings = Strings::new(input.data);
    Some(strings.by_ref().count()) == expected && strings.rest().is_empty()
}

fn refused(message: String) -> BackendError {
    BackendError::Execute { detail: message.clone(), message }
}
