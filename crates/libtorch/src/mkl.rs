//! What MKL, whose matrix products libtorch calls, is told of the processor.

use std::arch::x86_64::{__cpuid, CpuidResult};
use std::ffi::c_int;

use once_cell::sync::Lazy;

/// Whether the processor is Intel's. MKL asks a function of this name, and
/// takes slow kernels where it isn't, whatever the processor can do. A
/// program's own answer goes before that of the library: this one leaves the
/// choice to the processor's features. `CRESSET_MKL=as-shipped` leaves it to
/// the processor's name.
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
