//! Small images for the tests of this room.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage};

/// A picture in which no two neighbours and no two quarters are alike.
pub(super) fn patterned(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x * 7) ^ (y * 13)) as u8])
    })
}

pub(super) fn png(picture: &DynamicImage) -> Vec<u8> {
    oriented_png(picture, 1)
}

/// A PNG with this EXIF orientation: `picture` has the pixels as stored.
pub(super) fn oriented_png(picture: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut encoder = PngEncoder::new(&mut encoded);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    let color = picture.color().into();
    encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), color).unwrap();
    encoded
}

pub(super) fn jpeg(picture: &RgbImage) -> Vec<u8> {
    oriented_jpeg(picture, 1)
}

pub(super) fn oriented_jpeg(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut encoded, 95);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.encode_image(picture).unwrap();
    encoded
}

/// The picture in each of the formats beside JPEG and PNG, by name.
pub(super) fn encodings(picture: &RgbImage) -> Vec<(&'static str, Vec<u8>)> {
    let formats = [
        ("WebP", ImageFormat::WebP),
        ("GIF", ImageFormat::Gif),
        ("BMP", ImageFormat::Bmp),
        ("TIFF", ImageFormat::Tiff),
    ];
    let encoded = formats.map(|(name, format)| {
        let mut encoded = Cursor::new(Vec::new());
        DynamicImage::from(picture.clone()).write_to(&mut encoded, format).unwrap();
        (name, encoded.into_inner())
    });
    encoded.into()
}

/// A chunk of a RIFF file.
pub(super) fn chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_le_bytes();
    let odd = if body.len() % 2 == 1 { &[0][..] } else { &[] };
    [&name[..], &length, body, odd].concat()
}

/// The directory of an RGB TIFF, and nothing else.
pub(super) fn tiff_header(width: u32, height: u32, bits: u16) -> Vec<u8> {
    let bits_at = 8 + 2 + 8 * 12 + 4;
    let entries: [(u16, u16, u32, u32); 8] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (279, 4, 1, 8),
    ];
    let mut tiff = b"II*\0\x08\0\0\0\x08\0".to_vec();
    for (tag, kind, count, value) in entries {
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    tiff.extend([bits.to_le_bytes(); 3].concat());
    tiff
}

/// A big-endian TIFF header and one entry: tag 0x112, SHORT, one of them.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif
}

/// A PNG's signature and IHDR chunk, and nothing else.
pub(super) fn png_header(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(width.to_be_bytes());
    body.extend(height.to_be_bytes());
    body.extend([bits, colour, 0, 0, 0]);
    let mut header = b"\x89PNG\r\n\x1a\n".to_vec();
    header.extend(png_chunk(*b"IHDR", &body));
    header
}

pub(super) fn png_chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = (body.len() as u32).to_be_bytes().to_vec();
    chunk.extend(name);
    chunk.extend(body);
    chunk.extend(crc(&chunk[4..]).to_be_bytes());
    chunk
}

/// CRC-32 as PNG has it (ISO 3309), a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
