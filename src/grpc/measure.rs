//! Measures what an inference request unpacks to, by its bytes, before it is
//! unpacked.

use prost::DecodeError;
use prost::encoding::{WireType, decode_key, decode_varint};

use bytes::Bytes;

/// Counts of a request's parts, and what its elements take.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// Fields of the request itself: its inputs, outputs, raw tensors and
    /// parameters.
    pub(super) parts: usize,
    /// Fields of these fields, without numbers: strings of a tensor, as a rule.
    pub(super) inner: usize,
    /// Bytes that elements and dimensions take in memory when they are read. A
    /// string's content isn't counted: it stays in the message.
    pub(super) elements: usize,
}

impl Measure {
    /// Measures a whole message.
    pub(super) fn of(message: &[u8]) -> Result<Self, DecodeError> {
        let mut measure = Self::default();
        measure.parts = measure.walk(message, 0)?;
        Ok(measure)
    }

    /// Adds the contents of a message's fields. Returns how many fields are no
    /// numbers.
    fn walk(&mut self, mut message: &[u8], depth: usize) -> Result<usize, DecodeError> {
        let mut fields = 0;
        while !message.is_empty() {
            let (field, wire_type) = decode_key(&mut message)?;
            let element = element(depth, field);
            // A number by itself: clients that don't pack them are rare.
            fields += usize::from(element.is_none() || wire_type == WireType::LengthDelimited);
            let Some(part) = part(&mut message, wire_type)? else { return Ok(fields) };
            let count = match (element, wire_type) {
                (Some(Element::Varint(_)), WireType::LengthDelimited) => varints(part),
                (Some(Element::Fixed(bytes)), WireType::LengthDelimited) => part.len() / bytes,
                _ => 1,
            };
            match element {
                Some(Element::Varint(bytes) | Element::Fixed(bytes) | Element::Object(bytes)) => {
                    self.elements = self.elements.saturating_add(count.saturating_mul(bytes));
                }
                None if wire_type == WireType::LengthDelimited && nests(depth, field) => {
                    self.inner += self.walk(part, depth + 1)?;
                }
                None => {}
            }
        }
        Ok(fields)
    }
}

/// Takes the value behind a key; empty for a number, whose value doesn't count.
/// `None` if the rest can't be read: it is cut short, or not protobuf. Then the
/// decoder reports the error.
fn part<'a>(message: &mut &'a [u8], wire_type: WireType) -> Result<Option<&'a [u8]>, DecodeError> {
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(message)?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(message)?).unwrap_or(usize::MAX),
        WireType::StartGroup | WireType::EndGroup => return Ok(None),
    };
    let Some((part, rest)) = message.split_at_checked(length) else { return Ok(None) };
    *message = rest;
    Ok(Some(part))
}

/// How many numbers stand in packed bytes: each ends with a byte below 0x80.
fn varints(packed: &[u8]) -> usize {
    packed.iter().filter(|byte| **byte < 0x80).count()
}

/// A repeated element, with the bytes that one takes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// Of one to ten bytes on the wire.
    Varint(usize),
    /// Of as many on the wire.
    Fixed(usize),
    /// A slice of the message.
    Object(usize),
}

/// Whether a field holds elements or dimensions: an input's shape, and the
/// fields of its contents.
fn element(depth: usize, field: u32) -> Option<Element> {
    match (depth, field) {
        (1, 3) | (2, 3 | 5) => Some(Element::Varint(8)),
        (2, 1) => Some(Element::Varint(1)),
        (2, 2 | 4) => Some(Element::Varint(4)),
        (2, 6) => Some(Element::Fixed(4)),
        (2, 7) => Some(Element::Fixed(8)),
        (2, 8) => Some(Element::Object(size_of::<Bytes>())),
        _ => None,
    }
}

/// Whether a field is a message of its own: at the top a parameter, an input
/// or an output; in an input its contents.
fn nests(depth: usize, field: u32) -> bool {
    match depth {
        0 => (4..=6).contains(&field),
        1 => field == 5,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::grpc::proto::model_infer_request::InferInputTensor;
    use crate::grpc::proto::{InferTensorContents, ModelInferRequest};

    fn elements(contents: InferTensorContents, shape: Vec<i64>) -> usize {
        let input = InferInputTensor { shape, contents: Some(contents), ..InferInputTensor::default() };
        let request = ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() };
        Measure::of(&request.encode_to_vec()).unwrap().elements
    }

    #[test]
    fn elements_take_what_they_are_read_into() {
        let numbers = [0, 1, 127, 128, 300, i32::MAX, -1];
        let nothing = InferTensorContents::default;
        assert_eq!(elements(nothing(), Vec::new()), 0);
        assert_eq!(elements(nothing(), vec![1, 1 << 40]), 16);
        let unsigned = numbers.map(i32::cast_unsigned);
        for (contents, bytes) in [
            (InferTensorContents { bool_contents: vec![true, false], ..nothing() }, 2),
            (InferTensorContents { int_contents: numbers.to_vec(), ..nothing() }, 7 * 4),
            (InferTensorContents { int64_contents: numbers.map(i64::from).to_vec(), ..nothing() }, 7 * 8),
            (InferTensorContents { uint_contents: unsigned.to_vec(), ..nothing() }, 7 * 4),
            (InferTensorContents { uint64_contents: unsigned.map(u64::from).to_vec(), ..nothing() }, 7 * 8),
            (InferTensorContents { fp32_contents: vec![0.5; 7], ..nothing() }, 7 * 4),
            (InferTensorContents { fp64_contents: vec![0.5; 7], ..nothing() }, 7 * 8),
            (InferTensorContents { bytes_contents: vec![Bytes::from_static(b"long"); 2], ..nothing() }, 64),
        ] {
            assert_eq!(elements(contents.clone(), Vec::new()), bytes, "{contents:?}");
        }
    }

    /// A message of one input with these bytes for its contents.
    fn with_contents(contents: &[u8]) -> Vec<u8> {
        let within = |field: u8, part: &[u8]| {
            let mut message = vec![field << 3 | 2];
            prost::encoding::encode_varint(part.len() as u64, &mut message);
            [&message, part].concat()
        };
        within(5, &within(5, contents))
    }

    #[test]
    fn numbers_that_are_not_packed_are_elements_all_the_same() {
        let floats = [&[0x35][..], &0.5_f32.to_le_bytes()].concat().repeat(3);
        let whole = [0x18, 1].repeat(5);
        let message = with_contents(&[floats, whole].concat());
        let read = ModelInferRequest::decode(&*message).unwrap();
        assert_eq!(read.inputs[0].contents.as_ref().unwrap().int64_contents, [1; 5]);
        // The contents are one field of their input.
        assert_eq!(Measure::of(&message).unwrap(), Measure { parts: 1, inner: 1, elements: 3 * 4 + 5 * 8 });
    }

    #[test]
    fn empty_lists_and_strings_are_parts() {
        let message = with_contents(&[&[0x32, 0].repeat(3)[..], &[0x42, 0].repeat(2)].concat());
        let strings = 2 * size_of::<Bytes>();
        assert_eq!(Measure::of(&message).unwrap(), Measure { parts: 1, inner: 6, elements: strings });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = Measure::of(&bytes);
            let _ = Measure::of(&with_contents(&bytes));
        }
    }
}
