//! Reads a PNG's IHDR chunk before it is decoded.

use super::error::TransformError;
use super::fit::Size;
use super::format::Format;
use super::pixels::Layout;

/// Signature, length, name, and the 10 bytes of IHDR that matter here.
const HEADER_BYTES: usize = 8 + 4 + 4 + 10;

/// Reads the size and depth. The chunk's checksum is the decoder's to check.
pub(super) fn layout(encoded: &[u8]) -> Result<Layout, TransformError> {
    let undecodable = |reason: String| TransformError::Undecodable { format: Format::Png, reason };
    let header = encoded.get(8..HEADER_BYTES).ok_or_else(|| {
        undecodable(format!("is truncated: it ends after {} bytes, within its header", encoded.len()))
    })?;
    let [_, _, _, _, b'I', b'H', b'D', b'R', w3, w2, w1, w0, h3, h2, h1, h0, bits, colour] = *header else {
        return Err(undecodable("doesn't begin with an IHDR chunk".to_owned()));
    };
    let size =
        Size { height: u32::from_be_bytes([h3, h2, h1, h0]), width: u32::from_be_bytes([w3, w2, w1, w0]) };
    // At most: tRNS adds alpha to grey and RGB, a palette becomes RGBA.
    let channels = if colour == 0 { 2 } else { 4 };
    let sample = if bits == 16 { 2 } else { 1 };
    let pixels = u64::from(size.width).saturating_mul(size.height.into());
    Ok(Layout { size, bytes: pixels.saturating_mul(channels * sample) })
}
