//! What this crate asks about a kind of device.

use cresset_backend::ComputeCapability;

/// libtorch's part for one kind of device.
pub(crate) struct AcceleratorLibrary {
    /// Opens it and returns how many devices there are, at least one; else why
    /// there is none.
    pub(super) open: fn() -> Result<u32, String>,
    /// The generation of the device of this number, if it is NVIDIA's.
    pub(super) compute_capability: fn(u32) -> Option<ComputeCapability>,
    /// The files that libraries of operators need by name if they were built for
    /// this kind.
    pub(super) files: &'static [&'static str],
    /// Words that identify its texts for too little memory; any one of them
    /// suffices.
    pub(crate) out_of_memory: &'static [&'static str],
    /// Words of failures that may be the device's. They are not certain ("no
    /// kernel image is available"), and a model may raise any of them, so the
    /// device is asked.
    pub(crate) failure: &'static [&'static str],
    /// Words of an assertion in a kernel.
    pub(crate) assert: &'static [&'static str],
    /// Words of a kernel's access to memory that it may not access.
    pub(crate) illegal_address: &'static [&'static str],
}
