//! libtorch: TorchScript modules through `tch` and a shim of our own.
//!
//! `tch` gives tensors, threads and devices. The shim (`shim.h`) gives what it
//! lacks: InferenceMode, freezing, the arguments of `forward`, what a module
//! writes to, and a forward that leaks nothing when it fails. Both sides catch
//! every C++ exception before it reaches Rust.

mod cuda;
mod error;
mod ffi;
mod instance;
mod module;
mod options;
mod outputs;
mod scalar_type;
mod tf32;
mod threads;

use std::sync::Arc;

use super::{Accelerators, Backend, BackendError, Device, LoadRequest, Model};
use module::LibtorchModel;

/// The backend of this build. Opens CUDA where the machine has it, so it
/// must come before anything else that asks libtorch for a device.
///
/// # Errors
/// None today: a machine without accelerators is no failure. A backend that
/// can't start at all would say so here.
pub fn backend() -> Result<Arc<dyn Backend>, BackendError> {
    Ok(Arc::new(LibtorchBackend::new()))
}

/// libtorch in this process.
#[derive(Debug)]
pub struct LibtorchBackend {
    accelerators: Accelerators,
    tf32: tf32::Switch,
}

impl LibtorchBackend {
    /// Opens CUDA where there is a driver; [`Backend::accelerators`] tells.
    #[must_use]
    pub fn new() -> Self {
        Self { accelerators: cuda::open(), tf32: tf32::Switch::default() }
    }

    fn check(&self, device: Device) -> Result<(), BackendError> {
        let why = match (device, &self.accelerators) {
            (Device::Cpu, _) => return Ok(()),
            (Device::Cuda(index), Accelerators::Cuda(count)) if index < *count => return Ok(()),
            (Device::Cuda(_), Accelerators::Cuda(count)) => format!("this machine has {count}"),
            (Device::Cuda(_), Accelerators::None(reason)) => reason.clone(),
        };
        let message = format!("device {device} can't be used: {why}");
        Err(BackendError::Device { detail: message.clone(), message })
    }
}

impl Default for LibtorchBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for LibtorchBackend {
    fn description(&self) -> String {
        // SAFETY: a literal of the shim's.
        let version = unsafe { ffi::text(ffi::cresset_torch_version()) };
        format!("libtorch {}", version.unwrap_or_default())
    }

    fn accelerators(&self) -> Accelerators {
        self.accelerators.clone()
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        self.check(request.device)?;
        Ok(Arc::new(LibtorchModel::load(request, &self.tf32)?))
    }

    fn release_memory(&self) {
        // glibc keeps what a model's weights and activations took, until told.
        // SAFETY: no precondition.
        unsafe { libc::malloc_trim(0) };
    }
}
