//! Decodes bytes to pixels. All that can be refused is refused before memory is
//! allocated.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::bmp::BmpDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ExtendedColorType, ImageDecoder, ImageError, Limits};

use super::error::TransformError;
use super::fit::{Size, Turn};
use super::format::{Format, recognise};
use super::pixels::{Channels, Decoded, Layout, MAX_BYTES, check, explain};
use super::{gif, jpeg, png, webp};

/// What a decoder works on: it reads the header when it is made.
type Opened<'a> = Box<dyn ImageDecoder + 'a>;

/// Decodes an image; if it has several frames or pages, the first.
///
/// As in Pillow:
///
/// - a palette becomes RGB;
/// - samples of 1, 2 and 4 bits are widened;
/// - of samples of 16 bits the high byte is taken;
/// - CMYK becomes RGB as `(255-c)(255-k)/255`; in a JPEG it is inverted, as
///   Adobe stores it;
/// - colour profiles are ignored, and so is alpha: the colour stored under it
///   is taken.
pub(super) fn decode(encoded: &[u8]) -> Result<Decoded, TransformError> {
    let format = recognise(encoded).ok_or_else(|| not_an_image(encoded))?.taken()?;
    let layout = match format {
        Format::Jpeg => Some(jpeg::layout(encoded)?),
        Format::Png => Some(png::layout(encoded)?),
        Format::WebP => Some(webp::layout(encoded)?),
        // Their decoders take no memory for what their headers promise.
        Format::Gif | Format::Bmp | Format::Tiff => None,
    };
    if let Some(layout) = layout {
        check(format, layout)?;
    }
    let explained = |error: &ImageError| explain(format, encoded.len(), error);
    caught(format, || {
        let opened = open(format, encoded).map_err(|error| explained(&error))?;
        let Some(mut decoder) = opened else { return gif::decode(encoded) };
        let layout = match layout {
            Some(layout) => layout,
            None => {
                let layout = promised(format, &*decoder)?;
                check(format, layout)?;
                layout
            }
        };
        limit(format, &mut *decoder)
            .and_then(|()| read(decoder, layout.size))
            .map_err(|error| explained(&error))
    })
}

/// A panic in a decoder's library counts as an error of the image, not of the
/// server: the bytes are a client's.
fn caught<T>(format: Format, work: impl FnOnce() -> Result<T, TransformError>) -> Result<T, TransformError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "can't be decoded: it is damaged in a way that the decoder doesn't know".to_owned();
        Err(TransformError::Undecodable { format, reason })
    })
}

/// `None` for a GIF, which [`gif`] decodes.
fn open(format: Format, encoded: &[u8]) -> Result<Option<Opened<'_>>, ImageError> {
    let bytes = Cursor::new(encoded);
    Ok(Some(match format {
        Format::Jpeg => Box::new(JpegDecoder::new(bytes)?),
        Format::Png => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(MAX_BYTES);
            Box::new(PngDecoder::with_limits(bytes, limits)?)
        }
        Format::WebP => Box::new(WebPDecoder::new(bytes)?),
        Format::Gif => return Ok(None),
        Format::Bmp => Box::new(BmpDecoder::new(bytes)?),
        Format::Tiff => Box::new(TiffDecoder::new(bytes)?),
    }))
}

/// The size and memory that the header promises.
fn promised(format: Format, decoder: &dyn ImageDecoder) -> Result<Layout, TransformError> {
    let color = decoder.color_type();
    if matches!(color, ColorType::Rgb32F | ColorType::Rgba32F) {
        let reason =
            "is of a kind that isn't read: grey, RGB and CMYK are, of 8 or 16 bits (32 bits)".to_owned();
        return Err(TransformError::Undecodable { format, reason });
    }
    let (width, height) = decoder.dimensions();
    let given = u64::from(color.bytes_per_pixel());
    let bytes = match format {
        // Decoded into a buffer of its own, with ink's four channels.
        Format::Tiff => given + stored(decoder),
        Format::Jpeg | Format::Png | Format::WebP | Format::Gif | Format::Bmp => given,
    };
    Ok(Layout::of(Size { height, width }, bytes))
}

/// The bytes of a pixel as it is stored: ink has a channel more than RGB.
fn stored(decoder: &dyn ImageDecoder) -> u64 {
    let given = u64::from(decoder.color_type().bytes_per_pixel());
    let ink = matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16);
    if ink { given / 3 * 4 } else { given }
}

/// Bounds the memory that a decoder takes beside its pixels: a TIFF's strip may
/// be larger than the image.
fn limit(format: Format, decoder: &mut dyn ImageDecoder) -> Result<(), ImageError> {
    match format {
        Format::Tiff => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(MAX_BYTES.saturating_sub(decoder.total_bytes()));
            decoder.set_limits(limits)
        }
        // These are bounded already: by the header, or when they were opened.
        Format::Jpeg | Format::Png | Format::WebP | Format::Gif | Format::Bmp => Ok(()),
    }
}

/// `promised` is what the limits were checked on.
fn read(mut decoder: Opened<'_>, promised: Size) -> Result<Decoded, ImageError> {
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

/// The error for bytes of no known format. It shows their beginning, as text if
/// they are text.
pub(super) fn not_an_image(bytes: &[u8]) -> TransformError {
    /// So many show what was sent.
    const SHOWN: usize = 24;
    let head = &bytes[..bytes.len().min(SHOWN)];
    let text = String::from_utf8_lossy(head);
    // A character may be cut in two by the end.
    let text = text.strip_suffix(char::REPLACEMENT_CHARACTER).unwrap_or(&text);
    let found = if bytes.is_empty() {
        "nothing came".to_owned()
    } else if !text.is_empty() && text.chars().all(|c| !c.is_control() && c != char::REPLACEMENT_CHARACTER) {
        format!("what came begins with '{text}'")
    } else {
        let head: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("what came begins with the bytes {}, as no known format does", head.join(" "))
    };
    TransformError::NotAnImage { found }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chunk, encodings, jpeg, patterned, png, png_chunk, png_header, tiff_header};
    use super::*;

    fn refused(encoded: &[u8]) -> String {
        decode(encoded).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_image_is_shown_by_its_beginning() {
        const TAKEN: &str =
            "not an image: JPEG, PNG, WebP, GIF, BMP or TIFF is taken, as its bytes or as their base64";
        for (bytes, found) in [
            (&b""[..], "nothing came"),
            (b"hello", "what came begins with 'hello'"),
            ("[0.5, 0.25, 0.125, 0.5, é]".as_bytes(), "what came begins with '[0.5, 0.25, 0.125, 0.5, '"),
            (b"\x02\0\0\0x", "what came begins with the bytes 02 00 00 00 78, as no known format does"),
        ] {
            assert_eq!(refused(bytes), format!("{TAKEN}, and {found}"));
        }
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        assert_eq!(
            refused(b"\0\0\0\x1cftypavif\0\0\0\0mif1"),
            "this is an AVIF image, which isn't read: send JPEG, PNG, WebP, GIF, BMP or TIFF"
        );
        assert_eq!(
            refused(b"\x89PNG\x1aIHDR"),
            "the PNG has lost its line breaks, as with `curl -d`: send it with `curl --data-binary @photo` or \
             `curl -T photo`"
        );
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
        let mut stray = SIGNATURES[1].to_vec();
        stray.extend(png_chunk(*b"tEXt", b"a comment that comes first"));
        assert_eq!(refused(&stray), "the PNG doesn't begin with an IHDR chunk");
    }

    #[test]
    fn nothing_is_allocated_for_a_size_that_was_not_checked() {
        let encoded = jpeg(&patterned(16, 8));
        let decoder = JpegDecoder::new(Cursor::new(encoded.as_slice())).unwrap();
        let error = read(Box::new(decoder), Size { height: 8, width: 8 }).unwrap_err();
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

    /// The first bytes of each format that is taken.
    const SIGNATURES: [&[u8]; 8] = [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\xff\x01\0\0WEBP",
        b"RIFF\xff\x01\0\0WEBPVP8X\x0a\0\0\0",
        b"GIF89a",
        b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
        b"II\x2a\0\x08\0\0\0",
        b"MM\0\x2b\0\x08\0\0",
    ];

    #[test]
    fn new_formats_cut_short_at_any_tenth_are_refused() {
        for (name, whole) in encodings(&patterned(64, 48)) {
            assert!(decode(&whole).is_ok(), "{name}: {:?}", decode(&whole).err());
            for tenth in 1..10 {
                let length = whole.len() * tenth / 10;
                let message = refused(&whole[..length]);
                let expected = format!("the {name} is truncated: it ends after {length} bytes");
                assert!(message.starts_with(&expected), "{tenth} tenths: {message}");
            }
        }
    }

    #[test]
    fn the_pixels_of_a_lossless_format_are_those_that_were_stored() {
        let picture = patterned(37, 29);
        for (name, encoded) in encodings(&picture) {
            let Decoded { size, channels, pixels, .. } = decode(&encoded).unwrap();
            assert_eq!(size, Size { height: 29, width: 37 }, "{name}");
            let colours: Vec<u8> =
                pixels.chunks_exact(channels.count()).flat_map(|pixel| pixel[..3].to_vec()).collect();
            // A GIF's palette has too few colours for this picture.
            assert!(name == "GIF" || colours == *picture.as_raw(), "{name}");
        }
    }

    #[test]
    fn a_webp_of_two_sizes_is_refused_before_memory_is_taken() {
        let vp8x = |width: u32, height: u32, flags: u8| {
            let (w, h) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
            chunk(*b"VP8X", &[flags, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]])
        };
        let vp8 = chunk(*b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f]);
        let file = |chunks: &[u8]| chunk(*b"RIFF", &[b"WEBP", chunks].concat());
        assert_eq!(
            refused(&file(&[vp8x(8, 8, 0), vp8.clone()].concat())),
            "the WebP has a frame that is larger than its canvas"
        );
        assert!(refused(&file(&vp8)).contains("16383 x 16383 pixels"), "{}", refused(&file(&vp8)));
        assert_eq!(
            refused(&file(
                &[vp8x(6_000, 6_000, 2), chunk(*b"ANMF", &[&[0; 16][..], &vp8x(1, 1, 0)].concat())].concat()
            )),
            "the WebP holds no image"
        );
        assert!(refused(&file(&vp8x(1 << 24, 1 << 24, 0))).contains("holds no image"));
    }

    #[test]
    fn sizes_of_every_format_are_refused_by_the_header_alone() {
        let gif = [&b"GIF89a"[..], &[0xff; 4], &[0; 3], b",", &[0; 9]].concat();
        let mut bmp = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bmp.extend([20_000u32.to_le_bytes(), 20_000u32.to_le_bytes()].concat());
        bmp.extend([1, 0, 24, 0]);
        bmp.extend([0; 24]);
        for (encoded, expected) in [
            (gif, "the GIF is too large: 65535 x 65535 pixels"),
            (bmp, "the BMP is too large: 20000 x 20000 pixels"),
            (tiff_header(20_000, 20_000, 8), "the TIFF is too large: 20000 x 20000 pixels"),
            (
                tiff_header(8_000, 8_000, 16),
                "the TIFF is too large: 8000 x 8000 pixels of this kind take 732 MiB",
            ),
        ] {
            let message = refused(&encoded);
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(refused(&tiff_header(8, 8, 32)).contains("32"), "{}", refused(&tiff_header(8, 8, 32)));
    }

    proptest::proptest! {
        #[test]
        fn damaged_images_never_panic(
            at in proptest::collection::vec((0usize..4000, proptest::num::u8::ANY), 1..12),
            which in 0usize..7,
        ) {
            let picture = patterned(40, 30);
            let mut encoded = match which {
                0 => jpeg(&picture),
                1 => png(&picture.into()),
                _ => {
                    let mut encodings = encodings(&picture);
                    encodings.swap_remove(which % encodings.len()).1
                }
            };
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
            for signature in SIGNATURES {
                proptest::prop_assert!(decode(&[signature, &bytes].concat()).is_err());
            }
        }
    }
}
