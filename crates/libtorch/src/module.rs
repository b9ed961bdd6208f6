//! A TorchScript module: loaded, prepared and shared by its instances.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::device::DeviceName;
use super::ffi::{self, RawModule};
use super::instance::LibtorchInstance;
use super::options::{Options, Precision};
use super::outputs::Outputs;
use super::{error, memory, tf32, threads};
use cresset_backend::{
    Argument, ArgumentKind, BackendError, Device, Drive, Fact, LoadOptions, LoadRequest, Model, ModelFormat,
    ModelInstance, Signature, TORCH_SCRIPT,
};

/// The shim's module.
pub(super) struct Module {
    raw: NonNull<RawModule>,
    device: Device,
    /// Accelerators get their unused memory back after each run.
    cache_cleaning: bool,
}

// SAFETY: libtorch's modules may be used, and dropped, on any thread.
unsafe impl Send for Module {}
// SAFETY: a module that doesn't write to its attributes may run on several
// threads at once. A module that does is never shared:
// `LibtorchModel::instance` gives each instance its own copy.
unsafe impl Sync for Module {}

impl Module {
    /// Reads, analyses and freezes a file; slow.
    fn load(request: &LoadRequest<'_>, options: &Options) -> Result<Self, BackendError> {
        error::inspect(request.path)?;
        let path = CString::new(request.path.as_os_str().as_bytes()).map_err(|error| BackendError::Load {
            message: "the model file's path holds a zero byte".to_owned(),
            detail: error.to_string(),
        })?;
        let device = DeviceName::of(request.device);
        let raw = options.raw();
        let precision = Precision::new(request.options);
        let raw_precision = precision.raw();
        // Two threads here would halve the instances' speed later on.
        let _one = threads::Count::set_for_now(1);
        ffi::made(|module, error| {
            // SAFETY: the path and the name are terminated, and all pointers are to values
            // that outlive the call.
            unsafe {
                ffi::cresset_module_load(
                    path.as_ptr(),
                    device.as_ptr(),
                    &raw const raw,
                    &raw const raw_precision,
                    module,
                    error,
                )
            }
        })
        .map(|raw| Self { raw, device: request.device, cache_cleaning: options.cache_cleaning })
        .map_err(|failure| error::load(failure, request.device))
    }

    /// The device on which it computes.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// A module with attributes of its own.
    fn copy(&self) -> Result<Self, BackendError> {
        ffi::made(|copy, error| {
            // SAFETY: `self.raw` is alive, and the original of a module that
            // writes to itself isn't run by any thread.
            unsafe { ffi::cresset_module_copy(self.raw.as_ptr(), copy, error) }
        })
        .map(|raw| Self { raw, ..*self })
        .map_err(|failure| error::load(failure, self.device))
    }

    /// The same module rewritten for inference; slow.
    fn rewrite(&self) -> Result<Self, BackendError> {
        let _one = threads::Count::set_for_now(1);
        ffi::made(|made, error| {
            // SAFETY: `self.raw` is alive, and is only read.
            unsafe { ffi::cresset_module_for_inference(self.raw.as_ptr(), made, error) }
        })
        .map(|raw| Self { raw, ..*self })
        .map_err(|failure| error::load(failure, self.device))
    }

    /// Runs `forward`.
    ///
    /// # Safety
    /// The pointers and lengths of each input describe memory that stays valid
    /// until this returns.
    pub(super) unsafe fn forward(&self, inputs: &[ffi::RawInput]) -> Result<Outputs, BackendError> {
        let made = ffi::made(|outputs, error| {
            // SAFETY: `self.raw` is alive; the caller guarantees the inputs.
            unsafe {
                ffi::cresset_module_forward(self.raw.as_ptr(), inputs.as_ptr(), inputs.len(), outputs, error)
            }
        });
        self.clean_cache();
        // SAFETY: just made, and owned by this call.
        made.map(|outputs| unsafe { Outputs::from_raw(outputs) })
            .map_err(|failure| error::execute(failure, self.device))
    }

    /// To be called after a run's outputs are there.
    pub(super) fn clean_cache(&self) {
        if self.cache_cleaning {
            memory::empty_caches();
        }
    }

    /// Starts `forward`, with copies in and out, on a lane.
    ///
    /// # Safety
    /// `lane` is alive and no other thread uses it. The pointers and lengths of
    /// each input describe memory that stays unchanged until the flight has
    /// landed or is freed.
    pub(super) unsafe fn launch(
        &self,
        lane: NonNull<ffi::RawLane>,
        inputs: &[ffi::RawInput],
    ) -> Result<NonNull<ffi::RawFlight>, BackendError> {
        let (module, lane) = (self.raw.as_ptr(), lane.as_ptr());
        let made = ffi::made(|flight, error| {
            // SAFETY: `module` is alive; the caller guarantees the rest.
            unsafe { ffi::cresset_module_launch(module, lane, inputs.as_ptr(), inputs.len(), flight, error) }
        });
        made.map_err(|failure| error::execute(failure, self.device))
    }

    fn signature(&self) -> Signature {
        // SAFETY: `self.raw` is alive.
        let count = unsafe { ffi::cresset_module_arguments(self.raw.as_ptr()) };
        let arguments = (0..count).map(|index| self.argument(index)).collect();
        // SAFETY: null or a text that lives as long as the module.
        let stateful = unsafe { ffi::text(ffi::cresset_module_stateful(self.raw.as_ptr())) };
        Signature { arguments, stateful, notes: self.notes(), ..Signature::default() }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // SAFETY: null, or a text that lives as long as the module.
        while let Some(note) = unsafe { ffi::text(ffi::cresset_module_note(self.raw.as_ptr(), notes.len())) }
        {
            notes.push(note);
        }
        notes
    }

    fn argument(&self, index: usize) -> Argument {
        // SAFETY: `signature` only asks for indices below the count.
        let raw = unsafe { ffi::cresset_module_argument(self.raw.as_ptr(), index) };
        // SAFETY: both texts live as long as the module.
        let (name, kind) = unsafe { (ffi::text(raw.name), ffi::text(raw.kind)) };
        let kind = kind.unwrap_or_default();
        let kind = serde_json::from_str(&kind).unwrap_or(ArgumentKind::Other(kind));
        Argument { name: name.unwrap_or_default(), kind, optional: raw.optional != 0 }.peeled()
    }

    fn not_frozen(&self) -> Option<String> {
        // SAFETY: null or a text that lives as long as the module.
        unsafe { ffi::text(ffi::cresset_module_not_frozen(self.raw.as_ptr())) }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { ffi::cresset_module_free(self.raw.as_ptr()) };
    }
}

/// A loaded model on one device.
pub(super) struct LibtorchModel {
    module: Arc<Module>,
    signature: Signature,
    options: Options,
    drive: Drive,
    /// Shared with the same model rewritten.
    tf32: Option<Arc<tf32::Claim>>,
}

impl LibtorchModel {
    pub(super) fn load(request: &LoadRequest<'_>, tf32: &tf32::Switch) -> Result<Self, BackendError> {
        let LoadOptions { precision, optimize, .. } = request.options;
        let options = Options::new(request.parameters, *optimize)?;
        let tf32 = precision.tf32.map(|allowed| tf32.claim(allowed)).transpose()?.map(Arc::new);
        if let Some(enabled) = options.tensor_fuser {
            // SAFETY: a plain switch of libtorch.
            unsafe { ffi::cresset_set_tensor_fuser(enabled.into()) };
        }
        if let Some(enabled) = options.cudnn {
            // SAFETY: a plain switch of libtorch.
            unsafe { ffi::cresset_set_cudnn(enabled.into()) };
        }
        if let Some(count) = options.inter_op_threads {
            set_inter_op_threads(count);
        }
        let module = Module::load(request, &options)?;
        if let Some(reason) = module.not_frozen() {
            let path = request.path.display();
            match optimize.freeze {
                Some(true) => {
                    tracing::warn!(%path, reason, "model can't be frozen, though its settings ask for it")
                }
                Some(false) | None => tracing::debug!(%path, reason, "model is not frozen"),
            }
        }
        // A file that places itself makes its own copies.
        let overlaps = request.device.is_accelerator() || (request.device.is_host() && request.overlapped);
        let drive = if overlaps { Drive::Overlapped } else { Drive::Inline };
        Ok(Self { signature: module.signature(), module: Arc::new(module), options, drive, tf32 })
    }
}

/// The number is global to the process, and fixed once it was set or used.
fn set_inter_op_threads(count: usize) {
    // SAFETY: no precondition.
    let in_effect = unsafe { ffi::cresset_set_inter_op_threads(i32::try_from(count).unwrap_or(i32::MAX)) };
    if usize::try_from(in_effect) != Ok(count) {
        tracing::warn!(
            count,
            in_effect,
            "INTER_OP_THREAD_COUNT: libtorch has one number for the process, which a model before this one set"
        );
    }
}

impl Model for LibtorchModel {
    fn format(&self) -> &'static ModelFormat {
        &TORCH_SCRIPT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn facts(&self) -> Vec<Fact> {
        let text = match self.module.not_frozen() {
            None => "its attributes become constants when it is loaded".to_owned(),
            Some(why) => format!("its attributes stay variables: {}", why.lines().next().unwrap_or_default()),
        };
        vec![Fact { label: "frozen", text }]
    }

    fn instance(&self, intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        // The count belongs to the thread: `omp_set_num_threads` on another one
        // has no effect here.
        threads::set(self.options.intra_op_threads.unwrap_or(intra_op_threads));
        let module = match self.signature.stateful {
            Some(_) => Arc::new(self.module.copy()?),
            None => Arc::clone(&self.module),
        };
        Ok(Box::new(LibtorchInstance::new(module, self.drive)?))
    }

    fn intra_op_threads(&self) -> Option<usize> {
        self.options.intra_op_threads
    }

    fn rewrite(&self) -> Result<Arc<dyn Model>, BackendError> {
        let module = Arc::new(self.module.rewrite()?);
        let (signature, options, drive) = (self.signature.clone(), self.options, self.drive);
        Ok(Arc::new(Self { module, signature, options, drive, tf32: self.tf32.clone() }))
    }
}
