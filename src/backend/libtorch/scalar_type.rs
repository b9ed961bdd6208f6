//! libtorch's numbers for the types of elements (`c10/core/ScalarType.h`).
//!
//! `tch::Kind` lacks the unsigned ones over 8 bits, so the numbers stand here;
//! the shim asserts them when it is compiled.

use crate::protocol::Datatype;

/// The number of a datatype; strings have none.
pub(super) fn from_datatype(datatype: Datatype) -> Option<i32> {
    match datatype {
        Datatype::Uint8 => Some(0),
        Datatype::Int8 => Some(1),
        Datatype::Int16 => Some(2),
        Datatype::Int32 => Some(3),
        Datatype::Int64 => Some(4),
        Datatype::Fp16 => Some(5),
        Datatype::Fp32 => Some(6),
        Datatype::Fp64 => Some(7),
        Datatype::Bool => Some(11),
        Datatype::Bf16 => Some(15),
        Datatype::Uint16 => Some(27),
        Datatype::Uint32 => Some(28),
        Datatype::Uint64 => Some(29),
        Datatype::Bytes => None,
    }
}

/// The datatype of a number; `None` for complex, quantised and 8-bit floating
/// types, which the protocol has no name for.
pub(super) fn to_datatype(scalar_type: i32) -> Option<Datatype> {
    Datatype::all().find(|datatype| from_datatype(*datatype) == Some(scalar_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_but_strings_comes_back() {
        for datatype in Datatype::all().filter(|datatype| *datatype != Datatype::Bytes) {
            assert_eq!(from_datatype(datatype).and_then(to_datatype), Some(datatype));
        }
        assert_eq!(to_datatype(9), None, "complex");
    }
}
