//! What is asked of a device itself.

use super::ffi::{self, Failure};
use crate::backend::Device;

/// The number that the shim knows it by.
pub(super) fn number(device: Device) -> i32 {
    match device {
        Device::Cpu => -1,
        Device::Cuda(index) => i32::try_from(index).unwrap_or(i32::MAX),
    }
}

/// Waits for all that the device was given; what it says where it can't be
/// used any more.
pub(super) fn probe(index: u32) -> Result<(), String> {
    let device = number(Device::Cuda(index));
    // SAFETY: no precondition.
    ffi::done(|error| unsafe { ffi::cresset_device_synchronize(device, error) }).map_err(|failure| {
        match failure {
            Failure::Said(text) => text,
            Failure::OutOfMemory => "out of memory".to_owned(),
        }
    })
}

/// Gives the memory that libtorch keeps for further tensors back to the
/// device; nothing on the processors.
pub(super) fn empty_cache(device: Device) {
    if device == Device::Cpu {
        return;
    }
    let number = number(device);
    // SAFETY: no precondition.
    if let Err(failure) = ffi::done(|error| unsafe { ffi::cresset_device_empty_cache(number, error) }) {
        tracing::debug!(%device, ?failure, "the allocator's cache can't be emptied");
    }
}
