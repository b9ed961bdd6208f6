//! The driver's library: which GPUs a process can use.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::{ComputeCapability, uuid_text};
use crate::dl::{self, Library};

const LIBRARY: &CStr = c"libcuda.so.1";

/// A driver that answers.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    library: Library,
    count: u32,
}

/// A GPU that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverGpu {
    /// Its number in this process, as in `cuda:N` and in `instance_group`'s
    /// `gpus`.
    pub index: u32,
    /// Its product name; empty if the driver doesn't report it.
    pub name: String,
    /// `GPU-…`, the same in every tool.
    pub uuid: Option<String>,
    /// In bytes.
    pub memory_total: Option<u64>,
    /// Its generation.
    pub compute_capability: Option<ComputeCapability>,
}

/// Why there is no driver, or no GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverProblem {
    /// Its library is missing, or not in the loader's search path.
    #[error("no NVIDIA driver (libcuda.so.1 was not found)")]
    NotFound,
    /// The library exists, but the loader refuses it.
    #[error("the NVIDIA driver's libcuda.so.1 can't be opened: {0}")]
    NotOpened(String),
    /// The library is not a driver's.
    #[error("the NVIDIA driver has no {0}")]
    NoFunction(&'static str),
    /// The driver doesn't start.
    #[error("the NVIDIA driver failed in {call}: {error}")]
    Failed {
        /// The function that failed.
        call: &'static str,
        /// `CUDA_ERROR_NO_DEVICE`, or a number.
        error: String,
    },
    /// It runs, but shows no device to this process.
    #[error("the NVIDIA driver sees no device")]
    NoDevice,
}

impl Driver {
    /// Opens the library and starts it. A library without a device is common:
    /// images carry stubs, and a container may see no GPU.
    ///
    /// # Errors
    /// Why no GPU can be used.
    pub fn open() -> Result<Self, DriverProblem> {
        let library = Library::open(LIBRARY, libc::RTLD_LAZY | libc::RTLD_LOCAL).map_err(not_opened)?;
        let init = library.symbol(c"cuInit").ok_or(DriverProblem::NoFunction("cuInit"))?;
        let count =
            library.symbol(c"cuDeviceGetCount").ok_or(DriverProblem::NoFunction("cuDeviceGetCount"))?;
        // SAFETY: the driver API's `CUresult cuInit(unsigned int Flags)`.
        let init: extern "C" fn(c_uint) -> c_int = unsafe { std::mem::transmute(init) };
        // SAFETY: the driver API's `CUresult cuDeviceGetCount(int *count)`.
        let count: extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(count) };
        let failed = |call, code: c_int| DriverProblem::Failed {
            call,
            error: error_name(library, code).unwrap_or_else(|| format!("error {code}")),
        };
        match init(0) {
            0 => {}
            code => return Err(failed("cuInit", code)),
        }
        let mut devices = 0;
        match count(&raw mut devices) {
            0 => {}
            code => return Err(failed("cuDeviceGetCount", code)),
        }
        match u32::try_from(devices) {
            Ok(0) | Err(_) => Err(DriverProblem::NoDevice),
            Ok(count) => Ok(Self { library, count }),
        }
    }

    /// The newest CUDA version that it supports, as major and minor number.
    #[must_use]
    pub fn cuda_version(&self) -> Option<(i32, i32)> {
        let ask = self.library.symbol(c"cuDriverGetVersion")?;
        // SAFETY: the driver API's `CUresult cuDriverGetVersion(int *version)`.
        let ask: extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(ask) };
        let mut version = 0;
        (ask(&raw mut version) == 0).then_some((version / 1000, version % 1000 / 10))
    }

    /// The GPUs that this process may use, by number.
    #[must_use]
    pub fn gpus(&self) -> Vec<DriverGpu> {
        (0..self.count).map(|index| self.gpu(index)).collect()
    }

    /// A missing fact stays `None`: a driver that lacks a function can still
    /// report the rest.
    fn gpu(&self, index: u32) -> DriverGpu {
        let device = self.device(index);
        DriverGpu {
            index,
            name: device.and_then(|device| self.name(device)).unwrap_or_default(),
            uuid: device.and_then(|device| self.uuid(device)),
            memory_total: device.and_then(|device| self.memory_total(device)),
            compute_capability: device.and_then(|device| self.compute_capability(device)),
        }
    }

    fn device(&self, index: u32) -> Option<c_int> {
        let get = self.library.symbol(c"cuDeviceGet")?;
        // SAFETY: the driver API's `CUresult cuDeviceGet(CUdevice *device, int ordinal)`.
        let get: extern "C" fn(*mut c_int, c_int) -> c_int = unsafe { std::mem::transmute(get) };
        let mut device = 0;
        (get(&raw mut device, c_int::try_from(index).ok()?) == 0).then_some(device)
    }

    fn name(&self, device: c_int) -> Option<String> {
        let ask = self.library.symbol(c"cuDeviceGetName")?;
        // SAFETY: the driver API's `CUresult cuDeviceGetName(char *name, int len, CUdevice dev)`.
        let ask: extern "C" fn(*mut c_char, c_int, c_int) -> c_int = unsafe { std::mem::transmute(ask) };
        let mut name = [0_u8; 256];
        if ask(name.as_mut_ptr().cast(), 256, device) != 0 {
            return None;
        }
        CStr::from_bytes_until_nul(&name).ok().map(|name| name.to_string_lossy().into_owned())
    }

    fn uuid(&self, device: c_int) -> Option<String> {
        let ask =
            self.library.symbol(c"cuDeviceGetUuid_v2").or_else(|| self.library.symbol(c"cuDeviceGetUuid"))?;
        // SAFETY: the driver API's `CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)`, with a
        // CUuuid of sixteen bytes.
        let ask: extern "C" fn(*mut [u8; 16], c_int) -> c_int = unsafe { std::mem::transmute(ask) };
        let mut bytes = [0; 16];
        (ask(&raw mut bytes, device) == 0).then(|| uuid_text(bytes))
    }

    fn compute_capability(&self, device: c_int) -> Option<ComputeCapability> {
        // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
        const MAJOR: c_int = 75;
        const MINOR: c_int = 76;
        let ask = self.library.symbol(c"cuDeviceGetAttribute")?;
        // SAFETY: the driver API's
        // `CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)`.
        let ask: extern "C" fn(*mut c_int, c_int, c_int) -> c_int = unsafe { std::mem::transmute(ask) };
        let attribute = |which| {
            let mut value = 0;
            let told = ask(&raw mut value, which, device) == 0;
            if told { u32::try_from(value).ok() } else { None }
        };
        Some(ComputeCapability { major: attribute(MAJOR)?, minor: attribute(MINOR)? })
    }

    fn memory_total(&self, device: c_int) -> Option<u64> {
        let ask = self.library.symbol(c"cuDeviceTotalMem_v2")?;
        // SAFETY: the driver API's `CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)`.
        let ask: extern "C" fn(*mut usize, c_int) -> c_int = unsafe { std::mem::transmute(ask) };
        let mut bytes = 0;
        if ask(&raw mut bytes, device) != 0 {
            return None;
        }
        u64::try_from(bytes).ok()
    }
}

/// The loader's message is the same on every Linux.
fn not_opened(why: String) -> DriverProblem {
    let name = LIBRARY.to_string_lossy();
    let missing = why.starts_with(&*name) && why.contains("No such file");
    if missing { DriverProblem::NotFound } else { DriverProblem::NotOpened(why) }
}

/// `CUDA_ERROR_NO_DEVICE`.
fn error_name(library: Library, code: c_int) -> Option<String> {
    let name: *mut c_void = library.symbol(c"cuGetErrorName")?;
    // SAFETY: `CUresult cuGetErrorName(CUresult error, const char **pStr)`.
    let name: extern "C" fn(c_int, *mut *const c_char) -> c_int = unsafe { std::mem::transmute(name) };
    let mut text = std::ptr::null();
    if name(code, &raw mut text) != 0 {
        return None;
    }
    // SAFETY: null or a text that the driver never frees.
    unsafe { dl::text(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_told_from_one_that_cannot_be_opened() {
        let missing = "libcuda.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(not_opened(missing.to_owned()), DriverProblem::NotFound);
        for broken in [
            "libnvidia-ptxjitcompiler.so.1: cannot open shared object file: No such file or directory",
            "/usr/lib/libcuda.so.1: file too short",
        ] {
            assert_eq!(not_opened(broken.to_owned()), DriverProblem::NotOpened(broken.to_owned()));
        }
    }
}
