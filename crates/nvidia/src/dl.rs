//! Libraries that are opened at run time, if a machine has them.

use std::ffi::{CStr, c_char, c_int, c_void};

/// An open library. Never closed: its registrations and threads stay.
#[derive(Debug, Clone, Copy)]
pub struct Library(*mut c_void);

impl Library {
    /// Opens a library by name, in the loader's search path, or by path.
    ///
    /// # Errors
    /// The loader's message: which file is missing, or doesn't fit.
    pub fn open(name: &CStr, flags: c_int) -> Result<Self, String> {
        // SAFETY: a terminated name; the library's initialisers are trusted.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        if handle.is_null() { Err(why()) } else { Ok(Self(handle)) }
    }

    /// The address of a function; `None` if the library has none of this name.
    #[must_use]
    pub fn symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: `self.0` came from dlopen and is never closed.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}

fn why() -> String {
    // SAFETY: null or a text that stays until this thread's next dl call.
    unsafe { text(libc::dlerror()) }.unwrap_or_else(|| "no reason given".to_owned())
}

/// A copy of a C text; `None` for null.
///
/// # Safety
/// `text` is null or points to a terminated text that stays for this call.
pub(crate) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: guaranteed by the caller of this function.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
