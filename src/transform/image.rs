//! Turns a photograph into the tensor that a vision model takes.

use std::any::Any;

use serde::Deserialize;

use super::base64::{begins_as_image, from_base64};
use super::decode::{decode, not_an_image};
use super::error::TransformError;
use super::fit::{Fit, Size, Turn};
use super::format::{looks_like_image, recognise};
use super::pixels::{Channels, Decoded};
use super::preprocessor::{Item, ItemForm, ItemKind, MadeInput, MadeRow, Preprocessor};
use super::resize::{Interpolation, resize};
use cresset_protocol::Datatype;

/// The items of `[transform.image]`: photographs as bytes, or in base64.
pub(super) const PHOTOGRAPH: ItemKind = ItemKind {
    table: "[transform.image]",
    name: "photograph",
    text: "a string in base64",
    keys: &["b64", "data", "image", "body", "file", "bytes", "image_bytes"],
    suffixes: &["jpg", "png"],
    recognise: |bytes| {
        if looks_like_image(bytes) {
            Some(ItemForm::Bytes)
        } else {
            begins_as_image(bytes).then_some(ItemForm::Text)
        }
    },
    describe: |bytes| {
        recognise(bytes).map_or_else(|| "a photograph in base64".to_owned(), |kind| kind.to_string())
    },
    refuse: not_an_image,
};

/// `[transform.image]`: a photograph to one input tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageTransform {
    input: Option<String>,
    short_side: u32,
    crop: Size,
    interpolation: Interpolation,
    /// The stored channel, red 0 to blue 2, of each of the tensor's.
    channels: [usize; 3],
    /// Whether the tensor has one channel, which is made of all.
    grey: bool,
    /// `(level / scale - mean) / std` for each of the tensor's channels, as
    /// little-endian bytes.
    levels: [Box<ChannelLevels>; 3],
}

type ChannelLevels = [[u8; 4]; 256];

/// The order of the tensor's channels. Means and deviations are given in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: how light a pixel is, as Pillow's `L` has it.
    Grey,
}

/// The declared settings of a picture, each value checked: `crop` lies within
/// `short_side`, `scale` and `std` are above 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Declared {
    pub(crate) input: Option<String>,
    pub(crate) short_side: u32,
    pub(crate) crop: Size,
    pub(crate) interpolation: Interpolation,
    pub(crate) order: ChannelOrder,
    /// What levels of 0 to 255 are divided by before anything else.
    pub(crate) scale: f32,
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
}

impl Declared {
    /// The value of a level, in torchvision's order of operations.
    pub(crate) fn value(&self, channel: usize, level: f32) -> f32 {
        (level / self.scale - self.mean[channel]) / self.std[channel]
    }
}

impl ImageTransform {
    pub(crate) fn new(declared: Declared) -> Self {
        let levels = [0, 1, 2].map(|channel: usize| -> Box<ChannelLevels> {
            Box::new(std::array::from_fn(|level| declared.value(channel, level as f32).to_le_bytes()))
        });
        let Declared { input, short_side, crop, interpolation, order, .. } = declared;
        let channels = match order {
            ChannelOrder::Rgb | ChannelOrder::Grey => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let grey = order == ChannelOrder::Grey;
        Self { input, short_side, crop, interpolation, channels, grey, levels }
    }

    /// The tensor's shape: `[1, 3, height, width]`, or one channel in the place of
    /// three.
    fn shape(&self) -> [i64; 4] {
        [1, self.planes() as i64, self.crop.height.into(), self.crop.width.into()]
    }

    fn planes(&self) -> usize {
        if self.grey { 1 } else { 3 }
    }

    /// Turns an encoded image into the tensor's bytes: FP32, little-endian, of
    /// [`shape`](Self::shape), channels apart.
    ///
    /// Its EXIF orientation is applied, the short side resized (antialiased), the
    /// middle cropped, and each level of 0 to 255 becomes
    /// `(level / scale - mean) / std`.
    ///
    /// # Errors
    /// The bytes are no image, or damaged, or the image is too large. No bytes
    /// cause a panic.
    fn apply(&self, encoded: &[u8]) -> Result<Vec<u8>, TransformError> {
        let decoded = decode(encoded)?;
        let fit = Fit::new(decoded.size, decoded.turn, self.short_side, self.crop);
        let small = resize(&decoded, &fit, self.interpolation)?;
        let Decoded { channels, turn, .. } = decoded;
        Ok(self.normalise(&small, channels, turn))
    }

    /// Upright, planar and scaled, in one pass over the small image.
    fn normalise(&self, small: &[u8], channels: Channels, turn: Turn) -> Vec<u8> {
        let (height, width) = (self.crop.height as usize, self.crop.width as usize);
        let step = channels.count();
        let pixels = Upright::new(height, width, turn);
        let mut tensor = vec![0; self.planes() * height * width * 4];
        for (plane, (levels, channel)) in
            tensor.chunks_exact_mut(height * width * 4).zip(self.levels.iter().zip(self.channels))
        {
            let channel = match channels {
                Channels::Grey | Channels::GreyAlpha => 0,
                Channels::Rgb | Channels::Rgba => channel,
            };
            for (y, row) in plane.chunks_exact_mut(width * 4).enumerate() {
                let mut at = pixels.row(y);
                for value in row.chunks_exact_mut(4) {
                    let level = match channels {
                        Channels::Rgb | Channels::Rgba if self.grey => luma(&small[at * step..]),
                        Channels::Grey | Channels::GreyAlpha | Channels::Rgb | Channels::Rgba => {
                            small[at * step + channel]
                        }
                    };
                    value.copy_from_slice(&levels[usize::from(level)]);
                    at = at.wrapping_add_signed(pixels.right);
                }
            }
        }
        tensor
    }
}

impl Preprocessor for ImageTransform {
    fn kind(&self) -> &'static ItemKind {
        &PHOTOGRAPH
    }

    fn inputs(&self) -> Vec<MadeInput> {
        let shape = self.shape().to_vec();
        vec![MadeInput { name: self.input.clone(), datatype: Datatype::Fp32, shape }]
    }

    fn preprocess(&self, item: Item) -> Result<Vec<MadeRow>, TransformError> {
        let data = match item {
            Item::Bytes(bytes) => self.apply(&bytes)?,
            Item::Text(text) => {
                let bytes = from_base64(&text)?;
                // The memory of a request is bounded: its text isn't needed any more.
                drop(text);
                self.apply(&bytes)?
            }
        };
        Ok(vec![MadeRow { shape: self.shape().to_vec(), data }])
    }

    fn equals(&self, other: &dyn Preprocessor) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }
}

/// How light a pixel is, by ITU-R 601-2, in the whole numbers that Pillow sums.
fn luma(pixel: &[u8]) -> u8 {
    let weighed = [19_595, 38_470, 7_471].iter().zip(pixel).map(|(weight, level)| weight * u32::from(*level));
    // The weights add up to 1 << 16: no sum is above 255 of that.
    ((weighed.sum::<u32>() + 0x8000) >> 16) as u8
}

/// The way over stored pixels in upright order.
struct Upright {
    /// The stored index of the upper left pixel.
    first: usize,
    /// Stored pixels from one upright column, or row, to the next.
    right: isize,
    down: isize,
}

impl Upright {
    /// `height` and `width` are the upright ones.
    fn new(height: usize, width: usize, turn: Turn) -> Self {
        let (stored_height, stored_width) = if turn.swap_axes { (width, height) } else { (height, width) };
        let mut first = 0;
        let (mut along_x, mut along_y) = (1, stored_width as isize);
        if turn.flip_x {
            first += stored_width - 1;
            along_x = -along_x;
        }
        if turn.flip_y {
            first += (stored_height - 1) * stored_width;
            along_y = -along_y;
        }
        let (right, down) = if turn.swap_axes { (along_y, along_x) } else { (along_x, along_y) };
        Self { first, right, down }
    }

    fn row(&self, y: usize) -> usize {
        self.first.wrapping_add_signed(self.down * y as isize)
    }
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;
    use image::{DynamicImage, RgbImage};

    use super::super::testing::{jpeg, oriented_jpeg, oriented_png, patterned, png};
    use super::*;

    const PLAIN: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);

    fn declared(
        short_side: u32,
        crop: Size,
        order: ChannelOrder,
        (mean, std): ([f32; 3], [f32; 3]),
    ) -> Declared {
        let interpolation = Interpolation::Bicubic;
        Declared { input: None, short_side, crop, interpolation, order, scale: 1.0, mean, std }
    }

    fn transform(short_side: u32, height: u32, width: u32, order: ChannelOrder) -> ImageTransform {
        ImageTransform::new(declared(short_side, Size { height, width }, order, PLAIN))
    }

    fn values(tensor: &[u8]) -> Vec<f32> {
        tensor.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
    }

    /// The levels of a picture, channels apart.
    fn planes(picture: &RgbImage) -> Vec<f32> {
        (0..3).flat_map(|channel| picture.pixels().map(move |pixel| f32::from(pixel[channel]))).collect()
    }

    #[test]
    fn every_orientation_stands_upright_before_the_crop() {
        // Not resized, and cropped with odd margins on both axes, so that each
        // pixel has one right place.
        let transform = transform(5, 4, 2, ChannelOrder::Rgb);
        for orientation in 1..=8 {
            let (width, height) = if orientation < 5 { (9, 5) } else { (5, 9) };
            let stored = DynamicImage::from(patterned(width, height));
            let mut upright = stored.clone();
            upright.apply_orientation(Orientation::from_exif(orientation).unwrap());
            assert_eq!((upright.width(), upright.height()), (9, 5));
            // round((9 - 2) / 2.0) == 4, round((5 - 4) / 2.0) == 0
            let expected = upright.crop_imm(4, 0, 2, 4).to_rgb8();
            let tensor = transform.apply(&oriented_png(&stored, orientation)).unwrap();
            assert_eq!(values(&tensor), planes(&expected), "orientation {orientation}");
        }
    }

    #[test]
    fn a_jpeg_stands_upright_as_its_png_does() {
        let transform = transform(32, 24, 28, ChannelOrder::Rgb);
        let stored = patterned(61, 47);
        for orientation in 1..=8 {
            let from_png =
                values(&transform.apply(&oriented_png(&stored.clone().into(), orientation)).unwrap());
            let from_jpeg = values(&transform.apply(&oriented_jpeg(&stored, orientation)).unwrap());
            let apart: f32 = from_png.iter().zip(&from_jpeg).map(|(a, b)| (a - b).abs()).sum();
            assert!(apart / (from_png.len() as f32) < 4.0, "orientation {orientation}: {apart}");
        }
    }

    #[test]
    fn grey_and_alpha_become_three_channels() {
        let grey = DynamicImage::from(patterned(12, 8)).to_luma8();
        let transform = transform(8, 8, 8, ChannelOrder::Rgb);
        let plain = transform.apply(&png(&grey.clone().into())).unwrap();
        let tripled = transform.apply(&png(&DynamicImage::from(grey.clone()).to_rgb8().into())).unwrap();
        assert_eq!(plain, tripled);
        let mut alpha = DynamicImage::from(grey).to_luma_alpha8();
        alpha.pixels_mut().enumerate().for_each(|(index, pixel)| pixel.0[1] = index as u8);
        assert_eq!(transform.apply(&png(&alpha.into())).unwrap(), plain);
    }

    #[test]
    fn the_colour_under_alpha_is_taken_as_it_is_stored() {
        let picture = patterned(40, 30);
        let transform = transform(16, 16, 16, ChannelOrder::Rgb);
        let opaque = values(&transform.apply(&png(&picture.clone().into())).unwrap());
        let mut clear = DynamicImage::from(picture).to_rgba8();
        clear.pixels_mut().enumerate().for_each(|(index, pixel)| pixel.0[3] = index as u8);
        let clear = values(&transform.apply(&png(&clear.into())).unwrap());
        assert!(opaque.iter().zip(&clear).all(|(a, b)| (a - b).abs() <= 1.0));
    }

    #[test]
    fn channels_are_ordered_and_scaled() {
        let picture = RgbImage::from_pixel(2, 2, image::Rgb([10, 20, 30]));
        let of = |order, mean, std| {
            let transform =
                ImageTransform::new(declared(1, Size { height: 1, width: 1 }, order, (mean, std)));
            values(&transform.apply(&png(&picture.clone().into())).unwrap())
        };
        assert_eq!(of(ChannelOrder::Rgb, [0.0; 3], [1.0; 3]), [10.0, 20.0, 30.0]);
        assert_eq!(of(ChannelOrder::Bgr, [0.0; 3], [1.0; 3]), [30.0, 20.0, 10.0]);
        // As Image.convert("L") has it.
        assert_eq!(of(ChannelOrder::Grey, [0.0; 3], [1.0; 3]), [18.0]);
        assert_eq!(of(ChannelOrder::Grey, [8.0; 3], [5.0; 3]), [2.0]);
        let white = RgbImage::from_pixel(2, 2, image::Rgb([255; 3]));
        let grey = declared(1, Size { height: 1, width: 1 }, ChannelOrder::Grey, PLAIN);
        let grey = ImageTransform::new(grey);
        assert_eq!(grey.shape(), [1, 1, 1, 1]);
        assert_eq!(values(&grey.apply(&png(&white.into())).unwrap()), [255.0]);
        assert_eq!(of(ChannelOrder::Bgr, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0]), [30.0, 9.5, 8.0 / 3.0]);
    }

    #[test]
    fn the_narrowest_image_costs_what_a_square_one_does() {
        let transform = transform(256, 224, 224, ChannelOrder::Rgb);
        let line = transform.apply(&jpeg(&patterned(1, 60_000))).unwrap();
        assert_eq!(line.len(), 3 * 224 * 224 * 4);
        let dot = transform.apply(&png(&patterned(1, 1).into())).unwrap();
        assert_eq!(values(&dot), vec![0.0; 3 * 224 * 224]);
    }
}
