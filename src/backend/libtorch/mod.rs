//! libtorch, through `tch` and the shim: the only room that names them.
//!
//! `tch` owns tensors and tells of devices; the shim ([`ffi`]) loads and runs
//! modules, because `tch` has no InferenceMode, no freezing, no schema, and
//! leaks a failing forward's inputs.

mod cuda;
mod ffi;
mod instance;
mod message;
mod module;

use std::sync::Arc;

use super::{Accelerators, Backend, BackendError, LoadRequest, Model};

/// libtorch's version, which `tch`'s binds.
const VERSION: &str = "2.11";

/// libtorch, with CUDA where a driver is there.
struct LibtorchBackend {
    accelerators: Accelerators,
}

/// Prepares libtorch: looks for a driver, and opens CUDA where there is one.
///
/// # Errors
/// None today; the signature leaves room for a library that can't be used.
pub fn backend() -> Result<Arc<dyn Backend>, BackendError> {
    Ok(Arc::new(LibtorchBackend { accelerators: cuda::open() }))
}

impl Backend for LibtorchBackend {
    fn description(&self) -> String {
        format!("libtorch {VERSION}")
    }

    fn accelerators(&self) -> Accelerators {
        self.accelerators.clone()
    }

    fn load(&self, request: &LoadRequest<'_>) -> Result<Arc<dyn Model>, BackendError> {
        Ok(Arc::new(module::LibtorchModel::load(request)?))
    }
}
