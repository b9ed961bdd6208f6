//! CUDA, opened at run time.
//!
//! The binary links libtorch's CPU libraries alone. Where a driver is there,
//! opening `libtorch_cuda.so` registers CUDA with libtorch; without one it
//! would cost 237 MB of memory for nothing, so the driver is looked for first.

use std::ffi::CStr;

use crate::backend::Accelerators;

const DRIVER: &CStr = c"libcuda.so.1";
/// Found beside `libtorch_cpu.so` through the binary's search path.
const LIBRARY: &CStr = c"libtorch_cuda.so";

/// Looks for a driver and opens CUDA where there is one.
pub(super) fn open() -> Accelerators {
    if let Err(reason) = load(DRIVER, libc::RTLD_LAZY | libc::RTLD_LOCAL) {
        tracing::debug!(reason, "no NVIDIA driver");
        return Accelerators::None("no NVIDIA driver is here (libcuda.so.1 was not found)".to_owned());
    }
    // Lazily, because images carry stubs for libraries that inference never
    // calls; globally, because the library registers itself with libtorch's.
    if let Err(reason) = load(LIBRARY, libc::RTLD_LAZY | libc::RTLD_GLOBAL) {
        return Accelerators::None(format!(
            "there is an NVIDIA driver, but CUDA's part of libtorch can't be opened: {reason}"
        ));
    }
    match u32::try_from(tch::Cuda::device_count()) {
        Ok(count) if count > 0 => Accelerators::Cuda(count),
        _ => Accelerators::None("there is an NVIDIA driver, but it shows no GPU to this process".to_owned()),
    }
}

/// Opens a library for the rest of the process's life.
fn load(name: &CStr, flags: libc::c_int) -> Result<(), String> {
    // SAFETY: the name ends with a zero. Opening runs the library's own
    // initialisers: these two are NVIDIA's driver and libtorch.
    if !unsafe { libc::dlopen(name.as_ptr(), flags) }.is_null() {
        return Ok(());
    }
    // SAFETY: after a failed dlopen the message is a text of the linker's,
    // valid until its next call on this thread.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return Err("no reason given".to_owned());
    }
    // SAFETY: as above.
    Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
}
