//! libtorch: TorchScript modules through `tch` and a shim of our own.
//!
//! `tch` provides tensors, threads and devices. The shim (`shim.h`) provides
//! the rest:
//!
//! - InferenceMode and freezing
//! - the arguments of `forward`, and what a module writes to
//! - a forward that leaks nothing if it fails
//!
//! Both sides catch every C++ exception before it reaches Rust.

mod accelerators;
mod cause;
mod device;
mod error;
mod ffi;
mod flight;
mod instance;
mod library_trial;
mod memory;
#[cfg(target_arch = "x86_64")]
mod mkl;
mod module;
mod operators;
mod options;
mod outputs;
mod scalar_type;
mod tf32;
mod threads;
mod torch_folder;

use std::path::Path;
use std::sync::Arc;

use cresset_backend::{
    Accelerators, Backend, BackendError, ComputeCapability, Device, DeviceFault, DeviceMemory, LoadRequest,
    MemorySettings, Model, OnUnload,
};
pub use library_trial::{run as try_libraries, try_with as try_libraries_with};
use module::LibtorchModel;
pub use threads::intra_op_threads;

/// The backend of this build. It opens libtorch's part for the accelerators that
/// the machine has. So it must be made before any other code asks libtorch for a
/// device, and before the process has a second thread.
///
/// The allocator's settings have the grammar of libtorch's
/// `PYTORCH_ALLOC_CONF`, and replace that variable. Without an accelerator they
/// have no effect.
///
/// # Errors
/// If libtorch refuses the allocator's settings. A machine without accelerators
/// is no failure.
pub fn backend_with(settings: MemorySettings<'_>) -> Result<Arc<dyn Backend>, BackendError> {
    let allocator = settings.allocator.filter(|settings| !settings.is_empty());
    if let Some(settings) = allocator {
        memory::offer_settings(settings);
    }
    let backend = LibtorchBackend { on_unload: settings.on_unload, ..LibtorchBackend::new() };
    if let (Some(settings), Accelerators::Found { .. }) = (allocator, &backend.accelerators) {
        memory::use_settings(settings)?;
    }
    Ok(Arc::new(backend))
}

/// [`backend_with`] these settings of the allocator, and defaults for the rest.
///
/// # Errors
/// Those of [`backend_with`].
pub fn backend(allocator: Option<&str>) -> Result<Arc<dyn Backend>, BackendError> {
    backend_with(MemorySettings { allocator, ..MemorySettings::default() })
}

/// libtorch in this process.
#[derive(Debug)]
pub struct LibtorchBackend {
    accelerators: Accelerators,
    tf32: tf32::Switch,
    on_unload: OnUnload,
}

impl LibtorchBackend {
    /// Opens libtorch's part for the accelerators that are here;
    /// [`Backend::accelerators`] tells the result.
    #[must_use]
    pub fn new() -> Self {
        Self {
            accelerators: accelerators::open(),
            tf32: tf32::Switch::default(),
            on_unload: OnUnload::default(),
        }
    }

    fn check(&self, device: Device) -> Result<(), BackendError> {
        let Device::Accelerator(kind, index) = device else { return Ok(()) };
        let why = match &self.accelerators {
            Accelerators::Found { kind: found, .. } if *found != kind => format!("this machine has {found}"),
            Accelerators::Found { count, .. } if index < *count => return Ok(()),
            Accelerators::Found { count, .. } => format!("this machine has {count}"),
            Accelerators::None(reason) => reason.clone(),
        };
        let message = format!("device {device} can't be used: {why}");
        Err(BackendError::Device { fault: DeviceFault::Unavailable, detail: message.clone(), message })
    }
}

impl Default for LibtorchBackend {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the C library, which allocates libtorch's tensors, keep freed memory
/// for the next batch. Otherwise it would return the memory to the system after
/// each batch, and every page would be zeroed and mapped again. The memory of a
/// model is still returned when it is unloaded ([`Backend::release_memory`]).
///
/// A program calls it once, before it loads a model.
pub fn keep_freed_memory() {
    /// The largest threshold of glibc: larger blocks are mapped separately.
    const MAPPED_FROM: libc::c_int = 32 << 20;
    /// More free memory than this at the end of an arena is returned.
    const KEPT: libc::c_int = 1 << 30;
    /// The step by which an arena grows.
    const STEP: libc::c_int = 1 << 20;
    // SAFETY: no precondition; a rejected value leaves the default.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TOP_PAD, STEP);
    }
}

impl Backend for LibtorchBackend {
    fn description(&self) -> String {
        // SAFETY: a literal of the shim.
        let version = unsafe { ffi::text(ffi::cresset_torch_version()) };
        format!("libtorch {}", version.unwrap_or_default())
    }

    fn accelerators(&self) -> Accelerators {
        self.accelerators.clone()
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        self.check(request.device)?;
        let load = || LibtorchModel::load(request, &self.tf32);
        Ok(Arc::new(operators::with_torchvision(&self.accelerators, load)?))
    }

    fn open_operators(&self, library: &Path) -> Result<(), BackendError> {
        operators::open(library, &self.accelerators)
    }

    fn release_memory(&self) {
        // glibc keeps the freed memory of a model's weights and activations
        // until it is told to return it.
        // SAFETY: no precondition.
        unsafe { libc::malloc_trim(0) };
        match self.on_unload {
            OnUnload::Release => memory::empty_caches(),
            OnUnload::Keep => {}
        }
    }

    fn device_memory(&self) -> Vec<DeviceMemory> {
        memory::of_devices(&self.accelerators)
    }

    fn compute_capability(&self, device: Device) -> Option<ComputeCapability> {
        accelerators::compute_capability(device)
    }

    fn vector_level(&self) -> Option<String> {
        // SAFETY: null or a text that libtorch never frees.
        unsafe { ffi::text(ffi::cresset_cpu_capability()) }
    }
}
