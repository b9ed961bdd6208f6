//! The messages' codec: protobuf, which is measured before it is unpacked.
//!
//! An empty part takes two bytes on the wire and a hundred in memory, so a
//! message within its limit could unpack to many times that: parts are bounded.
//! A number of one byte takes up to eight, so that memory is lent like the
//! message's own.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::measure::Measure;
use super::proto::ModelInferRequest;
use super::{body, status};
use crate::error::{Error, Result};

/// Parts of a message itself: its inputs, outputs, raw tensors and parameters.
const MOST_PARTS: usize = 16 * 1024;
/// Parts of those parts together, numbers aside: strings of a tensor, as a rule.
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

/// Reads a message if it doesn't have too many parts.
pub(super) struct Careful<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for Careful<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The message isn't copied: tensors are slices of it.
        let message = source.copy_to_bytes(source.remaining());
        read(message).map(Some).map_err(|error| status::failed(&error))
    }
}

fn read<U: Message + Default + 'static>(message: Bytes) -> Result<U> {
    let unreadable =
        |error: prost::DecodeError| Error::invalid(format!("the message can't be read: {error}"));
    // The service's other messages have no long repeated fields.
    if TypeId::of::<U>() == TypeId::of::<ModelInferRequest>() {
        let Measure { parts, inner, elements } = Measure::of(&message).map_err(unreadable)?;
        if parts > MOST_PARTS || inner > MOST_INNER_PARTS {
            return Err(Error::invalid(format!(
                "the message has {parts} parts, and {inner} within them: at most {MOST_PARTS} and \
                 {MOST_INNER_PARTS} are taken"
            )));
        }
        body::lend(message.len(), elements)?;
    }
    U::decode(message).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use prost::encoding::WireType;

    use super::*;
    use crate::admission::Admission;
    use crate::error::ErrorCode;
    use crate::grpc::body::Lease;
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
    fn numbers_are_bounded_by_the_message_and_by_memory_alone() {
        let count = MOST_INNER_PARTS + 1;
        let contents = InferTensorContents { fp32_contents: vec![0.5; count], ..Default::default() };
        let inputs = vec![InferInputTensor { contents: Some(contents), ..InferInputTensor::default() }];
        let request = ModelInferRequest { inputs, ..ModelInferRequest::default() };
        let packed = Bytes::from(request.encode_to_vec());
        // The same, each behind its own key, as some clients send them.
        let mut contents = Vec::new();
        prost::encoding::encode_key(5, WireType::LengthDelimited, &mut contents);
        prost::encoding::encode_varint(5 * count as u64, &mut contents);
        contents.extend([&[0x35][..], &0.5_f32.to_le_bytes()].concat().repeat(count));
        let mut single = Vec::new();
        prost::encoding::encode_key(5, WireType::LengthDelimited, &mut single);
        prost::encoding::encode_varint(contents.len() as u64, &mut single);
        single.extend(contents);
        let single = Bytes::from(single);

        for message in [packed, single] {
            assert_eq!(read::<ModelInferRequest>(message.clone()).unwrap(), request);
            let needed = message.len() + 4 * count;
            let read_within = |memory: usize| {
                let lease = Lease::new(Admission::new(memory).admit(0).unwrap());
                let read = lease.clone().during(|| read::<ModelInferRequest>(message.clone()));
                (read.map(drop).map_err(|error| error.code()), lease.take().bytes())
            };
            assert_eq!(read_within(needed), (Ok(()), needed));
            assert_eq!(read_within(needed - 1).0, Err(ErrorCode::Unavailable));
        }
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for bytes in [&[0xff; 40][..], b"GET / HTTP/1.1", &[0x2a, 0x05, 1]] {
            let refused = read::<ModelInferRequest>(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert!(refused.message().starts_with("the message can't be read: "), "{refused}");
        }
    }
}
