//! Reads a WebP's headers before it is decoded, after RFC 9649.
//!
//! The decoder allocates memory by a frame's own size before it compares that
//! with the canvas, and by a chunk's length before it has the bytes. Both are
//! checked here first.

use super::error::TransformError;
use super::fit::Size;
use super::format::Format;
use super::pixels::Layout;

/// The file's name and length, and its format's name.
const HEAD: usize = 12;

/// A chunk: its name, and what is in it.
type Chunk<'a> = ([u8; 4], &'a [u8]);

/// How a frame is coded.
#[derive(Debug, Clone, Copy)]
struct FrameCoding {
    size: Size,
    lossless: bool,
}

/// Reads the sizes of the canvas and of the first frame, and checks that the
/// file is all there.
pub(super) fn layout(encoded: &[u8]) -> Result<Layout, TransformError> {
    let length = encoded.get(4..8).and_then(|length| length.first_chunk()).copied().map(u32::from_le_bytes);
    let whole = length.map_or(HEAD, |length| length as usize + 8);
    if encoded.len() < whole.max(HEAD) {
        let length = encoded.len();
        return Err(undecodable(&format!("is truncated: it ends after {length} bytes of {whole}")));
    }
    let mut chunks = Chunks { rest: encoded.get(HEAD..whole).unwrap_or(&[]) };
    let (name, body) = chunks.next()?.ok_or_else(|| undecodable("holds no image"))?;
    if name != *b"VP8X" {
        let frame =
            frame(name, body)?.ok_or_else(|| undecodable("begins with another chunk than an image's"))?;
        return Ok(Layout::of(frame.size, if frame.lossless { 7 } else { 5 }));
    }
    let [flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = *body else {
        return Err(undecodable("has a header that is too short"));
    };
    let canvas = Size { height: three([h0, h1, h2]) + 1, width: three([w0, w1, w2]) + 1 };
    let animated = flags & 2 != 0;
    // Frames behind the first aren't decoded.
    let mut first = None;
    while let Some((name, body)) = chunks.next()? {
        first = match name {
            _ if first.is_some() => first,
            [b'A', b'N', b'M', b'F'] if animated => inner(body)?,
            _ if !animated => frame(name, body)?,
            _ => None,
        };
    }
    let first = first.ok_or_else(|| undecodable("holds no image"))?;
    if first.size.width > canvas.width || first.size.height > canvas.height {
        return Err(undecodable("has a frame that is larger than its canvas"));
    }
    // Alpha is decoded by itself, and an animation's frame apart from its canvas.
    Ok(Layout::of(canvas, if animated { 19 } else { 11 }))
}

/// The frame in an animation's: behind its place, size and duration, and
/// perhaps alpha.
fn inner(body: &[u8]) -> Result<Option<FrameCoding>, TransformError> {
    let mut chunks = Chunks { rest: body.get(16..).unwrap_or(&[]) };
    while let Some((name, body)) = chunks.next()? {
        if let Some(frame) = frame(name, body)? {
            return Ok(Some(frame));
        }
    }
    Ok(None)
}

/// The size in a chunk of an image; `None` for any other chunk.
fn frame(name: [u8; 4], body: &[u8]) -> Result<Option<FrameCoding>, TransformError> {
    let short = || undecodable("has a frame header that is too short");
    match &name {
        b"VP8 " => {
            let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *body else { return Err(short()) };
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Ok(Some(FrameCoding {
                size: Size { height: side(h0, h1), width: side(w0, w1) },
                lossless: false,
            }))
        }
        b"VP8L" => {
            let [0x2f, b0, b1, b2, b3, ..] = *body else { return Err(short()) };
            let sides = u32::from_le_bytes([b0, b1, b2, b3]);
            let size = Size { height: (sides >> 14 & 0x3fff) + 1, width: (sides & 0x3fff) + 1 };
            Ok(Some(FrameCoding { size, lossless: true }))
        }
        _ => Ok(None),
    }
}

/// A walk along chunks.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// The next chunk; `None` at the end.
    fn next(&mut self) -> Result<Option<Chunk<'a>>, TransformError> {
        let Some((head, behind)) = self.rest.split_first_chunk::<8>() else { return Ok(None) };
        let [n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let body = behind.get(..length).ok_or_else(|| undecodable("has a chunk that is longer than it"))?;
        // An odd length is followed by a byte that makes it even.
        self.rest = behind.get(length + length % 2..).unwrap_or(&[]);
        Ok(Some(([n0, n1, n2, n3], body)))
    }
}

fn three([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

fn undecodable(reason: &str) -> TransformError {
    TransformError::Undecodable { format: Format::WebP, reason: reason.to_owned() }
}
