//! Values to try a model on: the same for the same row, alone or in a batch.

use half::{bf16, f16};

use super::DescribedInput;
use crate::protocol::Datatype;

/// The bytes of `rows` rows of an input, from the row `first` on, each of
/// `elements` elements. Floats lie between 0 and 1, integers are 0 and 1 (any
/// table has such rows), strings are digits.
pub(super) fn rows(input: &DescribedInput, first: u64, rows: u64, elements: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in first..first + rows {
        for element in 0..elements {
            append(&mut bytes, input.datatype, mixed(row, element));
        }
    }
    bytes
}

/// Some 32 bits that no neighbour has.
fn mixed(row: u64, element: u64) -> u32 {
    // The steps of splitmix64, whose upper half is well mixed.
    let mut z = (row << 40 ^ element).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}

#[allow(clippy::cast_possible_truncation)]
fn append(bytes: &mut Vec<u8>, datatype: Datatype, mixed: u32) {
    let unit = f64::from(mixed) / f64::from(u32::MAX);
    let bit = (mixed & 1) as u8;
    match datatype {
        Datatype::Fp16 => bytes.extend(f16::from_f64(unit).to_le_bytes()),
        Datatype::Bf16 => bytes.extend(bf16::from_f64(unit).to_le_bytes()),
        Datatype::Fp32 => bytes.extend((unit as f32).to_le_bytes()),
        Datatype::Fp64 => bytes.extend(unit.to_le_bytes()),
        Datatype::Bytes => {
            let text = (mixed % 100).to_string();
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        // Pixels, mostly.
        Datatype::Uint8 => bytes.push(mixed.to_le_bytes()[3]),
        Datatype::Bool | Datatype::Int8 => bytes.push(bit),
        Datatype::Int16 | Datatype::Uint16 => bytes.extend([bit, 0]),
        Datatype::Int32 | Datatype::Uint32 => bytes.extend([bit, 0, 0, 0]),
        Datatype::Int64 | Datatype::Uint64 => bytes.extend([bit, 0, 0, 0, 0, 0, 0, 0]),
    }
}

/// An output's elements as numbers to compare; strings by their bytes.
pub(super) fn numbers(datatype: Datatype, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
    }
    // 64-bit integers lose their last digits: nothing that a comparison needs.
    #[allow(clippy::cast_precision_loss)]
    match datatype {
        Datatype::Fp16 => each(data, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Datatype::Bf16 => each(data, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        Datatype::Fp32 => each(data, |bytes| f32::from_le_bytes(bytes).into()),
        Datatype::Fp64 => each(data, f64::from_le_bytes),
        Datatype::Int16 => each(data, |bytes| i16::from_le_bytes(bytes).into()),
        Datatype::Uint16 => each(data, |bytes| u16::from_le_bytes(bytes).into()),
        Datatype::Int32 => each(data, |bytes| i32::from_le_bytes(bytes).into()),
        Datatype::Uint32 => each(data, |bytes| u32::from_le_bytes(bytes).into()),
        Datatype::Int64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        Datatype::Uint64 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
        Datatype::Int8 => each(data, |bytes| i8::from_le_bytes(bytes).into()),
        Datatype::Bool | Datatype::Uint8 | Datatype::Bytes => {
            data.iter().map(|byte| f64::from(*byte)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_same_alone_and_in_a_batch_and_unlike_its_neighbours() {
        for datatype in Datatype::all() {
            let input = DescribedInput { name: "x".to_owned(), datatype, dims: vec![-1, 40] };
            let batch = rows(&input, 0, 3, 40);
            let alone: Vec<Vec<u8>> = (0..3).map(|row| rows(&input, row, 1, 40)).collect();
            assert_eq!(batch, alone.concat(), "{datatype}");
            assert!(alone[0] != alone[1] && alone[1] != alone[2], "{datatype}");
        }
        let floats = DescribedInput { name: "x".to_owned(), datatype: Datatype::Fp64, dims: vec![-1] };
        let values = numbers(Datatype::Fp64, &rows(&floats, 0, 1, 1000));
        assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));
        assert!(values.iter().any(|value| *value < 0.1) && values.iter().any(|value| *value > 0.9));
    }
}
