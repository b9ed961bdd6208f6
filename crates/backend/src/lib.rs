//! The seam between serving and computing: what Cresset asks of a library
//! that runs models.
//!
//! A [`Backend`] loads a file once for each device into a [`Model`], which is
//! shared; a [`ModelInstance`] is made on, and never leaves, the long-lived
//! thread that runs it, because libtorch keeps memory and OpenMP teams for
//! each thread.
//!
//! The crate `cresset-libtorch` implements it; [`mock`] is a double whose time
//! and faults are in the test's hand.

mod arguments;
mod buffer;
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
pub use device::{Device, DeviceFault};
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

    /// The accelerators that can be used now; empty on a machine without.
    fn accelerators(&self) -> Accelerators;

    /// Reads a model file and prepares it for `device`.
    ///
    /// # Errors
    /// [`BackendError::Load`] with what is wrong with the file; never a panic
    /// and never an abort, whatever the file holds.
    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError>;

    /// Opens a library of operators for the models that are loaded from now on;
    /// it stays open. One that is open isn't opened again.
    ///
    /// # Errors
    /// [`BackendError::Load`] with why it can't be opened.
    fn open_operators(&self, library: &Path) -> Result<(), BackendError> {
        let message = "this backend opens no libraries of operators".to_owned();
        Err(BackendError::Load { detail: format!("{}: {message}", library.display()), message })
    }

    /// Hands memory that unloaded models left behind back to the system; to be
    /// called when the last reference to one is gone. Slow: never on the path
    /// of a request.
    fn release_memory(&self) {}

    /// What models and their work take of each accelerator's memory, for the
    /// metrics; empty if there is none.
    fn device_memory(&self) -> Vec<DeviceMemory> {
        Vec::new()
    }

    /// What generation a GPU is of; `None` if that isn't known.
    fn compute_capability(&self, _gpu: u32) -> Option<ComputeCapability> {
        None
    }

    /// The vector instructions that the library's kernels use on this
    /// processor, as the library spells them: `AVX512`.
    fn vector_level(&self) -> Option<String> {
        None
    }
}

/// How the library that runs models keeps memory of accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemorySettings<'a> {
    /// For the allocator, in its own grammar; `None` or empty for its
    /// defaults.
    pub allocator: Option<&'a str>,
    /// What becomes of what an unloaded model leaves free.
    pub on_unload: OnUnload,
}

/// What becomes of an accelerator's memory that an unloaded model leaves free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OnUnload {
    /// The device gets it back.
    #[default]
    Release,
    /// The library keeps it for the next model.
    Keep,
}

/// Memory of one accelerator, in bytes, as the library keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Of which device.
    pub device: Device,
    /// In tensors.
    pub allocated: u64,
    /// Taken from the device: in tensors, or kept for the next ones.
    pub reserved: u64,
}

/// What a search for accelerators found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerators {
    /// This many CUDA devices, numbered from zero.
    Cuda(u32),
    /// None, and why not: `no NVIDIA driver (libcuda.so.1 was not found)`.
    None(String),
}

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct LoadRequest<'a> {
    /// The model file.
    pub path: &'a Path,
    /// Where it is to compute.
    pub device: Device,
    /// `parameters` of the model's configuration: Triton's switches
    /// (`DISABLE_OPTIMIZED_EXECUTION`, `INFERENCE_MODE`, …).
    pub parameters: &'a Parameters,
    /// On processors too, copies in and out and stages that overlap, as on an
    /// accelerator: [`Drive::Overlapped`]. Accelerators are always driven so.
    pub overlapped: bool,
    /// What it is to compute in and to become, beyond that.
    pub options: &'a LoadOptions,
}

/// A loaded model on one device, shared by its instances.
pub trait Model: Send + Sync {
    /// The format of its file, which says what may be done to it.
    fn format(&self) -> &'static ModelFormat;

    /// What the file says of its inputs, its outputs and its state.
    fn signature(&self) -> &Signature;

    /// What else the file tells, for `cresset inspect`. Slow, and never asked
    /// for while serving.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    /// Makes the instance that runs on the calling thread with this many
    /// intra-op threads. If the model keeps state each instance has its own,
    /// as the file has it.
    ///
    /// # Errors
    /// When the device or the library refuses.
    fn instance(&self, intra_op_threads: usize) -> Result<Box<dyn ModelInstance>, BackendError>;

    /// How many intra-op threads its instances have whatever they are asked
    /// for, because its configuration fixes that; `None` if it doesn't.
    fn intra_op_threads(&self) -> Option<usize> {
        None
    }

    /// The same model with its code rewritten for inference: faster, mostly,
    /// and its answers the same but for rounding, mostly. Slow; this one may
    /// run meanwhile, and isn't changed. Only asked for if the format
    /// [allows](ModelFormat::allows) it.
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
    /// Something else computes: the next batch is collected meanwhile, and the
    /// one before is answered.
    Overlapped,
}

/// A model on its own thread, with that thread's memory. Not `Send` on
/// purpose: it is made, used and dropped on one thread.
pub trait ModelInstance {
    /// How this instance is to be driven; the same for as long as it lives.
    fn drive(&self) -> Drive {
        Drive::Inline
    }

    /// The memory that a batch's input is best written to: pinned memory if a
    /// device copies from it.
    fn host_memory(&self) -> Option<Arc<dyn HostMemory>> {
        None
    }

    /// Starts a batch and returns once the device has all that it needs to
    /// know; what it computes comes with [`Flight::land`], in the order of the
    /// launches. The flight owns the batch: no thread can write to memory that is
    /// still being copied from.
    ///
    /// # Errors
    /// As of [`ModelInstance::forward`]; the device reads the batch's memory no
    /// more, and it is given up.
    fn launch(&mut self, batch: HostBatch) -> Result<Box<dyn Flight>, BackendError> {
        let outputs = self.forward(&batch.inputs())?;
        Ok(<dyn Flight>::landed(outputs, batch))
    }

    /// Gives memory that the library keeps for this device back to it, before
    /// a batch that had too little is tried again.
    fn release_memory(&mut self) {}

    /// Runs `forward` once.
    ///
    /// Each input's name is its place among the arguments. The outputs own their
    /// memory or keep it alive: they stay valid, and unchanged, when the input
    /// buffers are written again and when `forward` runs again.
    ///
    /// # Errors
    /// [`BackendError::Execute`] if the model failed on these inputs;
    /// nothing leaks and the instance goes on.
    fn forward(&mut self, inputs: &[BatchInput<'_>]) -> Result<Vec<BatchOutput>, BackendError>;
}

/// A batch that was launched. Dropping it waits for its end.
pub trait Flight: Send {
    /// Waits until the device has written the outputs, and gives the batch
    /// back, whose memory may be written again.
    ///
    /// # Errors
    /// What went wrong on the device; the batch comes back all the same.
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
    /// Its place: the argument's name, and behind a dot each the way to it
    /// within the argument, as `state.0`.
    pub name: &'a str,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape, the batch dimension included.
    pub shape: &'a [i64],
    /// `datatype.size() * product(shape)` bytes, aligned to 64; of strings as
    /// many as the shape holds, each behind its length (4 bytes).
    pub data: &'a [u8],
}

/// One output of a batch.
#[derive(Debug, Clone)]
pub struct BatchOutput {
    /// The name that the model itself gives (a dictionary's key), if any.
    pub name: Option<String>,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its whole shape.
    pub shape: Vec<i64>,
    /// Contiguous, row-major, little-endian, strings each behind its length;
    /// shares the tensor's memory if it can.
    pub data: Bytes,
}

/// A failure under the seam.
///
/// `message` is for the client: short, without the server's paths. `detail`
/// is for the log: all that the library said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The file can't be served.
    #[error("{message}")]
    Load {
        /// What is wrong with the file.
        message: String,
        /// All that the library said.
        detail: String,
    },
    /// `forward` failed on these inputs.
    #[error("{message}")]
    Execute {
        /// The library's last line.
        message: String,
        /// All that the library said.
        detail: String,
    },
    /// There was not enough memory, on the host or on the device.
    #[error("{message}")]
    OutOfMemory {
        /// How much was asked for, if that is known.
        message: String,
        /// All that the library said.
        detail: String,
    },
    /// The device can't be used: there is none, or it is in a state that only
    /// a new process can leave.
    #[error("{message}")]
    Device {
        /// What happened to it.
        fault: DeviceFault,
        /// Which device and why.
        message: String,
        /// All that the library said.
        detail: String,
    },
    /// What ran the model is gone, and the request with it: a process that
    /// ended, a device that was taken away. The device itself is no worse for
    /// it, and the same request may pass later.
    #[error("{message}")]
    Gone {
        /// What is gone.
        message: String,
        /// All that is known of why.
        detail: String,
    },
}

impl BackendError {
    /// All that the library said, for the log.
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
