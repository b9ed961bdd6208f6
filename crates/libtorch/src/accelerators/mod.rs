//! The kinds of devices beside the processors: the table of libtorch's parts for
//! them, and the search when the server starts.
//!
//! Each kind has a file in this folder. The rest of the crate and the shim take a
//! device by torch's name for it, and know no kind.

mod cuda;
mod library;

use cresset_backend::{AcceleratorKind, Accelerators, ComputeCapability, Device};
use library::AcceleratorLibrary;

/// The table.
fn library_of(kind: AcceleratorKind) -> &'static AcceleratorLibrary {
    match kind {
        AcceleratorKind::Cuda => &cuda::LIBRARY,
    }
}

/// libtorch's part for each kind, whether it is open or not.
pub(super) fn libraries() -> impl Iterator<Item = &'static AcceleratorLibrary> {
    AcceleratorKind::ALL.iter().map(|kind| library_of(*kind))
}

/// Opens the first kind of which there are devices. No other is opened then,
/// because libtorch works with one kind in a process.
pub(super) fn open() -> Accelerators {
    let mut reasons = Vec::new();
    for kind in AcceleratorKind::ALL {
        match (library_of(*kind).open)() {
            Ok(count) => return Accelerators::Found { kind: *kind, count },
            Err(reason) => reasons.push(reason),
        }
    }
    Accelerators::None(reasons.join("; "))
}

/// The files of the parts that aren't open. A library that was built for such a
/// kind needs them by name.
pub(super) fn missing_files(accelerators: &Accelerators) -> impl Iterator<Item = &'static str> {
    let open = match accelerators {
        Accelerators::Found { kind, .. } => Some(*kind),
        Accelerators::None(_) => None,
    };
    let others = AcceleratorKind::ALL.iter().filter(move |kind| Some(**kind) != open);
    others.flat_map(|kind| library_of(*kind).files.iter().copied())
}

/// The generation of an NVIDIA GPU.
pub(super) fn compute_capability(device: Device) -> Option<ComputeCapability> {
    let Device::Accelerator(kind, index) = device else { return None };
    (library_of(kind).compute_capability)(index)
}
