//! CUDA: how it is found and opened when the server starts, and its words.
//!
//! The binary links libtorch for processors only. If there is a driver, and
//! `libtorch_cuda.so` is next to `libtorch_cpu.so`, opening that library
//! registers CUDA with libtorch. From then on `cuda:0` is a device like any
//! other.
//!
//! It must be opened before libtorch first looks for CUDA, because libtorch
//! remembers the result. And it is opened only if there is a driver, because
//! opening alone costs a quarter of a gigabyte of memory.

use std::path::{Path, PathBuf};

use super::library::AcceleratorLibrary;
use crate::device;
use crate::torch_folder::{c_path, torch_folder};
use cresset_backend::{AcceleratorKind, ComputeCapability};
use cresset_nvidia::Driver;
use cresset_nvidia::dl::Library;

const TORCH_CUDA: &str = "libtorch_cuda.so";

/// libtorch's part for CUDA.
pub(super) const LIBRARY: AcceleratorLibrary = AcceleratorLibrary {
    open,
    compute_capability,
    files: &["libc10_cuda.so", TORCH_CUDA],
    out_of_memory: &[
        "CUDA out of memory",
        "CUDA error: out of memory",
        // cuBLAS's and cuDNN's.
        "_ALLOC_FAILED",
        "_ALLOCATION_FAILED",
    ],
    failure: &["CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "cuFFT error", "CUDA driver"],
    assert: &["device-side assert"],
    illegal_address: &["illegal memory access", "misaligned address"],
};

/// Looks for a driver, then for libtorch's CUDA library, then for devices.
fn open() -> Result<u32, String> {
    let driver = Driver::open().map_err(|problem| problem.to_string())?;
    open_torch_cuda()?;
    match (device::count(AcceleratorKind::Cuda), driver.cuda_version()) {
        (count @ 1.., _) => Ok(count),
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

fn compute_capability(gpu: u32) -> Option<ComputeCapability> {
    // Only loading asks, and models are few: the driver is asked again each time.
    let gpus = Driver::open().ok()?.gpus();
    gpus.into_iter().find(|known| known.index == gpu)?.compute_capability
}
