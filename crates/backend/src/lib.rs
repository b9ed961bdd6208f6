//! The interface between serving and computing: what Cresset needs from a
//! library that runs models.
//!
//! A [`Backend`] loads a file once for each device into a [`Model`], which is
//! shared. A [`ModelInstance`] is made on the long-lived thread that runs it,
//! and never leaves it, because libtorch keeps memory and OpenMP teams for each
//! thread.
//!
//! The crate `cresset-libtorch` implements it; [`mock`] is a double whose time
//! and faults a test controls.

mod arguments;
mod buffer;
mod checksums;
mod device;
pub mod file_kind;
mod format;
mod host_batch;
mod load_options;
pub mod mock;
pub mod mock_device;
mod signature;
mod torchscript;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use cresset_protocol::Datatype;

pub use arguments::{Argument, ArgumentKind, Leaf, Scalar};
pub use buffer::{HostBlock, HostBuffer, HostMemory};
pub use cresset_nvidia::ComputeCapability;
pub use device::{AcceleratorKind, Accelerators, Device, DeviceFault};
pub use format::{
    Allows, FormatNames, ModelFiles, ModelFormat, ParameterError, Parameters, Switch, SwitchKind, SwitchValue,
};
pub use host_batch::{HostBatch, HostInput};
pub use load_options::{LoadOptions, Optimize, OutputType, Precision, ReducedType};
pub use signature::{DeclaredTensor, Dimension, Fact, Signature};
pub use torchscript::{EXPORT_TORCH_SCRIPT, TORCH_SCRIPT};

/// A library that runs models.
pub trait Backend: Send + Sync {
    /// Name and version, as shown at start: `libtorch 2.11.0`.
    fn description(&self) -> String;

    /// The accelerators that can be used now; empty on a machine without any.
    fn accelerators(&self) -> Accelerators;

    /// Reads a model file and prepares it for `device`.
    ///
    /// # Errors
    /// [`BackendError::Load`] with what is wrong with the file. It never panics
    /// and never aborts, whatever the file contains.
    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError>;

    /// Opens a library of operators for the models that are loaded afterwards.
    /// It stays open. A library that is open already isn't opened again.
    ///
    /// # Errors
    /// [`BackendError::Load`] with why it can't be opened.
    fn open_operators(&self, library: &Path) -> Result<(), BackendError> {
        let message = "this backend opens no libraries of operators".to_owned();
        Err(BackendError::Load { detail: format!("{}: {message}", library.display()), message })
    }

    /// Returns memory of unloaded models to the system; to be called after the
    /// last reference to one is dropped. Slow: never on the path of a request.
    fn release_memory(&self) {}

    /// The memory of each accelerator that models and their work take, for the
    /// metrics; empty if there is none.
    fn device_memory(&self) -> Vec<DeviceMemory> {
        Vec::new()
    }

    /// The generation of an NVIDIA GPU; `None` if that isn't known, or the device
    /// is none.
    fn compute_capability(&self, _device: Device) -> Option<ComputeCapability> {
        None
    }

    /// The vector instructions that the library's kernels use on this
    /// processor, as the library spells them: `AVX512`.
    fn vector_level(&self) -> Option<String> {
        None
    }
}

/// How the library keeps memory of accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemorySettings<'a> {
    /// For the allocator, in its own grammar; `None` or empty for its
    /// defaults.
    pub allocator: Option<&'a str>,
    /// What happens to the memory of an unloaded model.
    pub on_unload: OnUnload,
}

/// What happens to the memory of an unloaded model on an accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnUnload {
    /// It is returned to the device.
    #[default]
    Release,
    /// The library keeps it for the next model.
    Keep,
}

/// Memory of one accelerator, in bytes, as the library keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The device.
    pub device: Device,
    /// Bytes in tensors.
    pub allocated: u64,
    /// Bytes allocated from the device: in tensors, or kept for the next ones.
    pub reserved: u64,
}

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct LoadRequest<'a> {
    /// The model file.
    pub path: &'a Path,
    /// The device on which it computes.
    pub device: Device,
    /// `parameters` of the model's configuration: Triton's switches
    /// (`DISABLE_OPTIMIZED_EXECUTION`, `INFERENCE_MODE`, …).
    pub parameters: &'a Parameters,
    /// On processors too, copies in and out and stages that overlap, as on an
    /// accelerator: [`Drive::Overlapped`]. Accelerators are always driven so.
    pub overlapped: bool,
    /// Further options of how it is loaded.
    pub options: &'a LoadOptions,
}

/// A loaded model on one device, shared by its instances.
pub trait Model: Send + Sync {
    /// The format of its file, which says what may be done to it.
    fn format(&self) -> &'static ModelFormat;

    /// The file's declarations of its inputs, its outputs and its state.
    fn signature(&self) -> &Signature;

    /// Further facts about the file, for `cresset inspect`. Slow; not called
    /// while serving.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    /// Makes an instance that runs on the calling thread with this many
    /// intra-op threads. If the model keeps state, each instance has its own,
    /// initialised from the file.
    ///
    /// # Errors
    /// If the device or the library refuses.
    fn instance(&self, intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError>;

    /// The number of intra-op threads that its configuration fixes for its
    /// instances; `None` if it doesn't.
    fn intra_op_threads(&self) -> Option<usize> {
        None
    }

    /// The same model with its code rewritten for inference. It is usually
    /// faster, and its answers are usually the same but for rounding. Slow; the
    /// original doesn't change, and may run meanwhile. Only called if the
    /// format [allows](ModelFormat::allows) it.
    ///
    /// # Errors
    /// Why there is no such form.
    fn rewrite(&self) -> Result<Arc<dyn Model>, BackendError> {
        let message = "this backend rewrites nothing".to_owned();
        Err(BackendError::Load { detail: message.clone(), message })
    }
}

/// How an instance is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Collect, forward and respond follow each other on one thread: the
    /// processors compute, and a second thread would only take one from them.
    Inline,
    /// A device computes. Meanwhile the next batch is collected, and the
    /// previous one is answered.
    Overlapped,
}

/// A model on its own thread, with that thread's memory. Deliberately not
/// `Send`: it is made, used and dropped on one thread.
pub trait ModelInstance {
    /// How this instance is to be driven; constant.
    fn drive(&self) -> Drive {
        Drive::Inline
    }

    /// The memory into which a batch's input is best written: pinned memory if
    /// a device copies from it.
    fn host_memory(&self) -> Option<Arc<dyn HostMemory>> {
        None
    }

    /// Starts a batch and returns once the device has all of its work. The
    /// results come with [`Flight::land`], in the order of the launches. The
    /// flight owns the batch: no thread can write to memory that is still being
    /// copied from.
    ///
    /// # Errors
    /// Those of [`ModelInstance::forward`]. The device doesn't read the batch's
    /// memory any more, and the batch is dropped.
    fn launch(&mut self, batch: HostBatch) -> Result<Box<dyn Flight>, BackendError> {
        let outputs = self.forward(&batch.inputs())?;
        Ok(<dyn Flight>::landed(outputs, batch))
    }

    /// Returns memory that the library keeps for this device, before a batch
    /// that ran out of memory is tried again.
    fn release_memory(&mut self) {}

    /// Runs `forward` once.
    ///
    /// Each input's name is its place among the arguments. The outputs own
    /// their memory or keep it alive: they stay valid and unchanged when the
    /// input buffers are written again and when `forward` runs again.
    ///
    /// # Errors
    /// [`BackendError::Execute`] if the model failed on these inputs. Nothing
    /// leaks, and the instance stays usable.
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError>;
}

/// A batch that was launched. Dropping it waits for its end.
pub trait Flight: Send {
    /// Waits until the device has written the outputs, and returns the batch,
    /// whose memory may be written again.
    ///
    /// # Errors
    /// The device's failure; the batch is returned all the same.
    fn land(self: Box<Self>) -> (Result<Vec<BatchOutput>, BackendError>, HostBatch);
}

impl dyn Flight {
    /// A flight that has landed already.
    #[must_use]
    pub fn landed(outputs: Vec<BatchOutput>, batch: HostBatch) -> Box<Self> {
        Box::new(Landed { outputs, batch })
    }
}

/// A batch that was computed while it was launched.
struct Landed {
    outputs: Vec<BatchOutput>,
    batch: HostBatch,
}

impl Flight for Landed {
    fn land(self: Box<Self>) -> (Result<Vec<BatchOutput>, BackendError>, HostBatch) {
        (Ok(self.outputs), self.batch)
    }
}

/// One input of a batch, as contiguous little-endian bytes.
#[derive(Debug, Clone, Copy)]
pub struct BatchInput<'a> {
    /// Its place: the argument's name, followed by the path within the
    /// argument, each step after a dot, as `state.0`.
    pub name: &'a str,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape, the batch dimension included.
    pub shape: &'a [i64],
    /// `datatype.size() * product(shape)` bytes, aligned to 64. For strings, as
    /// many as the shape has elements, each preceded by its length (4 bytes).
    pub data: &'a [u8],
}

/// One output of a batch.
#[derive(Debug, Clone)]
pub struct BatchOutput {
    /// The name given by the model itself (a dictionary's key), if any.
    pub name: Option<String>,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape.
    pub shape: Vec<i64>,
    /// Contiguous, row-major, little-endian, strings each preceded by their
    /// length; shares the tensor's memory if it can.
    pub data: Bytes,
}

/// A failure of the backend.
///
/// `message` is for the client: short, without the server's paths. `detail` is
/// for the log: the library's whole text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The file can't be served.
    #[error("{message}")]
    Load {
        /// What is wrong with the file.
        message: String,
        /// The library's whole text.
        detail: String,
    },
    /// `forward` failed on these inputs.
    #[error("{message}")]
    Execute {
        /// The library's last line.
        message: String,
        /// The library's whole text.
        detail: String,
    },
    /// There was not enough memory, on the host or on the device.
    #[error("{message}")]
    OutOfMemory {
        /// How much was asked for, if that is known.
        message: String,
        /// The library's whole text.
        detail: String,
    },
    /// The device can't be used: it doesn't exist, or only a new process can
    /// recover it.
    #[error("{message}")]
    Device {
        /// What happened to it.
        fault: DeviceFault,
        /// Which device and why.
        message: String,
        /// The library's whole text.
        detail: String,
    },
    /// The process or device that ran the model is gone, and the request is
    /// lost with it. The device itself may be intact, and the same request may
    /// succeed later.
    #[error("{message}")]
    Gone {
        /// What is gone.
        message: String,
        /// The known cause.
        detail: String,
    },
}

impl BackendError {
    /// The library's whole text, for the log.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Load { detail, .. }
            | Self::Execute { detail, .. }
            | Self::OutOfMemory { detail, .. }
            | Self::Device { detail, .. }
            | Self::Gone { detail, .. } => detail,
        }
    }
}
