//! Finds and opens CUDA when the server starts.
//!
//! The binary links libtorch for processors only. If there is a driver, and
//! `libtorch_cuda.so` is next to `libtorch_cpu.so`, opening that library
//! registers CUDA with libtorch. From then on `cuda:0` is a device like any
//! other.
//!
//! It must be opened before libtorch first looks for CUDA, because libtorch
//! remembers the result. And it is opened only if there is a driver, because
//! opening alone costs a quarter of a gigabyte of memory.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ffi;
use cresset_backend::Accelerators;
use cresset_nvidia::Driver;
use cresset_nvidia::dl::Library;

const TORCH_CUDA: &str = "libtorch_cuda.so";

/// Looks for a driver, then for devices, then for libtorch's CUDA library.
pub(super) fn open() -> Accelerators {
    match devices() {
        Ok(count) => Accelerators::Cuda(count),
        Err(reason) => Accelerators::None(reason),
    }
}

fn devices() -> Result<u32, String> {
    let driver = Driver::open().map_err(|problem| problem.to_string())?;
    open_torch_cuda()?;
    match (u32::try_from(tch::Cuda::device_count()), driver.cuda_version()) {
        (Ok(count @ 1..), _) => Ok(count),
        (_, Some((major, minor))) => Err(format!(
            "libtorch found no CUDA device that it can use (the NVIDIA driver speaks CUDA {major}.{minor}; \
             where libtorch was built for a newer one, the driver must be updated)"
        )),
        (_, None) => Err("libtorch found no CUDA device that it can use".to_owned()),
    }
}

fn open_torch_cuda() -> Result<(), String> {
    let beside = torch_folder().map(|folder| folder.join(TORCH_CUDA)).filter(|path| path.exists());
    let library = beside.unwrap_or_else(|| PathBuf::from(TORCH_CUDA));
    // Lazily, because images carry stubs for the libraries that aren't used.
    // Globally, because libraries that it opens later look for it. Never
    // closed, because it has registered itself with libtorch.
    match Library::open(&c_path(&library)?, libc::RTLD_LAZY | libc::RTLD_GLOBAL) {
        Ok(_) => Ok(()),
        Err(why) if library == Path::new(TORCH_CUDA) && why.starts_with(TORCH_CUDA) => Err(format!(
            "this libtorch is for processors only ({TORCH_CUDA} is not beside it): take the CUDA image, or \
             fetch libtorch by scripts/libtorch cuda"
        )),
        Err(why) => Err(format!("{TORCH_CUDA} can't be opened: {why}")),
    }
}

/// The folder that `libtorch_cpu.so` was loaded from.
pub(super) fn torch_folder() -> Option<PathBuf> {
    // SAFETY: null or a text that the loader keeps while the library is open.
    // The binary links it, so it is never closed.
    let file = unsafe {
        let file = ffi::cresset_torch_library();
        if file.is_null() {
            return None;
        }
        CStr::from_ptr(file)
    };
    Path::new(OsStr::from_bytes(file.to_bytes())).parent().map(Path::to_owned)
}

pub(super) fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}
