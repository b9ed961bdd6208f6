//! Overrides MKL's check of the processor; libtorch calls MKL for matrix
//! products.

use std::arch::x86_64::{__cpuid, CpuidResult};
use std::ffi::c_int;

use once_cell::sync::Lazy;

/// Whether the processor is Intel's. MKL calls a function of this name, and
/// uses slow kernels if it returns 0, whatever the processor's features. A
/// program's function takes precedence over the library's. This one leaves the
/// choice to the processor's features; `CRESSET_MKL=as-shipped` leaves it to
/// the processor's vendor.
///
/// `build.rs` has the linker export it.
#[unsafe(no_mangle)]
extern "C" fn mkl_serv_intel_cpu_true() -> c_int {
    static ANSWER: Lazy<bool> = Lazy::new(|| {
        let as_shipped = std::env::var_os("CRESSET_MKL").is_some_and(|asked| asked == "as-shipped");
        let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0);
        let intel = [ebx, edx, ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel";
        intel || !as_shipped
    });
    c_int::from(*ANSWER)
}
