//! The part of an image that survives the crop, at its final size.
//!
//! Pillow's `BICUBIC` and `BILINEAR`: a convolution with Catmull and Rom's
//! kernel (a = -0.5) or with a triangle, which is widened by the scale if the
//! image shrinks. It goes across first and then down, and is rounded to 8 bits
//! after each. Every output pixel depends only on the stored pixels under its
//! kernel, so resizing a part of the image gives the same pixels as cropping it
//! out of the whole, for less work.
//!
//! The order matters because of the rounding: down first, as in the library, is
//! 0.2 levels off on average; across first is 0.002. The two steps cost a few
//! percent of a photograph's time, most of which is decoding.

use cresset_bicubic::{Kernel, Source, Span};
use serde::Deserialize;

use super::error::TransformError;
use super::fit::Fit;
use super::pixels::Decoded;

/// How a pixel is computed from its neighbours; both kernels are antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interpolation {
    /// Torchvision's default.
    Bilinear,
    /// Sharper.
    #[default]
    Bicubic,
}

impl Interpolation {
    fn kernel(self) -> Kernel {
        match self {
            Self::Bilinear => Kernel::Bilinear,
            Self::Bicubic => Kernel::Bicubic,
        }
    }

    /// The kernel's reach to each side, in pixels of the coarser image.
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }
}

/// Gives `fit.vertical.pixels` rows of `fit.horizontal.pixels`, with the
/// channels that were decoded.
pub(super) fn resize(
    decoded: &Decoded,
    fit: &Fit,
    interpolation: Interpolation,
) -> Result<Vec<u8>, TransformError> {
    convolve(decoded, fit, interpolation).map_err(TransformError::Internal)
}

fn convolve(decoded: &Decoded, fit: &Fit, interpolation: Interpolation) -> Result<Vec<u8>, String> {
    let kernel = interpolation.kernel();
    let stored = Source {
        pixels: &decoded.pixels,
        width: decoded.size.width,
        height: decoded.size.height,
        channels: decoded.channels.count(),
    };
    let Fit { horizontal, vertical } = *fit;
    if decoded.turn.swap_axes {
        // Down becomes across when the image is upright, and the library goes
        // down first.
        return cresset_bicubic::resize(stored, horizontal, vertical, kernel);
    }
    let rows = rows_under(vertical, stored.height, interpolation.reach());
    let band = cresset_bicubic::resize(stored, horizontal, rows, kernel)?;
    let band = Source { pixels: &band, width: horizontal.pixels, height: rows.pixels, ..stored };
    let whole = Span { start: 0.0, length: f64::from(horizontal.pixels), pixels: horizontal.pixels };
    let down = Span { start: vertical.start - rows.start, ..vertical };
    cresset_bicubic::resize(band, whole, down, kernel)
}

/// The whole rows that the kernel touches, unscaled.
fn rows_under(vertical: Span, height: u32, reach: f64) -> Span {
    let scale = vertical.length / f64::from(vertical.pixels);
    let reach = reach * scale.max(1.0) + 1.0;
    let first = (vertical.start - reach).floor().max(0.0);
    let last = (vertical.start + vertical.length + reach).ceil().min(f64::from(height));
    Span { start: first, length: last - first, pixels: (last - first) as u32 }
}
