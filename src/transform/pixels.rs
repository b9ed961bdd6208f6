//! What every decoder promises, is held to and gives.

use std::error::Error as _;
use std::io::ErrorKind;

use image::ImageError;

use super::error::TransformError;
use super::fit::{Size, Turn};
use super::format::Format;

/// The most pixels that one image may have: Pillow's `MAX_IMAGE_PIXELS`, a
/// quarter of a GiB of RGB.
const MAX_PIXELS: u64 = 1024 * 1024 * 1024 / 4 / 3;

/// The most memory for decoding one image, in bytes: `MAX_PIXELS` of RGB and
/// the coefficients of a progressive JPEG with halved colour.
pub(super) const MAX_BYTES: u64 = 512 << 20;

/// What a header promises.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) size: Size,
    /// What decoding allocates, about.
    pub(super) bytes: u64,
}

impl Layout {
    /// Of so many bytes for each pixel.
    pub(super) fn of(size: Size, bytes: u64) -> Self {
        Self { size, bytes: u64::from(size.width).saturating_mul(size.height.into()).saturating_mul(bytes) }
    }
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

/// Refuses sizes that are nothing or too much.
pub(super) fn check(format: Format, Layout { size, bytes }: Layout) -> Result<(), TransformError> {
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

/// A decoder's error in our words, with its own as the cause.
pub(super) fn explain(format: Format, length: usize, error: &ImageError) -> TransformError {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let cause = cause.trim().trim_matches('"');
    if matches!(error, ImageError::Limits(_)) {
        return TransformError::TooLarge { format, reason: cause.to_owned() };
    }
    if matches!(error, ImageError::Unsupported(_)) {
        let kinds = match format {
            Format::Tiff => ": grey, RGB and CMYK are, of 8 or 16 bits",
            Format::Jpeg | Format::Png | Format::WebP | Format::Gif | Format::Bmp => "",
        };
        let reason = format!("is of a kind that isn't read{kinds} ({cause})");
        return TransformError::Undecodable { format, reason };
    }
    let reason = if ended(error) || cause.eq_ignore_ascii_case("unexpected end of file") {
        format!("is truncated: it ends after {length} bytes, before its last pixels")
    } else {
        format!("can't be decoded: {cause}")
    };
    TransformError::Undecodable { format, reason }
}

/// Whether it is the end of the bytes that came too soon, however deep a
/// decoder's error holds that.
fn ended(error: &ImageError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io: Option<&std::io::Error> = error.downcast_ref();
        if io.is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    // One that the library wraps without handing it on.
    matches!(error, ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof)
}
