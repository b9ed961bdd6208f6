//! The messages' codec: protobuf, whose parts are counted before anything is
//! made of them.
//!
//! An empty part takes two bytes on the wire and a hundred in memory, so a
//! message within its limit could unpack to many times that.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::proto::ModelInferRequest;
use super::status;
use crate::error::{Error, Result};

/// Parts of a message itself: its inputs, outputs, raw tensors and parameters.
const MOST_PARTS: usize = 16 * 1024;
/// Parts of those parts together: strings of a tensor, as a rule.
const MOST_INNER_PARTS: usize = 4 << 20;

/// What the generated service encodes and decodes with.
pub(super) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Careful<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Careful(PhantomData)
    }
}

/// Reads a message that isn't too many things.
pub(super) struct Careful<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for Careful<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Taken as it lies: what is made of it are slices.
        let message = source.copy_to_bytes(source.remaining());
        read(message).map(Some).map_err(|error| status::failed(&error))
    }
}

fn read<U: Message + Default + 'static>(message: Bytes) -> Result<U> {
    let unreadable =
        |error: prost::DecodeError| Error::invalid(format!("the message can't be read: {error}"));
    // The other messages of the service hold nothing that repeats at length.
    let mut inner = 0;
    let parts = if TypeId::of::<U>() == TypeId::of::<ModelInferRequest>() {
        count(&message, 0, &mut inner).map_err(unreadable)?
    } else {
        0
    };
    if parts > MOST_PARTS || inner > MOST_INNER_PARTS {
        return Err(Error::invalid(format!(
            "the message has {parts} parts, and {inner} within them: at most {MOST_PARTS} and \
             {MOST_INNER_PARTS} are taken"
        )));
    }
    U::decode(message).map_err(unreadable)
}

/// The fields of an inference request; those of the messages in it are added
/// to `inner`.
fn count(mut message: &[u8], depth: usize, inner: &mut usize) -> Result<usize, prost::DecodeError> {
    let mut fields = 0;
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message)?;
        fields += 1;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut message)?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX),
            // Not of this protocol: left to the decoder, which skips or
            // refuses them.
            WireType::StartGroup | WireType::EndGroup => return Ok(fields),
        };
        let Some((part, rest)) = message.split_at_checked(length) else {
            // Cut short: the decoder says so in its own words.
            return Ok(fields);
        };
        message = rest;
        if wire_type == WireType::LengthDelimited && nests(depth, field) {
            *inner += count(part, depth + 1, inner)?;
        }
    }
    Ok(fields)
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
    use super::*;
    use crate::grpc::proto::InferTensorContents;
    use crate::grpc::proto::model_infer_request::InferInputTensor;

    fn read_request(message: &ModelInferRequest) -> Result<ModelInferRequest, String> {
        read(Bytes::from(message.encode_to_vec())).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn raw_tensors_are_slices_of_the_message() {
        let request = ModelInferRequest {
            raw_input_contents: vec![Bytes::from(vec![7; 100_000])],
            ..Default::default()
        };
        let message = Bytes::from(request.encode_to_vec());
        let within = message.as_ptr_range();
        let read: ModelInferRequest = read(message).unwrap();
        assert_eq!(read, request);
        assert!(within.contains(&read.raw_input_contents[0].as_ptr()), "no copy");
    }

    #[test]
    fn a_message_of_too_many_parts_is_refused() {
        let inputs = |count| ModelInferRequest {
            inputs: vec![InferInputTensor::default(); count],
            ..ModelInferRequest::default()
        };
        assert!(read_request(&inputs(MOST_PARTS)).is_ok());
        let refused = read_request(&inputs(MOST_PARTS + 1)).unwrap_err();
        assert_eq!(
            refused,
            "the message has 16385 parts, and 0 within them: at most 16384 and 4194304 are taken"
        );

        let strings = |count| ModelInferRequest {
            inputs: vec![InferInputTensor {
                contents: Some(InferTensorContents {
                    bytes_contents: vec![Bytes::new(); count],
                    ..Default::default()
                }),
                ..InferInputTensor::default()
            }],
            ..ModelInferRequest::default()
        };
        assert!(read_request(&strings(1_000_000)).is_ok());
        let refused = read_request(&strings(MOST_INNER_PARTS)).unwrap_err();
        assert!(refused.starts_with("the message has 1 parts, and 4194305 within them"), "{refused}");
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for bytes in [&[0xff; 40][..], b"GET / HTTP/1.1", &[0x2a, 0x05, 1]] {
            let refused = read::<ModelInferRequest>(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert!(refused.message().starts_with("the message can't be read: "), "{refused}");
        }
    }
}
