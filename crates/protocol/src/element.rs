//! The Rust types of tensors' elements, and the one mapping from a datatype to
//! its Rust type.

use half::{bf16, f16};

use crate::Datatype;

/// A number in a tensor, little-endian.
pub trait Element: Copy + PartialOrd + std::fmt::Display + 'static {
    /// The number at the start of `bytes`; `None` if they are too short.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Appends it to a tensor's bytes.
    fn append(self, bytes: &mut Vec<u8>);

    /// This whole number; `None` if the type can't hold it. Floating types
    /// round.
    fn from_whole(value: i64) -> Option<Self>;

    /// This number, rounded; `None` for a type of whole numbers.
    fn from_real(value: f64) -> Option<Self>;

    /// The nearest FP64: whole numbers of 64 bits lose their last digits.
    fn to_f64(self) -> f64;
}

macro_rules! bytes {
    () => {
        fn read(bytes: &[u8]) -> Option<Self> {
            bytes.first_chunk().map(|bytes| Self::from_le_bytes(*bytes))
        }

        fn append(self, bytes: &mut Vec<u8>) {
            bytes.extend_from_slice(&self.to_le_bytes());
        }
    };
}

macro_rules! whole {
    ($($number:ty),*) => {
        $(impl Element for $number {
            bytes!();

            fn from_whole(value: i64) -> Option<Self> {
                value.try_into().ok()
            }

            fn from_real(_: f64) -> Option<Self> {
                None
            }

            #[allow(clippy::cast_precision_loss, clippy::cast_lossless)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}

macro_rules! real {
    ($($number:ty, $from:expr, $to:expr;)*) => {
        $(impl Element for $number {
            bytes!();

            #[allow(clippy::cast_precision_loss)]
            fn from_whole(value: i64) -> Option<Self> {
                Self::from_real(value as f64)
            }

            fn from_real(value: f64) -> Option<Self> {
                Some($from(value))
            }

            fn to_f64(self) -> f64 {
                $to(self)
            }
        })*
    };
}

whole!(u8, u16, u32, u64, i8, i16, i32, i64);
real! {
    f16, f16::from_f64, f16::to_f64;
    bf16, bf16::from_f64, bf16::to_f64;
    f32, |value| value as f32, f64::from;
    f64, std::convert::identity, std::convert::identity;
}

/// Runs code for the Rust type of a datatype's elements:
/// `with_element!(datatype, T => code)`. A boolean is a byte. Returns the
/// code's value; `None` for strings, without running it.
#[macro_export]
macro_rules! with_element {
    (@run $number:ty, $element:ident, $code:expr) => {{
        type $element = $number;
        Some($code)
    }};
    ($datatype:expr, $element:ident => $code:expr) => {
        match $datatype {
            $crate::Datatype::Bool | $crate::Datatype::Uint8 => $crate::with_element!(@run u8, $element, $code),
            $crate::Datatype::Uint16 => $crate::with_element!(@run u16, $element, $code),
            $crate::Datatype::Uint32 => $crate::with_element!(@run u32, $element, $code),
            $crate::Datatype::Uint64 => $crate::with_element!(@run u64, $element, $code),
            $crate::Datatype::Int8 => $crate::with_element!(@run i8, $element, $code),
            $crate::Datatype::Int16 => $crate::with_element!(@run i16, $element, $code),
            $crate::Datatype::Int32 => $crate::with_element!(@run i32, $element, $code),
            $crate::Datatype::Int64 => $crate::with_element!(@run i64, $element, $code),
            $crate::Datatype::Fp16 => $crate::with_element!(@run $crate::f16, $element, $code),
            $crate::Datatype::Bf16 => $crate::with_element!(@run $crate::bf16, $element, $code),
            $crate::Datatype::Fp32 => $crate::with_element!(@run f32, $element, $code),
            $crate::Datatype::Fp64 => $crate::with_element!(@run f64, $element, $code),
            $crate::Datatype::Bytes => None,
        }
    };
}

/// A tensor's elements as numbers; empty for strings. Whole numbers of 64 bits
/// lose their last digits.
pub fn numbers(datatype: Datatype, data: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
    fn each<T: Element>(data: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
        Box::new(data.chunks_exact(size_of::<T>()).filter_map(T::read).map(T::to_f64))
    }
    with_element!(datatype, T => each::<T>(data)).unwrap_or_else(|| Box::new(std::iter::empty()))
}

/// Appends an element: `real` for a floating type, else `whole`. For strings it
/// appends nothing and returns false.
pub fn append_number(datatype: Datatype, real: f64, whole: u8, bytes: &mut Vec<u8>) -> bool {
    fn number<T: Element>(real: f64, whole: u8, bytes: &mut Vec<u8>) {
        if let Some(number) = T::from_real(real).or_else(|| T::from_whole(whole.into())) {
            number.append(bytes);
        }
    }
    with_element!(datatype, T => number::<T>(real, whole, bytes)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_of_numbers_has_its_element() {
        for datatype in Datatype::all() {
            let mut bytes = Vec::new();
            let appended = append_number(datatype, 0.5, 7, &mut bytes);
            assert_eq!(appended, datatype.size().is_some(), "{datatype}");
            assert_eq!(bytes.len(), datatype.size().unwrap_or(0), "{datatype}");
            let expected = if datatype.is_float() { 0.5 } else { 7.0 };
            let expected: &[f64] = if appended { &[expected] } else { &[] };
            assert_eq!(numbers(datatype, &bytes).collect::<Vec<_>>(), expected, "{datatype}");
        }
    }

    #[test]
    fn what_a_type_does_not_hold_is_none() {
        assert_eq!((u8::from_whole(255), u8::from_whole(256), u64::from_whole(-1)), (Some(255), None, None));
        assert_eq!((i16::from_real(1.0), f32::from_whole(3)), (None, Some(3.0)));
        assert_eq!((i32::read(&[1, 0, 0]), i32::read(&[1, 0, 0, 0, 9])), (None, Some(1)));
    }
}
