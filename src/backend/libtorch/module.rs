//! A TorchScript file, loaded onto a device.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::ffi::{self, RawModule};
use super::instance::LibtorchInstance;
use super::message::load_error;
use crate::backend::{
    Argument, ArgumentKind, BackendError, Device, LoadRequest, Model, ModelInstance, Signature,
};

/// A module that several threads run.
pub(super) struct SharedModule(NonNull<RawModule>);

// SAFETY: libtorch's modules may be run by several threads at once as long as
// `forward` doesn't write to its attributes; those that do have one instance
// (`Signature::stateful`). Nothing else changes a loaded module.
unsafe impl Send for SharedModule {}
// SAFETY: as above.
unsafe impl Sync for SharedModule {}

impl SharedModule {
    pub(super) fn as_ptr(&self) -> *mut RawModule {
        self.0.as_ptr()
    }
}

impl Drop for SharedModule {
    fn drop(&mut self) {
        // SAFETY: owned by this value alone; instances hold it by Arc.
        unsafe { ffi::cresset_module_free(self.0.as_ptr()) }
    }
}

/// Triton's switches, read from `parameters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switches {
    /// InferenceMode over no_grad: `INFERENCE_MODE`.
    pub(super) inference_mode: bool,
    /// The optimising graph executor: `DISABLE_OPTIMIZED_EXECUTION`.
    pub(super) optimized_execution: bool,
    /// `INTRA_OP_THREAD_COUNT`.
    pub(super) intra_op_threads: Option<usize>,
}

impl Switches {
    fn read(parameters: &BTreeMap<String, String>) -> Self {
        let flag =
            |key: &str| parameters.get(key).map(|value| value.eq_ignore_ascii_case("true") || value == "1");
        Self {
            inference_mode: flag("INFERENCE_MODE").unwrap_or(true),
            optimized_execution: !flag("DISABLE_OPTIMIZED_EXECUTION").unwrap_or(false),
            intra_op_threads: parameters
                .get("INTRA_OP_THREAD_COUNT")
                .and_then(|count| count.parse().ok())
                .filter(|count| *count > 0),
        }
    }
}

/// A loaded file.
pub(super) struct LibtorchModel {
    module: Arc<SharedModule>,
    signature: Signature,
    device: Device,
    switches: Switches,
}

impl LibtorchModel {
    pub(super) fn load(request: &LoadRequest<'_>) -> Result<Self, BackendError> {
        let switches = Switches::read(request.parameters);
        if let Err(error) = std::fs::File::open(request.path) {
            let message = format!("the model file can't be opened: {}", error.kind());
            return Err(BackendError::Load { message, detail: error.to_string() });
        }
        let path = CString::new(request.path.as_os_str().as_bytes())
            .map_err(|_| load_error("the model file's path holds a zero byte".to_owned()))?;
        let (device_type, device_index) = raw_device(request.device);
        // An idle OpenMP team of the loading thread would halve the speed of
        // the instances.
        tch::set_num_threads(1);
        let mut raw = ptr::null_mut();
        // SAFETY: `path` ends with a zero, `raw` takes the module, and the
        // message is ours.
        let error = unsafe {
            ffi::take_text(ffi::cresset_module_load(
                path.as_ptr(),
                device_type,
                device_index,
                i32::from(switches.optimized_execution),
                &raw mut raw,
            ))
        };
        if let Some(detail) = error {
            return Err(load_error(detail));
        }
        let module = NonNull::new(raw).map(SharedModule);
        let module = Arc::new(module.ok_or_else(|| load_error("the shim gave no module".to_owned()))?);
        let signature = Signature { arguments: arguments(&module)?, stateful: stateful(&module) };
        Ok(Self { module, signature, device: request.device, switches })
    }
}

impl Model for LibtorchModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn instance(&self, intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError> {
        let dictionary =
            matches!(self.signature.arguments.as_slice(), [Argument { kind: ArgumentKind::TensorDict, .. }]);
        let run = ffi::RawRun {
            device_type: raw_device(self.device).0,
            device_index: raw_device(self.device).1,
            inference_mode: i32::from(self.switches.inference_mode),
            dictionary: i32::from(dictionary),
            keep_apart: i32::from(self.signature.stateful.is_some()),
        };
        let threads = self.switches.intra_op_threads.unwrap_or(intra_op_threads);
        // Both are settings of the calling thread, which is the instance's.
        tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
        tch::jit::set_graph_executor_optimize(self.switches.optimized_execution);
        Ok(Box::new(LibtorchInstance::new(Arc::clone(&self.module), run)))
    }
}

/// c10's numbers for a device.
fn raw_device(device: Device) -> (i32, i32) {
    match device {
        Device::Cpu => (0, -1),
        Device::Cuda(index) => (1, i32::try_from(index).unwrap_or(i32::MAX)),
    }
}

fn arguments(module: &SharedModule) -> Result<Vec<Argument>, BackendError> {
    let mut lines = ptr::null_mut();
    // SAFETY: the module is valid, `lines` takes the text, both texts are ours.
    let (error, lines) = unsafe {
        let error = ffi::take_text(ffi::cresset_module_arguments(module.as_ptr(), &raw mut lines));
        (error, ffi::take_text(lines))
    };
    if let Some(detail) = error {
        return Err(load_error(detail));
    }
    Ok(lines.unwrap_or_default().lines().filter_map(argument).collect())
}

fn argument(line: &str) -> Option<Argument> {
    let mut fields = line.split('\t');
    let (name, kind, default) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = match kind {
        "Tensor" | "Optional[Tensor]" => ArgumentKind::Tensor,
        "Dict[str, Tensor]" => ArgumentKind::TensorDict,
        "List[str]" => ArgumentKind::Strings,
        other => ArgumentKind::Other(other.to_owned()),
    };
    Some(Argument { name: name.to_owned(), kind, has_default: default == "1" })
}

fn stateful(module: &SharedModule) -> Option<String> {
    // SAFETY: the module is valid; the name lives as long as it and is copied.
    let name = NonNull::new(unsafe { ffi::cresset_module_stateful(module.as_ptr()) }.cast_mut())?;
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy();
    Some(format!("forward writes to the attribute '{name}'"))
}
