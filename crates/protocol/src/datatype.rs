//! The datatypes of the Open Inference Protocol, and Triton's names for them
//! in `config.pbtxt`.

use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    Uint8,
    /// Unsigned, 2 bytes.
    Uint16,
    /// Unsigned, 4 bytes.
    Uint32,
    /// Unsigned, 8 bytes.
    Uint64,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 2 bytes.
    Int16,
    /// Signed, 4 bytes.
    Int32,
    /// Signed, 8 bytes.
    Int64,
    /// IEEE 754 half precision.
    Fp16,
    /// bfloat16: the upper half of an FP32.
    Bf16,
    /// IEEE 754 single precision.
    Fp32,
    /// IEEE 754 double precision.
    Fp64,
    /// Byte strings, each preceded by its length (4 bytes, little-endian).
    Bytes,
}

/// Every datatype with its protocol name. The configuration's name is the same
/// after `TYPE_`, except for strings.
const NAMES: [(Datatype, &str); 14] = [
    (Datatype::Bool, "BOOL"),
    (Datatype::Uint8, "UINT8"),
    (Datatype::Uint16, "UINT16"),
    (Datatype::Uint32, "UINT32"),
    (Datatype::Uint64, "UINT64"),
    (Datatype::Int8, "INT8"),
    (Datatype::Int16, "INT16"),
    (Datatype::Int32, "INT32"),
    (Datatype::Int64, "INT64"),
    (Datatype::Fp16, "FP16"),
    (Datatype::Bf16, "BF16"),
    (Datatype::Fp32, "FP32"),
    (Datatype::Fp64, "FP64"),
    (Datatype::Bytes, "BYTES"),
];

impl Datatype {
    /// All datatypes, in the order of the protocol's table.
    pub fn all() -> impl Iterator<Item = Datatype> {
        NAMES.iter().map(|(datatype, _)| *datatype)
    }

    /// The protocol's name: `FP32`, `BYTES`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The size of one element in bytes; `None` for [`Datatype::Bytes`],
    /// because its elements differ in size.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// A whole number as an element; empty for strings.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn element(self, value: u32) -> Vec<u8> {
        let float = f64::from(value);
        match self {
            Self::Fp16 => half::f16::from_f64(float).to_le_bytes().to_vec(),
            Self::Bf16 => half::bf16::from_f64(float).to_le_bytes().to_vec(),
            Self::Fp32 => (float as f32).to_le_bytes().to_vec(),
            Self::Fp64 => float.to_le_bytes().to_vec(),
            Self::Bytes => Vec::new(),
            Self::Bool | Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => self.whole(value),
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => self.whole(value),
        }
    }

    fn whole(self, value: u32) -> Vec<u8> {
        let mut bytes = u64::from(value).to_le_bytes().to_vec();
        bytes.truncate(self.size().unwrap_or(0));
        bytes
    }

    /// Whether its values are floating point (and may be NaN or infinite).
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }

    /// Whether its values are whole numbers.
    #[must_use]
    pub fn is_whole(self) -> bool {
        match self {
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => true,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => true,
            Self::Bool | Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64 | Self::Bytes => false,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not a datatype's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown datatype '{0}'")]
pub struct UnknownDatatype(String);

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(datatype, _)| *datatype)
            .ok_or_else(|| UnknownDatatype(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_datatype() {
        for (datatype, name) in NAMES {
            assert_eq!(datatype.name(), name);
            assert_eq!(name.parse(), Ok(datatype));
        }
        assert_eq!(Datatype::all().count(), 14);
        assert!("fp32".parse::<Datatype>().is_err());
    }
}
