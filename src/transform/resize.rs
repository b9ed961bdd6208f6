//! The part of an image that survives the crop, at its final size.
//!
//! Pillow's `BICUBIC`: a convolution with Catmull and Rom's kernel
//! (a = -0.5), widened by the scale where it shrinks, across first and then
//! down, rounded to 8 bits after each. Every output pixel depends only on the
//! stored pixels under its kernel, so resizing a part of the image gives the
//! same pixels as cropping it out of the whole, for less work.
//!
//! The order matters because of the rounding: down first, as the library has
//! it, is 0.2 levels off on average, across first 0.002. The two steps cost
//! a few percent of a photograph's time, most of which is decoding.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use super::decode::{Channels, Decoded};
use super::error::TransformError;
use super::fit::{Fit, Span};

/// The kernel's reach to each side, in pixels of the coarser image.
const REACH: f64 = 2.0;

/// Gives `fit.vertical.pixels` rows of `fit.horizontal.pixels`, with the
/// channels that were decoded.
pub(super) fn resize(decoded: &Decoded, fit: &Fit) -> Result<Vec<u8>, TransformError> {
    convolve(decoded, fit).map_err(TransformError::Internal)
}

fn convolve(decoded: &Decoded, fit: &Fit) -> Result<Vec<u8>, String> {
    let kind = pixel_type(decoded.channels);
    let stored = ImageRef::new(decoded.size.width, decoded.size.height, &decoded.pixels, kind)
        .map_err(|error| error.to_string())?;
    let mut resizer = Resizer::new();
    let Fit { horizontal, vertical } = *fit;
    let mut small = Image::new(horizontal.pixels, vertical.pixels, kind);
    if decoded.turn.swap_axes {
        // What is down here is across once it stands upright, and down first
        // is the library's own order.
        resizer.resize(&stored, &mut small, &part(horizontal, vertical)).map_err(words)?;
    } else {
        let rows = rows_under(vertical, decoded.size.height);
        let mut band = Image::new(horizontal.pixels, rows.pixels, kind);
        resizer.resize(&stored, &mut band, &part(horizontal, rows)).map_err(words)?;
        let whole = Span { start: 0.0, length: f64::from(horizontal.pixels), pixels: horizontal.pixels };
        let down = Span { start: vertical.start - rows.start, ..vertical };
        resizer.resize(&band, &mut small, &part(whole, down)).map_err(words)?;
    }
    Ok(small.into_vec())
}

/// The whole rows that the kernel touches, unscaled.
fn rows_under(vertical: Span, height: u32) -> Span {
    let reach = REACH * vertical.scale().max(1.0) + 1.0;
    let first = (vertical.start - reach).floor().max(0.0);
    let last = (vertical.start + vertical.length + reach).ceil().min(f64::from(height));
    Span { start: first, length: last - first, pixels: (last - first) as u32 }
}

fn part(across: Span, down: Span) -> ResizeOptions {
    // Alpha is dropped later; the colour under it is taken as it is stored.
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false).crop(
        across.start,
        down.start,
        across.length,
        down.length,
    )
}

fn pixel_type(channels: Channels) -> PixelType {
    match channels {
        Channels::Grey => PixelType::U8,
        Channels::GreyAlpha => PixelType::U8x2,
        Channels::Rgb => PixelType::U8x3,
        Channels::Rgba => PixelType::U8x4,
    }
}

fn words(error: ResizeError) -> String {
    error.to_string()
}
