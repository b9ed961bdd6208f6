//! libtorch's numbers for the types of elements (`c10/core/ScalarType.h`).
//!
//! `tch::Kind` lacks the unsigned types over 8 bits, so the numbers are listed
//! here; the shim asserts them when it is compiled.

use super::ffi::STRINGS;
use cresset_protocol::Datatype;

/// The number of a datatype; strings have a number of the shim.
pub(super) fn from_datatype(datatype: Datatype) -> i32 {
    match datatype {
        Datatype::Uint8 => 0,
        Datatype::Int8 => 1,
        Datatype::Int16 => 2,
        Datatype::Int32 => 3,
        Datatype::Int64 => 4,
        Datatype::Fp16 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bool => 11,
        Datatype::Bf16 => 15,
        Datatype::Uint16 => 27,
        Datatype::Uint32 => 28,
        Datatype::Uint64 => 29,
        Datatype::Bytes => STRINGS,
    }
}

/// The datatype of a number; `None` for complex, quantised and 8-bit floating
/// types, because the protocol lacks them.
pub(super) fn to_datatype(scalar_type: i32) -> Option<Datatype> {
    Datatype::all().find(|datatype| from_datatype(*datatype) == scalar_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_comes_back() {
        for datatype in Datatype::all() {
            assert_eq!(to_datatype(from_datatype(datatype)), Some(datatype));
        }
        assert_eq!(to_datatype(9), None, "complex");
    }
}
