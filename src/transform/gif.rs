//! A GIF's first frame on its screen, as in Pillow. The area beside the frame
//! has the colour of the transparent index, or else the first colour. A screen
//! that is too small for the frame grows.

use gif::{ColorOutput, DecodeOptions, DecodingError};
use image::error::ImageFormatHint;
use image::{ImageError, ImageFormat};

use super::error::TransformError;
use super::fit::{Size, Turn};
use super::format::Format;
use super::pixels::{Channels, Decoded, Layout, check, explain};

/// The place of the frame on the screen, and the colour beside it.
#[derive(Debug, Clone, Copy)]
struct FramePlace {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// The index of the colour beside it.
    beside: u8,
}

/// Decodes the first frame, to RGB.
pub(super) fn decode(encoded: &[u8]) -> Result<Decoded, TransformError> {
    let explained = |error| explain(Format::Gif, encoded.len(), &as_image_error(error));
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(encoded).map_err(explained)?;
    let screen = Size { height: decoder.height().into(), width: decoder.width().into() };
    check(Format::Gif, Layout::of(screen, 3))?;
    let frame = decoder.next_frame_info().map_err(explained)?;
    let Some(frame) = frame.filter(|frame| frame.width > 0 && frame.height > 0) else {
        return Err(TransformError::Undecodable { format: Format::Gif, reason: "has no frame".to_owned() });
    };
    let place = FramePlace {
        left: frame.left.into(),
        top: frame.top.into(),
        width: frame.width.into(),
        height: frame.height.into(),
        beside: frame.transparent.unwrap_or(0),
    };
    let size = Size {
        height: screen.height.max(u32::from(frame.top) + u32::from(frame.height)),
        width: screen.width.max(u32::from(frame.left) + u32::from(frame.width)),
    };
    // One byte for the index of each pixel, and three for its colour.
    check(Format::Gif, Layout::of(size, 4))?;
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(explained)?;
    let pixels = lay(&indices, place, size, decoder.palette().ok());
    let turn = Turn::from(image::metadata::Orientation::NoTransforms);
    Ok(Decoded { size, channels: Channels::Rgb, pixels, turn })
}

/// Puts the frame onto its screen. Without a palette indices are levels of
/// grey.
fn lay(indices: &[u8], place: FramePlace, size: Size, palette: Option<&[u8]>) -> Vec<u8> {
    let colours: Vec<[u8; 3]> = (0..=u8::MAX)
        .map(|index| match palette {
            Some(palette) => palette.as_chunks::<3>().0.get(usize::from(index)).copied().unwrap_or_default(),
            None => [index; 3],
        })
        .collect();
    let colour = |index: u8| colours[usize::from(index)];
    let (height, width) = (size.height as usize, size.width as usize);
    let whole = (place.width, place.height) == (width, height);
    if whole {
        return indices.iter().flat_map(|index| colour(*index)).collect();
    }
    let mut pixels = colour(place.beside).repeat(height * width);
    for (row, indices) in indices.chunks_exact(place.width.max(1)).take(place.height).enumerate() {
        let first = ((place.top + row) * width + place.left) * 3;
        for (pixel, index) in pixels[first..].chunks_exact_mut(3).zip(indices) {
            pixel.copy_from_slice(&colour(*index));
        }
    }
    pixels
}

fn as_image_error(error: DecodingError) -> ImageError {
    if let DecodingError::Io(error) = error {
        return ImageError::IoError(error);
    }
    let format = ImageFormatHint::Exact(ImageFormat::Gif);
    ImageError::Decoding(image::error::DecodingError::new(format, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two colours, and a frame of 2 x 1 of the second on a screen of 1 x 2.
    fn tiny(frame: [u8; 4], transparent: Option<u8>) -> Vec<u8> {
        let mut gif = b"GIF89a\x01\0\x02\0\x80\0\0\x01\x02\x03\x04\x05\x06".to_vec();
        if let Some(index) = transparent {
            gif.extend([b'!', 0xf9, 4, 1, 0, 0, index, 0]);
        }
        let [left, top, width, height] = frame;
        gif.extend([b',', left, 0, top, 0, width, 0, height, 0, 0]);
        // Codes of 3 bits: clear, 1, 1, end.
        gif.extend([2, 2, 0b0100_1100, 0b0000_1010, 0, b';']);
        gif
    }

    #[test]
    fn a_frame_lies_on_a_screen_that_is_large_enough() {
        let of = |gif: &[u8]| decode(gif).map(|decoded| (decoded.size, decoded.pixels));
        let (none, one) = ([1, 2, 3], [4, 5, 6]);
        let size = Size { height: 2, width: 2 };
        assert_eq!(of(&tiny([0, 1, 2, 1], None)), Ok((size, [none, none, one, one].concat())));
        assert_eq!(of(&tiny([0, 0, 2, 1], Some(1))), Ok((size, [one; 4].concat())));
        assert_eq!(of(&tiny([0, 0, 1, 2], None)), Ok((Size { height: 2, width: 1 }, [one; 2].concat())));
        assert_eq!(of(&tiny([0, 0, 0, 0], None)).unwrap_err().to_string(), "the GIF has no frame");
    }
}
