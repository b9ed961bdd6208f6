//! Devices as the shim takes them, and queries of a device.

use std::ffi::{CString, c_char};

use super::ffi::{self, Failure};
use cresset_backend::{AcceleratorKind, Device};

/// torch's name of a device, as the shim takes it.
pub(super) struct DeviceName(Option<CString>);

impl DeviceName {
    pub(super) fn of(device: Device) -> Self {
        match device {
            Device::AsSaved => Self(None),
            Device::Cpu | Device::Accelerator(..) => Self::written(device.to_string()),
        }
    }

    /// The name of all devices of a kind.
    pub(super) fn of_kind(kind: AcceleratorKind) -> Self {
        Self::written(kind.to_string())
    }

    fn written(name: String) -> Self {
        // No name has a zero byte. The shim would refuse an empty one.
        Self(Some(CString::new(name).unwrap_or_default()))
    }

    /// Terminated, as long as this lives; null for the devices of the file.
    pub(super) fn as_ptr(&self) -> *const c_char {
        self.0.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())
    }
}

/// How many devices of a kind libtorch can use. Only to be asked once the kind's
/// library is open, because libtorch remembers that it wasn't.
pub(super) fn count(kind: AcceleratorKind) -> u32 {
    let name = DeviceName::of_kind(kind);
    // SAFETY: a terminated text that outlives the call.
    u32::try_from(unsafe { ffi::cresset_device_count(name.as_ptr()) }).unwrap_or(0)
}

/// Waits for all work of the device; fails with its error if it can't be used
/// any more. For a model that places itself, all devices are waited for.
pub(super) fn probe(device: Device) -> Result<(), String> {
    let name = DeviceName::of(device);
    // SAFETY: null, or a terminated text that outlives the call.
    let answer = ffi::done(|error| unsafe { ffi::cresset_device_synchronize(name.as_ptr(), error) });
    answer.map_err(|failure| match failure {
        Failure::Said(text) => text,
        Failure::OutOfMemory => "out of memory".to_owned(),
    })
}
