//! Resizing of 8-bit images, bicubic (Catmull and Rom's kernel, a = -0.5) or
//! bilinear. Kernels are widened by the scale if the image shrinks.
//!
//! This is a separate crate because of its library. The library's functions are
//! generic over pixels and images, so they are compiled in the crate that calls
//! them, and take as long as the rest of the server. Here they are compiled
//! once.

use fast_image_resize::images::{Image, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// An image, row by row, with the channels of a pixel next to each other.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// `height * width * channels` bytes.
    pub pixels: &'a [u8],
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// From 1 to 4; each channel is resized separately.
    pub channels: usize,
}

/// How one direction of an image is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The start of the part, in pixels of the source.
    pub start: f64,
    /// The length of the part, in pixels of the source.
    pub length: f64,
    /// The number of pixels in the result.
    pub pixels: u32,
}

/// The kernel that weighs pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A triangle: one pixel to each side.
    Bilinear,
    /// Catmull and Rom's: two pixels to each side.
    Bicubic,
}

/// Resizes the part of `source` that the two spans cut out, vertically first if
/// both directions change. Each step rounds to 8 bits. The result has
/// `down.pixels` rows of `across.pixels` pixels.
///
/// # Errors
/// A text, if the sizes don't fit each other or the source.
pub fn resize(source: Source<'_>, across: Span, down: Span, kernel: Kernel) -> Result<Vec<u8>, String> {
    match source.channels {
        1 => typed::<U8>(source, across, down, kernel),
        2 => typed::<U8x2>(source, across, down, kernel),
        3 => typed::<U8x3>(source, across, down, kernel),
        4 => typed::<U8x4>(source, across, down, kernel),
        other => Err(format!("{other} channels; 1 to 4 can be resized")),
    }
}

fn typed<P: PixelTrait>(
    source: Source<'_>,
    across: Span,
    down: Span,
    kernel: Kernel,
) -> Result<Vec<u8>, String> {
    let filter = match kernel {
        Kernel::Bilinear => FilterType::Bilinear,
        Kernel::Bicubic => FilterType::CatmullRom,
    };
    let stored =
        TypedImageRef::<P>::from_buffer(source.width, source.height, source.pixels).map_err(words)?;
    let mut image = Image::new(across.pixels, down.pixels, P::pixel_type());
    let mut view = image.typed_image_mut::<P>().ok_or("an image that lost its pixels' type")?;
    // Alpha is an ordinary channel: the colour under it is used as it is
    // stored.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false).crop(
        across.start,
        down.start,
        across.length,
        down.length,
    );
    Resizer::new().resize_typed(&stored, &mut view, &options).map_err(words)?;
    Ok(image.into_vec())
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
