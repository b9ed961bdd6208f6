//! Memory of accelerators, which libtorch allocates in large pieces and keeps.

use std::ffi::CString;

use super::device::DeviceName;
use super::ffi::{self, Failure};
use cresset_backend::{AcceleratorKind, Accelerators, BackendError, Device, DeviceFault, DeviceMemory};

/// The variable from which libtorch reads its allocator's settings.
const SETTINGS: &str = "PYTORCH_ALLOC_CONF";

/// Its older name, which is read as well.
const OLD_SETTINGS: &str = "PYTORCH_CUDA_ALLOC_CONF";

/// Sets the variable that an accelerator's library reads while it is opened: the kind of
/// allocator can't be changed later on.
///
/// Only to be called while this thread is the only one.
#[allow(clippy::disallowed_methods)]
pub(super) fn offer_settings(settings: &str) {
    // SAFETY: no other thread reads or writes the environment now.
    unsafe {
        std::env::set_var(SETTINGS, settings);
        std::env::remove_var(OLD_SETTINGS);
    }
}

/// Makes the allocator use the settings.
///
/// # Errors
/// What is wrong with them, in libtorch's words.
pub(super) fn use_settings(settings: &str) -> Result<(), BackendError> {
    let refused = |why: String| BackendError::Device {
        fault: DeviceFault::Unavailable,
        message: format!(
            "--cuda-allocator-settings '{settings}': {}",
            why.lines().next().unwrap_or_default().trim_end_matches('.')
        ),
        detail: why,
    };
    let text = CString::new(settings).map_err(|error| refused(error.to_string()))?;
    // SAFETY: a terminated text that outlives the call.
    ffi::done(|error| unsafe { ffi::cresset_use_allocator_settings(text.as_ptr(), error) }).map_err(
        |failure| match failure {
            Failure::Said(why) => refused(why),
            Failure::OutOfMemory => refused("out of memory".to_owned()),
        },
    )
}

/// libtorch's memory on each device; zero before a device's first use.
pub(super) fn of_devices(accelerators: &Accelerators) -> Vec<DeviceMemory> {
    accelerators.devices().into_iter().filter_map(of_device).collect()
}

fn of_device(device: Device) -> Option<DeviceMemory> {
    let name = DeviceName::of(device);
    let (mut allocated, mut reserved) = (0, 0);
    // SAFETY: the name and both numbers outlive the call.
    ffi::done(|error| unsafe {
        ffi::cresset_device_memory(name.as_ptr(), &raw mut allocated, &raw mut reserved, error)
    })
    .ok()?;
    Some(DeviceMemory { device, allocated, reserved })
}

/// Returns unused memory to every accelerator. It waits for the devices' work,
/// and slows down the next allocation.
pub(super) fn empty_caches() {
    for kind in AcceleratorKind::ALL {
        let name = DeviceName::of_kind(*kind);
        // SAFETY: a terminated text that outlives the call.
        if let Err(failure) = ffi::done(|error| unsafe { ffi::cresset_empty_caches(name.as_ptr(), error) }) {
            tracing::warn!(?failure, "the memory that {} devices keep can't be given back", kind.title());
        }
    }
}
