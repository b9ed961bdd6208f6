//! Queries of a device.

use super::ffi::{self, Failure};
use cresset_backend::Device;

/// The device's number in the shim.
pub(super) fn number(device: Device) -> i32 {
    match device {
        Device::Cpu => -1,
        Device::AsSaved => -2,
        Device::Cuda(index) => i32::try_from(index).unwrap_or(i32::MAX),
    }
}

/// Waits for all work of the device; fails with its error if it can't be used
/// any more. For a model that places itself, all devices are waited for.
pub(super) fn probe(device: Device) -> Result<(), String> {
    let number = number(device);
    // SAFETY: no precondition.
    let answer = ffi::done(|error| unsafe { ffi::cresset_device_synchronize(number, error) });
    answer.map_err(|failure| match failure {
        Failure::Said(text) => text,
        Failure::OutOfMemory => "out of memory".to_owned(),
    })
}
