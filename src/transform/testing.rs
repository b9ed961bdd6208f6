//! Small images for the tests of this room.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, Rgb, RgbImage};

/// A picture in which no two neighbours and no two quarters are alike.
pub(super) fn patterned(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x * 7) ^ (y * 13)) as u8])
    })
}

pub(super) fn png(picture: &DynamicImage) -> Vec<u8> {
    oriented_png(picture, 1)
}

/// As a camera that is held that way stores it: `picture` are the pixels as
/// stored.
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
