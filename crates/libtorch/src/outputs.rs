//! Output tensors as bytes that keep them alive.

use std::ffi::c_void;
use std::ptr::NonNull;

use bytes::Bytes;
use tch::Tensor;

use super::ffi::{self, RawOutput, RawOutputs};
use super::scalar_type;
use cresset_backend::{BackendError, BatchOutput};

/// The result of one forward, until it is taken apart.
pub(super) struct Outputs(NonNull<RawOutputs>);

impl Outputs {
    /// # Safety
    /// `outputs` came from `cresset_module_forward` and has no other owner.
    pub(super) unsafe fn from_raw(outputs: NonNull<RawOutputs>) -> Self {
        Self(outputs)
    }

    /// Returns the tensors in the model's order, without copying them.
    pub(super) fn into_batch(self) -> Result<Vec<BatchOutput>, BackendError> {
        let mut count = 0;
        // SAFETY: `self.0` is alive; `count` is a local variable.
        let items = unsafe { ffi::cresset_outputs_items(self.0.as_ptr(), &raw mut count) };
        if count == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the shim's array has `count` items, lives as long as
        // `self.0`, and has no other reference.
        let items = unsafe { std::slice::from_raw_parts_mut(items, count) };
        // After an error the remaining items are freed with `self`.
        items.iter_mut().enumerate().map(|(index, item)| take(index, item)).collect()
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::cresset_outputs_free(self.0.as_ptr()) };
    }
}

fn take(index: usize, item: &mut RawOutput) -> Result<BatchOutput, BackendError> {
    // SAFETY: null or a text that lives as long as the outputs.
    let name = unsafe { ffi::text(item.name) };
    let Some(datatype) = scalar_type::to_datatype(item.scalar_type) else {
        return Err(unnamed_type(index, name.as_deref(), item));
    };
    let shape = match item.rank {
        0 => Vec::new(),
        // SAFETY: the sizes of the tensor, or of its strings, alive in the
        // outputs.
        rank => unsafe { std::slice::from_raw_parts(item.sizes, rank) }.to_vec(),
    };
    let tensor = std::mem::replace(&mut item.tensor, std::ptr::null_mut());
    // SAFETY: an `at::Tensor*` made by the shim for this code. The line above
    // took ownership of it.
    let tensor = unsafe { Tensor::from_ptr(tensor.cast()) };
    let owner = TensorBytes { _tensor: tensor, start: item.data.cast(), bytes: item.bytes };
    Ok(BatchOutput { name, datatype, shape, data: Bytes::from_owner(owner) })
}

fn unnamed_type(index: usize, name: Option<&str>, item: &RawOutput) -> BackendError {
    let place = name.map_or_else(|| index.to_string(), |name| format!("'{name}'"));
    let kind = shallow_kind(item.tensor).unwrap_or_else(|| format!("scalar type {}", item.scalar_type));
    let message = format!("PyTorch execute failure: output {place} is of type {kind}, which can't be sent");
    BackendError::Execute { detail: message.clone(), message }
}

/// libtorch's name of the type, if `tch` knows it.
fn shallow_kind(tensor: *mut c_void) -> Option<String> {
    // SAFETY: an `at::Tensor*` owned by the outputs; this makes another
    // reference to the same tensor and drops it.
    let tensor = unsafe { Tensor::clone_from_ptr(tensor.cast()) };
    tensor.f_kind().ok().map(|kind| format!("{kind:?}"))
}

/// The memory of a contiguous tensor on the host.
struct TensorBytes {
    /// Keeps `start` alive: the tensor's memory belongs to its reference count.
    _tensor: Tensor,
    start: *const u8,
    bytes: usize,
}

// SAFETY: the memory is only read, and not written any more: outputs that share
// memory with an input or with a changing attribute were copied. A tensor on
// the host may be dropped on any thread.
unsafe impl Send for TensorBytes {}

impl AsRef<[u8]> for TensorBytes {
    fn as_ref(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: `start` and `bytes` belong to the tensor that `self` keeps
        // alive.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }
}
