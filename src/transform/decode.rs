//! Encoded bytes to pixels, with everything that can be refused refused
//! before memory is asked for.

use std::error::Error as _;
use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::{ImageDecoder, ImageError, Limits};

use super::error::{Format, TransformError};
use super::fit::{Size, Turn};
use super::{jpeg, png};

/// The most pixels that one image may have: Pillow's `MAX_IMAGE_PIXELS`, a
/// quarter of a GiB of RGB.
const MAX_PIXELS: u64 = 1024 * 1024 * 1024 / 4 / 3;

/// The most memory for decoding one image, in bytes: `MAX_PIXELS` of RGB and
/// the coefficients of a progressive JPEG with halved colour.
const MAX_BYTES: u64 = 512 << 20;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_SIGNATURE: &[u8] = b"\xff\xd8\xff";

/// What a header promises.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) size: Size,
    /// What decoding allocates, about.
    pub(super) bytes: u64,
}

/// Pixels of 8 bits a channel, as stored: not turned upright yet.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) size: Size,
    pub(super) channels: Channels,
    /// Row by row, channels together.
    pub(super) pixels: Vec<u8>,
    pub(super) turn: Turn,
}

/// The channels of a pixel. They stay as they are until the last step: one
/// channel resized is the same as three equal ones, and faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Channels {
    pub(super) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// Whether the bytes begin as a JPEG or a PNG does. Says nothing of the rest.
#[must_use]
pub fn looks_like_image(bytes: &[u8]) -> bool {
    format(bytes).is_some()
}

fn format(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(JPEG_SIGNATURE) {
        Some(Format::Jpeg)
    } else if bytes.starts_with(PNG_SIGNATURE) {
        Some(Format::Png)
    } else {
        None
    }
}

/// Decodes a JPEG or PNG.
///
/// Palettes become RGB, samples of 1, 2 and 4 bits are widened, of samples of
/// 16 bits the high byte is taken, CMYK becomes RGB as `(255-c)(255-k)/255`
/// (inverted, as Adobe and everyone after it stores it). Colour profiles are
/// passed over. Pillow does the same.
pub(super) fn decode(encoded: &[u8]) -> Result<Decoded, TransformError> {
    let format = format(encoded).ok_or_else(|| not_an_image(encoded))?;
    let layout = match format {
        Format::Jpeg => jpeg::layout(encoded)?,
        Format::Png => png::layout(encoded)?,
    };
    check(format, layout)?;
    // The decoders are others' work on a stranger's bytes: a panic in one is
    // this image's fault, not the server's.
    catch_unwind(AssertUnwindSafe(|| {
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_BYTES);
        match format {
            Format::Jpeg => {
                JpegDecoder::new(Cursor::new(encoded)).and_then(|decoder| read(decoder, layout.size))
            }
            Format::Png => PngDecoder::with_limits(Cursor::new(encoded), limits)
                .and_then(|decoder| read(decoder, layout.size)),
        }
    }))
    .unwrap_or_else(|_| {
        Err(ImageError::IoError(std::io::Error::other(
            "it is damaged in a way that the decoder doesn't know",
        )))
    })
    .map_err(|error| explain(format, encoded.len(), &error))
}

fn check(format: Format, Layout { size, bytes }: Layout) -> Result<(), TransformError> {
    let Size { height, width } = size;
    let pixels = u64::from(width).saturating_mul(height.into());
    if pixels == 0 {
        let reason = format!("has no pixels: {width} x {height}");
        return Err(TransformError::Undecodable { format, reason });
    }
    if pixels > MAX_PIXELS {
        let reason = format!("{width} x {height} pixels, {pixels} in all; at most {MAX_PIXELS} are taken");
        return Err(TransformError::TooLarge { format, reason });
    }
    if bytes > MAX_BYTES {
        let reason = format!(
            "{width} x {height} pixels of this kind take {} MiB to decode; at most {} are given",
            bytes >> 20,
            MAX_BYTES >> 20
        );
        return Err(TransformError::TooLarge { format, reason });
    }
    Ok(())
}

/// `promised` is what the limits were checked on.
fn read(mut decoder: impl ImageDecoder, promised: Size) -> Result<Decoded, ImageError> {
    let (width, height) = decoder.dimensions();
    let size = Size { height, width };
    if size != promised {
        // A lenient decoder can be shown another frame header than ours.
        return Err(ImageError::IoError(std::io::Error::other("its headers give two sizes")));
    }
    let turn = Turn::from(decoder.orientation()?);
    let color = decoder.color_type();
    let channels = match color.channel_count() {
        1 => Channels::Grey,
        2 => Channels::GreyAlpha,
        3 => Channels::Rgb,
        _ => Channels::Rgba,
    };
    let mut pixels = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut pixels)?;
    if usize::from(color.bytes_per_pixel()) == 2 * channels.count() {
        keep_high_bytes(&mut pixels);
    }
    Ok(Decoded { size, channels, pixels, turn })
}

/// Samples of 16 bits, native-endian, to their upper 8, in place.
fn keep_high_bytes(samples: &mut Vec<u8>) {
    let count = samples.len() / 2;
    for index in 0..count {
        let [high, _] = u16::from_ne_bytes([samples[2 * index], samples[2 * index + 1]]).to_be_bytes();
        samples[index] = high;
    }
    samples.truncate(count);
}

fn not_an_image(bytes: &[u8]) -> TransformError {
    let found = match bytes {
        [] => "the body is empty".to_owned(),
        _ => {
            let head: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("the body begins with {}", head.join(" "))
        }
    };
    TransformError::NotAnImage { found }
}

/// A decoder's error in our words, with its own as the cause.
fn explain(format: Format, length: usize, error: &ImageError) -> TransformError {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let cause = cause.trim().trim_matches('"');
    if matches!(error, ImageError::Limits(_)) {
        return TransformError::TooLarge { format, reason: cause.to_owned() };
    }
    let ended = matches!(error, ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof);
    let reason = if ended {
        format!("is truncated: it ends after {length} bytes, before its last pixels")
    } else {
        format!("can't be decoded: {cause}")
    };
    TransformError::Undecodable { format, reason }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{jpeg, patterned, png, png_chunk, png_header};
    use super::*;

    fn refused(encoded: &[u8]) -> String {
        decode(encoded).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_image_is_shown_by_its_first_bytes() {
        assert_eq!(refused(b""), "not an image: a JPEG or PNG was expected, and the body is empty");
        assert_eq!(
            refused(b"{\"inputs\": []}"),
            "not an image: a JPEG or PNG was expected, and the body begins with 7b 22 69 6e 70 75 74 73"
        );
        assert!(!looks_like_image(b"GIF89a"));
        assert!(looks_like_image(&jpeg(&patterned(8, 8))));
        assert!(looks_like_image(&png(&patterned(8, 8).into())));
    }

    #[test]
    fn sizes_are_refused_by_the_header_alone() {
        assert_eq!(
            refused(&png_header(20_000, 20_000, 8, 2)),
            "the PNG is too large: 20000 x 20000 pixels, 400000000 in all; at most 89478485 are taken"
        );
        assert_eq!(
            refused(&png_header(u32::MAX, u32::MAX, 16, 6)),
            "the PNG is too large: 4294967295 x 4294967295 pixels, 18446744065119617025 in all; \
             at most 89478485 are taken"
        );
        assert_eq!(
            refused(&png_header(9_000, 9_000, 16, 6)),
            "the PNG is too large: 9000 x 9000 pixels of this kind take 617 MiB to decode; \
             at most 512 are given"
        );
        assert_eq!(refused(&png_header(0, 7, 8, 2)), "the PNG has no pixels: 0 x 7");
    }

    #[test]
    fn a_png_cut_short_at_any_tenth_says_so() {
        let whole = png(&patterned(64, 48).into());
        assert!(decode(&whole).is_ok());
        for tenth in 1..10 {
            let length = whole.len() * tenth / 10;
            let message = refused(&whole[..length]);
            assert!(
                message.starts_with(&format!("the PNG is truncated: it ends after {length} bytes")),
                "{message}"
            );
        }
        assert_eq!(refused(&whole[..20]), "the PNG is truncated: it ends after 20 bytes, within its header");
    }

    #[test]
    fn a_wrong_checksum_is_an_error_and_bytes_behind_the_end_are_not() {
        let mut png = png(&patterned(64, 48).into());
        png.extend_from_slice(b"behind the end");
        assert!(decode(&png).is_ok());
        let middle = png.len() / 2;
        png[middle] ^= 1;
        assert!(refused(&png).starts_with("the PNG can't be decoded: "), "{}", refused(&png));
        png[29] ^= 1;
        assert!(refused(&png).contains("CRC"), "{}", refused(&png));
    }

    #[test]
    fn a_png_without_data_or_with_a_stray_first_chunk_is_an_error() {
        let mut bare = png_header(4, 4, 8, 2);
        bare.extend(png_chunk(*b"IEND", &[]));
        assert!(refused(&bare).starts_with("the PNG can't be decoded: "));
        let mut stray = PNG_SIGNATURE.to_vec();
        stray.extend(png_chunk(*b"tEXt", b"a comment that comes first"));
        assert_eq!(refused(&stray), "the PNG doesn't begin with an IHDR chunk");
    }

    #[test]
    fn nothing_is_allocated_for_a_size_that_was_not_checked() {
        let encoded = jpeg(&patterned(16, 8));
        let decoder = JpegDecoder::new(Cursor::new(encoded.as_slice())).unwrap();
        let error = read(decoder, Size { height: 8, width: 8 }).unwrap_err();
        assert_eq!(
            explain(Format::Jpeg, encoded.len(), &error).to_string(),
            "the JPEG can't be decoded: its headers give two sizes"
        );
    }

    #[test]
    fn of_16_bits_the_high_byte_is_kept() {
        let samples: Vec<u16> = vec![0x00ff, 0x0100, 0x80ff, 0xffff];
        let mut bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        keep_high_bytes(&mut bytes);
        assert_eq!(bytes, [0x00, 0x01, 0x80, 0xff]);
    }

    proptest::proptest! {
        #[test]
        fn damaged_images_never_panic(
            at in proptest::collection::vec((0usize..4000, proptest::num::u8::ANY), 1..12),
            as_jpeg in proptest::bool::ANY,
        ) {
            let picture = patterned(40, 30);
            let mut encoded = if as_jpeg { jpeg(&picture) } else { png(&picture.into()) };
            for (index, byte) in at {
                let index = index % encoded.len();
                encoded[index] = byte;
            }
            let _ = decode(&encoded);
        }

        #[test]
        fn random_bytes_behind_a_signature_never_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            proptest::prop_assert!(decode(&[JPEG_SIGNATURE, &bytes].concat()).is_err());
            proptest::prop_assert!(decode(&[PNG_SIGNATURE, &bytes].concat()).is_err());
        }
    }
}
