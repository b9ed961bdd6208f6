//! One forward on the instance's thread.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use tch::Kind;

use super::ffi::{self, Outputs, RawInput, RawRun};
use super::message::execute_error;
use super::module::SharedModule;
use crate::backend::{BackendError, BatchInput, BatchOutput, ModelInstance};
use crate::protocol::Datatype;

/// A module with how it is run.
pub(super) struct LibtorchInstance {
    module: Arc<SharedModule>,
    run: RawRun,
}

impl LibtorchInstance {
    pub(super) fn new(module: Arc<SharedModule>, run: RawRun) -> Self {
        Self { module, run }
    }
}

impl ModelInstance for LibtorchInstance {
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError> {
        let names: Vec<CString> = inputs
            .iter()
            .map(|input| CString::new(input.name))
            .collect::<Result<_, _>>()
            .map_err(|_| execute_error("an input's name holds a zero byte".to_owned()))?;
        let raw: Vec<RawInput> = inputs
            .iter()
            .zip(&names)
            .map(|(input, name)| raw_input(input, name))
            .collect::<Result<_, _>>()?;
        let mut outputs = ptr::null_mut();
        // SAFETY: the module is shared as its type says; the inputs outlive
        // the call and are not written to unless the model itself does, in
        // memory that belongs to this batch; `outputs` takes what comes back.
        let error = unsafe {
            ffi::take_text(ffi::cresset_module_forward(
                self.module.as_ptr(),
                &raw const self.run,
                raw.as_ptr(),
                raw.len(),
                &raw mut outputs,
            ))
        };
        if let Some(detail) = error {
            return Err(execute_error(detail));
        }
        let Some(outputs) = NonNull::new(outputs) else {
            return Err(execute_error("the shim gave no outputs".to_owned()));
        };
        // SAFETY: handed over by the call above.
        let mut outputs = unsafe { Outputs::new(outputs) };
        outputs.take_all().into_iter().map(|(name, tensor)| output(name, tensor)).collect()
    }
}

fn raw_input(input: &BatchInput<'_>, name: &CString) -> Result<RawInput, BackendError> {
    let kind = kind(input.datatype)
        .ok_or_else(|| execute_error(format!("inputs of datatype {} aren't served yet", input.datatype)))?;
    Ok(RawInput {
        name: name.as_ptr(),
        data: input.data.as_ptr().cast_mut().cast(),
        shape: input.shape.as_ptr(),
        rank: input.shape.len(),
        scalar_type: kind.0,
    })
}

/// Keeps a tensor for as long as slices of its memory are held.
struct TensorBytes {
    _tensor: tch::Tensor,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is read only, and the tensor may be freed on any thread.
unsafe impl Send for TensorBytes {}

impl AsRef<[u8]> for TensorBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` and `len` are the contiguous memory of the tensor
        // that is kept beside them; nobody writes to it any more.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

fn output(name: Option<String>, tensor: tch::Tensor) -> Result<BatchOutput, BackendError> {
    let kind = tensor.f_kind().map_err(|error| execute_error(error.to_string()))?;
    let Some(datatype) = datatype(kind) else {
        return Err(execute_error(format!(
            "the model returned a tensor of type {kind:?}, which can't be served"
        )));
    };
    let shape = tensor.size();
    let len = tensor.numel() * datatype.size().unwrap_or(0);
    // A tensor without elements may have no memory at all.
    let data = match NonNull::new(tensor.data_ptr().cast::<u8>()) {
        Some(start) if len > 0 => Bytes::from_owner(TensorBytes { _tensor: tensor, start, len }),
        _ => Bytes::new(),
    };
    Ok(BatchOutput { name, datatype, shape, data })
}

/// c10's number of a scalar type.
struct ScalarType(i32);

/// The numbers are part of libtorch's stable interface (`c10/core/ScalarType.h`);
/// `tch` has no names for the wider unsigned ones.
fn kind(datatype: Datatype) -> Option<ScalarType> {
    Some(ScalarType(match datatype {
        Datatype::Uint8 => 0,
        Datatype::Int8 => 1,
        Datatype::Int16 => 2,
        Datatype::Int32 => 3,
        Datatype::Int64 => 4,
        Datatype::Fp16 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bool => 11,
        Datatype::Bf16 => 15,
        Datatype::Uint16 => 27,
        Datatype::Uint32 => 28,
        Datatype::Uint64 => 29,
        Datatype::Bytes => return None,
    }))
}

fn datatype(kind: Kind) -> Option<Datatype> {
    match kind {
        Kind::Uint8 => Some(Datatype::Uint8),
        Kind::Int8 => Some(Datatype::Int8),
        Kind::Int16 => Some(Datatype::Int16),
        Kind::Int => Some(Datatype::Int32),
        Kind::Int64 => Some(Datatype::Int64),
        Kind::Half => Some(Datatype::Fp16),
        Kind::Float => Some(Datatype::Fp32),
        Kind::Double => Some(Datatype::Fp64),
        Kind::Bool => Some(Datatype::Bool),
        Kind::BFloat16 => Some(Datatype::Bf16),
        Kind::ComplexHalf
        | Kind::ComplexFloat
        | Kind::ComplexDouble
        | Kind::QInt8
        | Kind::QUInt8
        | Kind::QInt32
        | Kind::Float8e5m2
        | Kind::Float8e4m3fn
        | Kind::Float8e5m2fnuz
        | Kind::Float8e4m3fnuz => None,
    }
}
