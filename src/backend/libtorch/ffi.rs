//! The shim's functions as C has them, and owners for what they hand out.
//! See `shim.h` for what each does.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

#[repr(C)]
pub(super) struct RawModule {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(super) struct RawOutputs {
    _opaque: [u8; 0],
}

/// `cresset_input`.
#[repr(C)]
pub(super) struct RawInput {
    pub(super) name: *const c_char,
    pub(super) data: *mut c_void,
    pub(super) shape: *const i64,
    pub(super) rank: usize,
    pub(super) scalar_type: i32,
}

/// `cresset_run`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct RawRun {
    pub(super) device_type: i32,
    pub(super) device_index: i32,
    pub(super) inference_mode: i32,
    pub(super) dictionary: i32,
    pub(super) keep_apart: i32,
}

unsafe extern "C" {
    fn cresset_text_free(text: *mut c_char);
    pub(super) fn cresset_module_load(
        path: *const c_char,
        device_type: i32,
        device_index: i32,
        freeze: i32,
        out: *mut *mut RawModule,
    ) -> *mut c_char;
    pub(super) fn cresset_module_free(module: *mut RawModule);
    pub(super) fn cresset_module_arguments(module: *const RawModule, out: *mut *mut c_char) -> *mut c_char;
    pub(super) fn cresset_module_stateful(module: *const RawModule) -> *const c_char;
    pub(super) fn cresset_module_forward(
        module: *mut RawModule,
        run: *const RawRun,
        inputs: *const RawInput,
        count: usize,
        out: *mut *mut RawOutputs,
    ) -> *mut c_char;
    fn cresset_outputs_count(outputs: *const RawOutputs) -> usize;
    fn cresset_outputs_name(outputs: *const RawOutputs, index: usize) -> *const c_char;
    fn cresset_outputs_take(outputs: *mut RawOutputs, index: usize) -> *mut c_void;
    fn cresset_outputs_free(outputs: *mut RawOutputs);
}

/// Takes over a text that the shim made; `None` for null.
///
/// # Safety
/// `text` is null or came from a function of the shim that hands it over.
pub(super) unsafe fn take_text(text: *mut c_char) -> Option<String> {
    let text = NonNull::new(text)?;
    // SAFETY: the shim's texts end with a zero and are ours to free.
    unsafe {
        let copy = CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned();
        cresset_text_free(text.as_ptr());
        Some(copy)
    }
}

/// What a forward gave; freed with all that isn't taken out.
pub(super) struct Outputs(NonNull<RawOutputs>);

impl Outputs {
    /// # Safety
    /// `raw` was handed over by `cresset_module_forward`.
    pub(super) unsafe fn new(raw: NonNull<RawOutputs>) -> Self {
        Self(raw)
    }

    /// Each output with its key path.
    pub(super) fn take_all(&mut self) -> Vec<(Option<String>, tch::Tensor)> {
        // SAFETY: the pointer is valid for as long as this value.
        let count = unsafe { cresset_outputs_count(self.0.as_ptr()) };
        (0..count)
            .filter_map(|index| {
                // SAFETY: `index` is below the count; a name lives as long as
                // the outputs and is copied; the tensor is taken once and tch
                // owns it from here.
                unsafe {
                    let name = NonNull::new(cresset_outputs_name(self.0.as_ptr(), index).cast_mut());
                    let name = name.map(|name| CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned());
                    let tensor = NonNull::new(cresset_outputs_take(self.0.as_ptr(), index))?;
                    Some((name, tch::Tensor::from_ptr(tensor.as_ptr().cast())))
                }
            })
            .collect()
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        // SAFETY: owned by this value alone.
        unsafe { cresset_outputs_free(self.0.as_ptr()) }
    }
}
