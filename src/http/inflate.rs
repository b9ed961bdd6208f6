//! Inflates request bodies. The output is bounded while it is produced, so that
//! a kilobyte never unpacks to a gigabyte.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::encoding::Encoding;
use crate::admission::Permit;
use crate::error::{Error, ErrorCode, Result};

/// How many bytes are inflated before they are counted.
const STEP: usize = 64 * 1024;

/// Inflates a whole body. Never more than `limit` bytes come out, and `permit`
/// is lent the memory for them before they take it.
///
/// It takes milliseconds for a megabyte, so it isn't for an async thread.
///
/// # Errors
/// The body is too large, there is no memory left to lend, or it isn't a stream
/// of this encoding.
pub(super) fn inflate(
    body: &[u8],
    encoding: Encoding,
    limit: usize,
    mut permit: Permit,
) -> Result<(Bytes, Permit)> {
    let mut source = InflatingSource::new(body, encoding);
    let mut step = vec![0; STEP];
    let mut inflated: Vec<u8> = Vec::new();
    loop {
        let came = source.read(&mut step)?;
        if came == 0 {
            return Ok((Bytes::from(inflated), permit));
        }
        let length = inflated.len() + came;
        if length > limit {
            return Err(Error::new(
                ErrorCode::PayloadTooLarge,
                format!("the body inflates to over the limit of {limit} bytes (--http-max-input-size)"),
            ));
        }
        if length > inflated.capacity() {
            // Exactly the lent memory is taken: it doubles, but not past the
            // limit.
            let capacity = length.max(inflated.capacity().saturating_mul(2)).min(limit);
            permit.grow(capacity - inflated.capacity())?;
            inflated.reserve_exact(capacity - inflated.len());
        }
        inflated.extend_from_slice(&step[..came]);
    }
}

/// A stream that inflates in steps. Each format marks its end, so that a
/// truncated stream is noticed.
enum InflatingSource<'a> {
    Gzip(MultiGzDecoder<&'a [u8]>),
    Deflate { rest: &'a [u8], state: Box<Decompress>, ended: bool },
}

impl<'a> InflatingSource<'a> {
    fn new(body: &'a [u8], encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Self::Gzip(MultiGzDecoder::new(body)),
            Encoding::Deflate => {
                Self::Deflate { rest: body, state: Box::new(Decompress::new(true)), ended: false }
            }
        }
    }

    /// Fills `step` as far as it goes; zero at the end.
    fn read(&mut self, step: &mut [u8]) -> Result<usize> {
        match self {
            // A checksum and a length stand behind each member.
            Self::Gzip(decoder) => {
                decoder.read(step).map_err(|error| broken(Encoding::Gzip, &error.to_string()))
            }
            Self::Deflate { rest, state, ended } => {
                while !*ended {
                    let (taken, given) = (state.total_in(), state.total_out());
                    let status = state
                        .decompress(rest, step, FlushDecompress::None)
                        .map_err(|error| broken(Encoding::Deflate, &error.to_string()))?;
                    let taken = usize::try_from(state.total_in() - taken).unwrap_or(rest.len());
                    let given = usize::try_from(state.total_out() - given).unwrap_or(step.len());
                    *rest = &rest[taken..];
                    *ended = status == Status::StreamEnd;
                    if given > 0 {
                        return Ok(given);
                    }
                    if taken == 0 && !*ended {
                        return Err(broken(Encoding::Deflate, "it breaks off before its end"));
                    }
                }
                if rest.is_empty() {
                    Ok(0)
                } else {
                    Err(broken(Encoding::Deflate, &format!("{} bytes are left over behind it", rest.len())))
                }
            }
        }
    }
}

fn broken(encoding: Encoding, why: &str) -> Error {
    Error::invalid(format!("the body isn't a whole {} stream: {why}", encoding.name()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::admission::Admission;

    fn compressed(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn run(body: &[u8], encoding: Encoding, limit: usize, memory: usize) -> Result<Bytes> {
        let admission = Admission::new(memory);
        let inflated = inflate(body, encoding, limit, admission.admit(0).unwrap());
        inflated.map(|(bytes, _)| bytes)
    }

    const BOTH: [Encoding; 2] = [Encoding::Gzip, Encoding::Deflate];

    #[test]
    fn what_went_in_comes_out() {
        let bytes: Vec<u8> =
            (0..300_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).collect();
        for encoding in BOTH {
            for bytes in [&bytes[..], b"", b"x"] {
                let body = compressed(bytes, encoding);
                assert_eq!(run(&body, encoding, 1_200_000, 1 << 30).unwrap(), bytes, "{encoding:?}");
            }
        }
        let members = [compressed(b"one ", Encoding::Gzip), compressed(b"two", Encoding::Gzip)].concat();
        assert_eq!(run(&members, Encoding::Gzip, 100, 1 << 20).unwrap(), &b"one two"[..], "RFC 1952, 2.2");
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        for encoding in BOTH {
            let body = compressed(&vec![0; 100_000], encoding);
            assert!(body.len() < 1_000, "a small body");
            assert_eq!(run(&body, encoding, 100_000, 1 << 30).unwrap().len(), 100_000);
            let error = run(&body, encoding, 99_999, 1 << 30).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PayloadTooLarge);
            assert_eq!(
                error.message(),
                "the body inflates to over the limit of 99999 bytes (--http-max-input-size)"
            );
        }
    }

    #[test]
    fn memory_is_lent_before_it_is_taken() {
        let body = compressed(&vec![0; 1 << 20], Encoding::Gzip);
        let error = run(&body, Encoding::Gzip, 1 << 30, 200_000).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        let admission = Admission::new(1 << 20);
        let (bytes, permit) = inflate(&body, Encoding::Gzip, 1 << 20, admission.admit(0).unwrap()).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert!(admission.admit(1).is_err(), "all of it is lent");
        drop(permit);
        assert!(admission.admit(1 << 20).is_ok());
    }

    #[test]
    fn what_is_no_whole_stream_is_refused() {
        for encoding in BOTH {
            let whole = compressed(&[7; 5_000], encoding);
            for end in 0..whole.len() {
                assert!(run(&whole[..end], encoding, 10_000, 1 << 20).is_err(), "{encoding:?} cut at {end}");
            }
            let mut changed = whole.clone();
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert!(run(&changed, encoding, 10_000, 1 << 20).is_err(), "{encoding:?}: the checksum");
            let longer = [&whole[..], b"more"].concat();
            assert!(run(&longer, encoding, 10_000, 1 << 20).is_err(), "{encoding:?}: left over");
            let error = run(b"{\"inputs\": []}", encoding, 10_000, 1 << 20).unwrap_err();
            assert!(error.message().starts_with("the body isn't a whole "), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for encoding in BOTH {
                let _ = run(&bytes, encoding, 1_000, 1 << 20);
            }
        }
    }
}
