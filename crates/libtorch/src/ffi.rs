//! `shim.h` and `operators.h`, declared for Rust; change both together.

use std::ffi::{CStr, c_char, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::ptr::NonNull;

/// Success.
pub(super) const OK: i32 = 0;
/// Failure without memory for a text.
pub(super) const OUT_OF_MEMORY: i32 = 2;

/// `CRESSET_STRINGS_TYPE`: in place of a scalar type.
pub(super) const STRINGS: i32 = -1;

/// Opaque: made and freed by the shim.
#[repr(C)]
pub(super) struct RawModule {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Opaque: made and freed by the shim.
#[repr(C)]
pub(super) struct RawOutputs {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Opaque: made and freed by the shim.
#[repr(C)]
pub(super) struct RawLane {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Opaque: made and freed by the shim.
#[repr(C)]
pub(super) struct RawFlight {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

/// Opaque: made and freed by the shim.
#[repr(C)]
pub(super) struct RawPinned {
    opaque: [u8; 0],
    marker: PhantomData<(*mut u8, PhantomPinned)>,
}

#[repr(C)]
pub(super) struct RawOptions {
    pub(super) inference_mode: i32,
    pub(super) freeze: i32,
    pub(super) simple_executor: i32,
    pub(super) optimized_execution: i32,
    pub(super) for_inference: i32,
}

#[repr(C)]
pub(super) struct RawOutputType {
    pub(super) name: *const c_char,
    pub(super) name_length: usize,
    pub(super) index: usize,
    pub(super) scalar_type: i32,
}

#[repr(C)]
pub(super) struct RawPrecision {
    pub(super) weights: i32,
    pub(super) autocast: i32,
    pub(super) channels_last: i32,
    pub(super) outputs: *const RawOutputType,
    pub(super) output_count: usize,
}

#[repr(C)]
pub(super) struct RawArgument {
    pub(super) name: *const c_char,
    pub(super) kind: *const c_char,
    pub(super) optional: i32,
}

#[repr(C)]
pub(super) struct RawInput {
    pub(super) name: *const c_char,
    pub(super) name_length: usize,
    pub(super) scalar_type: i32,
    pub(super) sizes: *const i64,
    pub(super) rank: usize,
    pub(super) data: *const c_void,
    pub(super) bytes: usize,
}

#[repr(C)]
pub(super) struct RawOutput {
    pub(super) tensor: *mut c_void,
    pub(super) name: *const c_char,
    pub(super) scalar_type: i32,
    pub(super) sizes: *const i64,
    pub(super) rank: usize,
    pub(super) data: *const c_void,
    pub(super) bytes: usize,
}

unsafe extern "C" {
    fn cresset_text_free(text: *mut c_char);
    pub(super) fn cresset_torch_version() -> *const c_char;
    pub(super) fn cresset_torch_library() -> *const c_char;
    pub(super) fn cresset_open_library(path: *const c_char, flags: i32, error: *mut *mut c_char) -> i32;
    pub(super) fn cresset_has_operator(name: *const c_char) -> i32;
    pub(super) fn cresset_set_tensor_fuser(enabled: i32);
    pub(super) fn cresset_set_tf32(allowed: i32);
    pub(super) fn cresset_set_cudnn(enabled: i32);
    pub(super) fn cresset_set_inter_op_threads(count: i32) -> i32;
    pub(super) fn cresset_module_load(
        path: *const c_char,
        device: *const c_char,
        options: *const RawOptions,
        precision: *const RawPrecision,
        module: *mut *mut RawModule,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_module_copy(
        module: *const RawModule,
        copy: *mut *mut RawModule,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_module_for_inference(
        module: *const RawModule,
        made: *mut *mut RawModule,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_module_free(module: *mut RawModule);
    pub(super) fn cresset_module_arguments(module: *const RawModule) -> usize;
    pub(super) fn cresset_module_argument(module: *const RawModule, index: usize) -> RawArgument;
    pub(super) fn cresset_module_stateful(module: *const RawModule) -> *const c_char;
    pub(super) fn cresset_module_not_frozen(module: *const RawModule) -> *const c_char;
    pub(super) fn cresset_module_forward(
        module: *const RawModule,
        inputs: *const RawInput,
        count: usize,
        outputs: *mut *mut RawOutputs,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_lane_new(
        device: *const c_char,
        lane: *mut *mut RawLane,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_lane_free(lane: *mut RawLane);
    pub(super) fn cresset_module_launch(
        module: *const RawModule,
        lane: *mut RawLane,
        inputs: *const RawInput,
        count: usize,
        flight: *mut *mut RawFlight,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_flight_land(
        flight: *mut RawFlight,
        outputs: *mut *mut RawOutputs,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_flight_free(flight: *mut RawFlight);
    pub(super) fn cresset_pinned_new(
        device: *const c_char,
        bytes: usize,
        pinned: *mut *mut RawPinned,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_pinned_start(pinned: *mut RawPinned) -> *mut c_void;
    pub(super) fn cresset_pinned_free(pinned: *mut RawPinned);
    pub(super) fn cresset_device_count(kind: *const c_char) -> i32;
    pub(super) fn cresset_device_synchronize(device: *const c_char, error: *mut *mut c_char) -> i32;
    pub(super) fn cresset_outputs_items(outputs: *mut RawOutputs, count: *mut usize) -> *mut RawOutput;
    pub(super) fn cresset_outputs_free(outputs: *mut RawOutputs);
    pub(super) fn cresset_module_note(module: *const RawModule, index: usize) -> *const c_char;
    pub(super) fn cresset_cpu_capability() -> *const c_char;
    pub(super) fn cresset_device_memory(
        device: *const c_char,
        allocated: *mut u64,
        reserved: *mut u64,
        error: *mut *mut c_char,
    ) -> i32;
    pub(super) fn cresset_empty_caches(kind: *const c_char, error: *mut *mut c_char) -> i32;
    pub(super) fn cresset_use_allocator_settings(settings: *const c_char, error: *mut *mut c_char) -> i32;
}

/// The error of a failed call of the shim.
#[derive(Debug)]
pub(super) enum Failure {
    /// libtorch's whole text.
    Said(String),
    /// There was no memory for a text.
    OutOfMemory,
}

/// Makes a call that returns a `*mut T` or an error, and takes ownership of the
/// result.
pub(super) fn made<T>(
    call: impl FnOnce(*mut *mut T, *mut *mut c_char) -> i32,
) -> Result<NonNull<T>, Failure> {
    let mut value = std::ptr::null_mut();
    let mut error = std::ptr::null_mut();
    let status = call(&raw mut value, &raw mut error);
    // SAFETY: null, or a terminated text that the shim handed over.
    let said = unsafe { text(error) };
    // SAFETY: the shim's own allocation, freed once; null is allowed.
    unsafe { cresset_text_free(error) };
    match (status, NonNull::new(value)) {
        (OK, Some(value)) => Ok(value),
        (OUT_OF_MEMORY, _) => Err(Failure::OutOfMemory),
        _ => said.map_or(Err(Failure::OutOfMemory), |said| Err(Failure::Said(said))),
    }
}

/// Makes a call that returns nothing or an error.
pub(super) fn done(call: impl FnOnce(*mut *mut c_char) -> i32) -> Result<(), Failure> {
    let mut error = std::ptr::null_mut();
    let status = call(&raw mut error);
    // SAFETY: null, or a terminated text that the shim handed over.
    let said = unsafe { text(error) };
    // SAFETY: the shim's own allocation, freed once; null is allowed.
    unsafe { cresset_text_free(error) };
    match (status, said) {
        (OK, _) => Ok(()),
        (OUT_OF_MEMORY, _) | (_, None) => Err(Failure::OutOfMemory),
        (_, Some(said)) => Err(Failure::Said(said)),
    }
}

/// A copy of a C text; `None` for null.
///
/// # Safety
/// `text` is null or points to a terminated text that stays for this call.
pub(super) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: guaranteed by the caller of this function.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
