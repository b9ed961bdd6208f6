//! One run of a model, outside of its instances.

use std::sync::Arc;

use super::input::TrialInput;
use cresset_backend::{BackendError, BatchOutput, Drive, HostBatch, HostBuffer, HostInput, ModelInstance};

/// Runs the work on a new thread, which ends with it: libtorch keeps memory for
/// each thread that ever ran a model.
///
/// # Errors
/// If the work fails or panics, or there is no thread.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T, BackendError> + Send) -> Result<T, BackendError> {
    std::thread::scope(|scope| {
        let trial = std::thread::Builder::new().name("trial".to_owned());
        let thread = trial
            .spawn_scoped(scope, work)
            .map_err(|error| failed(format!("no thread for a trial run: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the trial run ended in a panic")))
    })
}

/// An error of something around the model.
#[must_use]
pub fn failed(message: impl Into<String>) -> BackendError {
    let message = message.into();
    BackendError::Execute { detail: message.clone(), message }
}

/// Runs an instance once on its own thread, which is the calling one. The inputs
/// take the same path as a request's, so that the first request finds pinned
/// memory, the allocator's blocks and the graph ready.
///
/// # Errors
/// As of [`ModelInstance::forward`].
pub fn run_here(
    instance: &mut dyn ModelInstance,
    inputs: &[TrialInput],
) -> Result<Vec<BatchOutput>, BackendError> {
    let memory = instance.host_memory();
    let collected = |input: &TrialInput| {
        let mut data = HostBuffer::within(memory.clone());
        let bytes = input.bytes();
        data.begin(bytes.len());
        data.extend(&bytes);
        let (name, datatype, shape) = (Arc::from(input.name.as_str()), input.datatype, input.shape.clone());
        HostInput { name, datatype, shape, data }
    };
    let batch = HostBatch { inputs: inputs.iter().map(collected).collect() };
    match instance.drive() {
        Drive::Inline => instance.forward(&batch.inputs()),
        Drive::Overlapped => instance.launch(batch)?.land().0,
    }
}
