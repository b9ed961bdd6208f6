//! Where the pixels that survive resizing and cropping lie, in whole numbers.
//!
//! The formulas are torchvision's `Resize(short_side)` and `CenterCrop`:
//! the long side is `⌊short_side · long / short⌋`, and the crop starts at
//! `(size - crop) / 2` with halves rounded to the even neighbour.

use cresset_bicubic::Span;
use image::metadata::Orientation;

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) height: u32,
    pub(crate) width: u32,
}

/// How stored pixels become upright ones: upright `(y, x)` is stored at `(y,
/// x)`, or at `(x, y)` if the axes are swapped. On a flipped axis it is counted
/// from the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) swap_axes: bool,
    pub(super) flip_x: bool,
    pub(super) flip_y: bool,
}

impl From<Orientation> for Turn {
    fn from(orientation: Orientation) -> Self {
        let (swap_axes, flip_x, flip_y) = match orientation {
            Orientation::NoTransforms => (false, false, false),
            Orientation::FlipHorizontal => (false, true, false),
            Orientation::Rotate180 => (false, true, true),
            Orientation::FlipVertical => (false, false, true),
            Orientation::Rotate90FlipH => (true, false, false),
            Orientation::Rotate90 => (true, false, true),
            Orientation::Rotate270FlipH => (true, true, true),
            Orientation::Rotate270 => (true, true, false),
        };
        Self { swap_axes, flip_x, flip_y }
    }
}

/// The part of a stored image that is needed, and the size that it gets. Both
/// in the stored image's axes: it is turned upright when it is small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) horizontal: Span,
    pub(super) vertical: Span,
}

impl Fit {
    /// `crop`, upright, lies within `short_side`: the configuration was
    /// checked. `stored` has pixels.
    pub(super) fn new(stored: Size, turn: Turn, short_side: u32, crop: Size) -> Self {
        let short = stored.height.min(stored.width);
        let resized = |side: u32| u64::from(short_side) * u64::from(side) / u64::from(short);
        let (crop_x, crop_y) =
            if turn.swap_axes { (crop.height, crop.width) } else { (crop.width, crop.height) };
        Self {
            horizontal: cut(stored.width, resized(stored.width), crop_x, turn.flip_x),
            vertical: cut(stored.height, resized(stored.height), crop_y, turn.flip_y),
        }
    }
}

/// One axis: the stored pixels under the middle `crop` of `resized` ones.
fn cut(stored: u32, resized: u64, crop: u32, flipped: bool) -> Span {
    let margin = resized.saturating_sub(u64::from(crop));
    let before = half_to_even(margin);
    let start = if flipped { margin - before } else { before };
    // One division each, so that a crop of everything is exact.
    let scaled = |pixels: u64| pixels as f64 * f64::from(stored) / resized as f64;
    let start = scaled(start);
    let length = scaled(u64::from(crop)).min(f64::from(stored) - start);
    Span { start, length, pixels: crop }
}

/// `n / 2`, halves to the even neighbour, as Python's `round` does.
fn half_to_even(n: u64) -> u64 {
    let half = n / 2;
    if n % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPRIGHT: Turn = Turn { swap_axes: false, flip_x: false, flip_y: false };

    #[test]
    fn crops_start_where_python_rounds_to() {
        // [round(n / 2.0) for n in range(12)]
        let starts: Vec<u64> = (0..12).map(half_to_even).collect();
        assert_eq!(starts, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6]);
    }

    #[test]
    fn the_short_side_is_met_and_the_long_one_rounds_down() {
        // 451 x 300 becomes 384 x 256, cropped from (16, 80).
        let fit = Fit::new(Size { height: 300, width: 451 }, UPRIGHT, 256, Size { height: 224, width: 224 });
        assert_eq!(fit.vertical.start, 16.0 * 300.0 / 256.0);
        assert_eq!(fit.horizontal.start, 80.0 * 451.0 / 384.0);
        assert_eq!(fit.horizontal.length, 224.0 * 451.0 / 384.0);
        assert_eq!(fit.horizontal.pixels, 224);
    }

    #[test]
    fn an_odd_margin_keeps_its_upright_side_when_stored_flipped() {
        // 257 to 224 leaves 33: 16 before (round(16.5)) and 17 after.
        let stored = Size { height: 257, width: 257 };
        let crop = Size { height: 224, width: 224 };
        let upright = Fit::new(stored, UPRIGHT, 257, crop);
        assert_eq!((upright.horizontal.start, upright.vertical.start), (16.0, 16.0));
        let turned = Fit::new(stored, Turn { flip_x: true, ..UPRIGHT }, 257, crop);
        assert_eq!((turned.horizontal.start, turned.vertical.start), (17.0, 16.0));
    }

    #[test]
    fn a_crop_of_everything_is_exact_and_none_leaves_the_image() {
        for side in 1..2000 {
            let stored = Size { height: side, width: side * 3 + 1 };
            let fit = Fit::new(stored, UPRIGHT, 224, Size { height: 224, width: 224 });
            assert_eq!((fit.vertical.start, fit.vertical.length), (0.0, f64::from(side)));
            assert!(fit.horizontal.start + fit.horizontal.length <= f64::from(stored.width));
        }
    }
}
