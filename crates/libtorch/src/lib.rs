//! libtorch: TorchScript modules through `tch` and a shim of our own.
//!
//! `tch` gives tensors, threads and devices. The shim (`shim.h`) gives what it
//! lacks: InferenceMode, freezing, the arguments of `forward`, what a module
//! writes to, and a forward that leaks nothing when it fails. Both sides catch
//! every C++ exception before it reaches Rust.

mod cause;
mod cuda;
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

use std::path::Path;
use std::sync::Arc;

use cresset_backend::{
    Accelerators, Backend, BackendError, ComputeCapability, Device, DeviceFault, DeviceMemory, LoadRequest,
    MemorySettings, Model, OnUnload,
};
use cresset_nvidia::Driver;
pub use library_trial::{run as try_libraries, try_with as try_libraries_with};
use module::LibtorchModel;
pub use threads::intra_op_threads;

/// The backend of this build. It opens CUDA if the machine has it. So it must
/// come before anything else that asks libtorch for a device, and before the
/// process has a second thread.
///
/// The allocator's settings are in the grammar of libtorch's
/// `PYTORCH_ALLOC_CONF`, whose place they take. Without CUDA nothing reads
/// them.
///
/// # Errors
/// When libtorch refuses the allocator's settings. A machine without
/// accelerators is no failure.
pub fn backend_with(settings: MemorySettings<'_>) -> Result<Arc<dyn Backend>, BackendError> {
    let allocator = settings.allocator.filter(|settings| !settings.is_empty());
    if let Some(settings) = allocator {
        memory::offer_settings(settings);
    }
    let backend = LibtorchBackend { on_unload: settings.on_unload, ..LibtorchBackend::new() };
    if let (Some(settings), Accelerators::Cuda(_)) = (allocator, &backend.accelerators) {
        memory::use_settings(settings)?;
    }
    Ok(Arc::new(backend))
}

/// [`backend_with`] these settings of the allocator, and the defaults of the
/// rest.
///
/// # Errors
/// As there.
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
    /// Opens CUDA if there is a driver; [`Backend::accelerators`] tells.
    #[must_use]
    pub fn new() -> Self {
        Self { accelerators: cuda::open(), tf32: tf32::Switch::default(), on_unload: OnUnload::default() }
    }

    fn check(&self, device: Device) -> Result<(), BackendError> {
        let Some(gpu) = device.gpu() else { return Ok(()) };
        let why = match &self.accelerators {
            Accelerators::Cuda(count) if gpu < *count => return Ok(()),
            Accelerators::Cuda(count) => format!("this machine has {count}"),
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

/// From now on the C library, which libtorch has its tensors from, keeps what
/// they took for the next batch, instead of giving it to the system after each
/// and having every page of it zeroed and mapped again. What a model leaves
/// behind is still given back when it is unloaded
/// ([`Backend::release_memory`]).
///
/// For a whole program to call, once, before it loads a model.
pub fn keep_freed_memory() {
    /// The largest that glibc takes: larger blocks are mapped by themselves.
    const MAPPED_FROM: libc::c_int = 32 << 20;
    /// Free memory at the end of an arena, beyond which it is given back.
    const KEPT: libc::c_int = 1 << 30;
    /// How much an arena grows at once.
    const STEP: libc::c_int = 1 << 20;
    // SAFETY: no precondition; a value that isn't taken leaves the default.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TOP_PAD, STEP);
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
        let load = || LibtorchModel::load(request, &self.tf32);
        Ok(Arc::new(operators::with_torchvision(&self.accelerators, load)?))
    }

    fn open_operators(&self, library: &Path) -> Result<(), BackendError> {
        operators::open(library, &self.accelerators)
    }

    fn release_memory(&self) {
        // glibc keeps what a model's weights and activations took, until told.
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

    fn compute_capability(&self, gpu: u32) -> Option<ComputeCapability> {
        // Loading asks, and few models do: the driver is asked anew.
        let gpus = Driver::open().ok()?.gpus();
        gpus.into_iter().find(|known| known.index == gpu)?.compute_capability
    }

    fn vector_level(&self) -> Option<String> {
        // SAFETY: null or a text that libtorch keeps for ever.
        unsafe { ffi::text(ffi::cresset_cpu_capability()) }
    }
}
