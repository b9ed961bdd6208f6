//! One run of a model, outside of its instances.

use std::sync::Arc;

use super::TrialInput;
use cresset_backend::{
    BackendError, BatchOutput, Drive, HostBatch, HostBuffer, HostInput, Model, ModelInstance,
};

/// Runs a model once, on a thread that ends with the run: libtorch keeps memory
/// for each thread that ever ran a model.
///
/// # Errors
/// As of [`ModelInstance::forward`].
pub fn run(model: &dyn Model, inputs: &[TrialInput]) -> Result<Vec<BatchOutput>, BackendError> {
    apart(|| run_here(model.instance(1)?.as_mut(), inputs))
}

/// Work with models on a thread of its own.
///
/// # Errors
/// What the work failed with; that there is no thread, or that it panicked.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T, BackendError> + Send) -> Result<T, BackendError> {
    std::thread::scope(|scope| {
        let trial = std::thread::Builder::new().name("trial".to_owned());
        let thread = trial
            .spawn_scoped(scope, work)
            .map_err(|error| failed(format!("no thread for a trial run: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the trial run ended in a panic")))
    })
}

/// That something around the model failed.
#[must_use]
pub fn failed(message: impl Into<String>) -> BackendError {
    let message = message.into();
    BackendError::Execute { detail: message.clone(), message }
}

/// Runs an instance once on its own thread, which is the calling one. Inputs go
/// the way of a request's, so that what they need is there for the first
/// request: pinned memory, the allocator's blocks, the graph.
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
