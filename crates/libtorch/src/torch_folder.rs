//! Where libtorch's libraries are.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ffi;

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

/// The path as the loader takes it.
pub(super) fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}
