//! CUDA, found and opened when the server starts.
//!
//! The binary links libtorch for processors only. Where a driver is present
//! and `libtorch_cuda.so` lies beside `libtorch_cpu.so`, opening that library
//! registers CUDA with libtorch, and from then on `cuda:0` is a device like
//! any other. It must happen before libtorch first looks for CUDA, because it
//! remembers what it found; and only with a driver, because the library costs
//! a quarter of a gigabyte of memory merely by being opened.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ffi;
use crate::backend::Accelerators;

const DRIVER: &CStr = c"libcuda.so.1";
const TORCH_CUDA: &str = "libtorch_cuda.so";

/// Looks for a driver, then for devices, then for libtorch's own part.
pub(super) fn open() -> Accelerators {
    match devices() {
        Ok(count) => Accelerators::Cuda(count),
        Err(reason) => Accelerators::None(reason),
    }
}

fn devices() -> Result<u32, String> {
    let driver = dlopen(DRIVER, libc::RTLD_LAZY | libc::RTLD_LOCAL)
        .map_err(|_| format!("no NVIDIA driver ({} was not found)", DRIVER.to_string_lossy()))?;
    ask_driver(driver)?;
    open_torch_cuda()?;
    match u32::try_from(tch::Cuda::device_count()) {
        Ok(0) | Err(_) => Err("libtorch found no CUDA device that it can use".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// A driver's library without a device is common: images carry stubs, and a
/// container may see no GPU.
fn ask_driver(driver: *mut c_void) -> Result<(), String> {
    let init = symbol(driver, c"cuInit").ok_or("the NVIDIA driver has no cuInit")?;
    let count = symbol(driver, c"cuDeviceGetCount").ok_or("the NVIDIA driver has no cuDeviceGetCount")?;
    // SAFETY: the driver API's `CUresult cuInit(unsigned int Flags)`.
    let init: extern "C" fn(c_uint) -> c_int = unsafe { std::mem::transmute(init) };
    // SAFETY: the driver API's `CUresult cuDeviceGetCount(int *count)`.
    let count: extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(count) };
    let failed = |name: &str, code: c_int| match error_name(driver, code) {
        Some(error) => format!("the NVIDIA driver failed in {name}: {error}"),
        None => format!("the NVIDIA driver failed in {name}: error {code}"),
    };
    match init(0) {
        0 => {}
        code => return Err(failed("cuInit", code)),
    }
    let mut devices = 0;
    match count(&raw mut devices) {
        0 if devices > 0 => Ok(()),
        0 => Err("the NVIDIA driver sees no device".to_owned()),
        code => Err(failed("cuDeviceGetCount", code)),
    }
}

/// `CUDA_ERROR_NO_DEVICE`.
fn error_name(driver: *mut c_void, code: c_int) -> Option<String> {
    let name = symbol(driver, c"cuGetErrorName")?;
    // SAFETY: `CUresult cuGetErrorName(CUresult error, const char **pStr)`.
    let name: extern "C" fn(c_int, *mut *const c_char) -> c_int = unsafe { std::mem::transmute(name) };
    let mut text = std::ptr::null();
    if name(code, &raw mut text) != 0 {
        return None;
    }
    // SAFETY: null or a text that the driver keeps for ever.
    unsafe { ffi::text(text) }
}

fn open_torch_cuda() -> Result<(), String> {
    let beside = torch_folder().map(|folder| folder.join(TORCH_CUDA)).filter(|path| path.exists());
    let library = beside.unwrap_or_else(|| PathBuf::from(TORCH_CUDA));
    // Lazily, because images carry stubs for the libraries that aren't used;
    // globally, because the libraries that it opens later look for it. Never
    // closed: it registered itself with libtorch.
    match dlopen(&c_path(&library)?, libc::RTLD_LAZY | libc::RTLD_GLOBAL) {
        Ok(_) => Ok(()),
        Err(_) if library == Path::new(TORCH_CUDA) => {
            Err(format!("this libtorch is for processors only ({TORCH_CUDA} is not beside it)"))
        }
        Err(why) => Err(format!("{TORCH_CUDA} can't be opened: {why}")),
    }
}

/// The folder that `libtorch_cpu.so` was loaded from.
fn torch_folder() -> Option<PathBuf> {
    // SAFETY: null or a text that the loader keeps while the library is open,
    // which is for ever: the binary links it.
    let file = unsafe {
        let file = ffi::cresset_torch_library();
        if file.is_null() {
            return None;
        }
        CStr::from_ptr(file)
    };
    Path::new(OsStr::from_bytes(file.to_bytes())).parent().map(Path::to_owned)
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}

fn dlopen(name: &CStr, flags: c_int) -> Result<*mut c_void, String> {
    // SAFETY: a terminated name; the initialisers that run are the driver's
    // and libtorch's own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if handle.is_null() { Err(dl_error()) } else { Ok(handle) }
}

fn dl_error() -> String {
    // SAFETY: null or a text that stays until this thread's next dl call.
    unsafe { ffi::text(libc::dlerror()) }.unwrap_or_else(|| "no reason given".to_owned())
}

fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `library` came from dlopen and is never closed.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
