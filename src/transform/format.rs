//! Recognises formats by their first bytes.

use std::fmt;

use super::error::TransformError;

/// The encodings of images that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG, baseline or progressive, of 8 bits.
    Jpeg,
    /// PNG of any colour type and depth, interlaced or not.
    Png,
    /// WebP, lossy or lossless; of an animation the first frame.
    WebP,
    /// GIF; of an animation the first frame.
    Gif,
    /// BMP of any depth, packed or not.
    Bmp,
    /// TIFF of grey, RGB or CMYK, of 8 or 16 bits; of several pages the first.
    Tiff,
}

/// The names of these formats, for a client that sent another.
pub(super) const TAKEN: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// What bytes are by their beginning. It says nothing of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An image that is taken.
    Taken(Format),
    /// A picture, or a document often sent as one, of a format that isn't
    /// taken: its name with its article.
    NotTaken(&'static str),
    /// An image whose first bytes have lost line breaks and zeros: `curl -d
    /// @file` removes them.
    Stripped(Format),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        })
    }
}

/// With its article.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(format) | Self::Stripped(format) => write!(f, "a {format}"),
            Self::NotTaken(name) => f.write_str(name),
        }
    }
}

impl Kind {
    /// The format, if it is taken.
    pub(super) fn taken(self) -> Result<Format, TransformError> {
        match self {
            Self::Taken(format) => Ok(format),
            Self::NotTaken(name) => Err(TransformError::NotTaken { name }),
            Self::Stripped(format) => Err(TransformError::Stripped { format }),
        }
    }
}

/// Whether the bytes begin as an image does, be it of a format that is taken
/// or of one that is known by name.
pub(super) fn looks_like_image(bytes: &[u8]) -> bool {
    recognise(bytes).is_some()
}

/// The kind of the bytes, if their beginning is known.
pub(super) fn recognise(bytes: &[u8]) -> Option<Kind> {
    taken(bytes).map(Kind::Taken).or_else(|| stripped(bytes)).or_else(|| not_taken(bytes).map(Kind::NotTaken))
}

fn taken(bytes: &[u8]) -> Option<Format> {
    Some(match bytes {
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Format::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::WebP,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        // 43 instead of 42: BigTIFF, with 64 bits.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Format::Tiff,
        // Two letters say too little, so the length of the header must be a
        // known one, too.
        [
            b'B',
            b'M',
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            12 | 16 | 40 | 52 | 56 | 64 | 108 | 124,
            0,
            0,
            0,
            ..,
        ] => Format::Bmp,
        _ => return None,
    })
}

fn stripped(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        // Whichever of its line breaks are left.
        [0x89, b'P', b'N', b'G', ..] => Some(Kind::Stripped(Format::Png)),
        [b'R', b'I', b'F', b'F', rest @ ..] => {
            let head = rest.get(..8).unwrap_or(rest);
            head.windows(4).any(|word| word == b"WEBP").then_some(Kind::Stripped(Format::WebP))
        }
        [b'I', b'I', 42, 8, ..] | [b'M', b'M', 42, 8, ..] => Some(Kind::Stripped(Format::Tiff)),
        _ => None,
    }
}

fn not_taken(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => iso_media(bytes),
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "a JPEG XL image",
        [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => "a JPEG 2000 image",
        [b'8', b'B', b'P', b'S', ..] => "a PSD (Photoshop) image",
        [0, 0, 1, 0, images, 0, ..] if *images > 0 => "an ICO (icon) image",
        [b'%', b'P', b'D', b'F', b'-', ..] => "a PDF document",
        _ if is_svg(bytes) => "an SVG image",
        _ => return None,
    })
}

/// What a file of boxes (ISO/IEC 14496-12) is, by the brands in its first box.
fn iso_media(bytes: &[u8]) -> &'static str {
    /// As many brands as any camera writes.
    const MOST: usize = 64;
    let length = bytes.first_chunk().map_or(0, |length: &[u8; 4]| u32::from_be_bytes(*length) as usize);
    let first = bytes.get(..length.clamp(12, MOST)).unwrap_or(bytes);
    let brands = || first.get(8..).unwrap_or(&[]).chunks_exact(4);
    if brands().any(|brand| matches!(brand, b"avif" | b"avis")) {
        "an AVIF image"
    } else if brands().any(|brand| {
        matches!(
            brand,
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" | b"mif1" | b"msf1"
        )
    }) {
        "a HEIC (HEIF) image"
    } else {
        "an MP4 or QuickTime video"
    }
}

/// Whether it is text in which an SVG's first tag comes soon.
fn is_svg(bytes: &[u8]) -> bool {
    /// A declaration and a comment or two fit in before it.
    const SOON: usize = 1024;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    text.first() == Some(&b'<') && text[..text.len().min(SOON)].windows(4).any(|tag| tag == b"<svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_first_bytes() {
        for (bytes, kind) in [
            (&b"\xff\xd8\xff\xe0"[..], "a JPEG"),
            (b"\x89PNG\r\n\x1a\n", "a PNG"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP"),
            (b"GIF87a\x01\0", "a GIF"),
            (b"GIF89a\x01\0", "a GIF"),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a BMP"),
            (b"II\x2a\0\x08\0\0\0", "a TIFF"),
            (b"MM\0\x2b\0\x08\0\0", "a TIFF"),
            (b"\0\0\0\x1cftypavif\0\0\0\0mif1", "an AVIF image"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0avif", "an AVIF image"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC (HEIF) image"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "a HEIC (HEIF) image"),
            (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", "an MP4 or QuickTime video"),
            (b"\xff\x0a\xfa", "a JPEG XL image"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
            (b"\xff\x4f\xff\x51\0", "a JPEG 2000 image"),
            (b"8BPS\0\x01", "a PSD (Photoshop) image"),
            (b"\0\0\x01\0\x02\0\x10\x10", "an ICO (icon) image"),
            (b"%PDF-1.7", "a PDF document"),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\">", "an SVG image"),
            (b"\xef\xbb\xbf \n<?xml version=\"1.0\"?>\n<!-- a comment -->\n<svg>", "an SVG image"),
        ] {
            assert!(looks_like_image(bytes), "{kind}");
            assert_eq!(recognise(bytes).unwrap().to_string(), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn text_and_numbers_are_none() {
        for bytes in [
            &b""[..],
            b"hello",
            b"{\"x\": [1]}",
            b"BM",
            b"BMW is a car, and no image",
            b"<html><body>",
            b"II",
            b"RIFF\x10\0\0\0WAVE",
        ] {
            assert_eq!(recognise(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn what_a_form_did_to_an_image_is_seen() {
        let stripped = |bytes: &[u8]| matches!(recognise(bytes), Some(Kind::Stripped(_)));
        assert!(stripped(b"\x89PNG\x1aIHDR"));
        assert!(stripped(b"RIFF\xceAWEBPVP8 "));
        assert!(stripped(b"II*\x08\x10"));
    }
}
