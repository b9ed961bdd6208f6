//! Reads a JPEG's headers before it is decoded, after ITU-T T.81.
//!
//! The decoder is lenient on purpose: it fills missing data with grey and
//! reports nothing. So the sizes and the completeness of the data are checked
//! here first. The rules are those of Pillow over libjpeg: everything after the
//! end marker is ignored, a file without an end marker is truncated, and damage
//! between the two shows as grey or odd blocks.

use super::error::TransformError;
use super::fit::Size;
use super::format::Format;
use super::pixels::Layout;

/// A frame header's facts.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    size: Size,
    components: u8,
    progressive: bool,
    /// Blocks of 8 x 8 samples over all components.
    blocks: u64,
}

/// Reads the headers up to the first scan and finds the end marker.
pub(super) fn layout(encoded: &[u8]) -> Result<Layout, TransformError> {
    let mut walk = MarkerWalk { encoded, at: 2 };
    let mut frame: Option<FrameHeader> = None;
    loop {
        let (marker, body) = walk.segment()?;
        match marker {
            0xc0..=0xc2 if frame.is_none() => frame = Some(FrameHeader::parse(marker, body)?),
            // The decoder takes one frame; a second one would be unchecked.
            0xc0..=0xc2 => return Err(undecodable("has a second frame header")),
            // DHT, JPG and DAC share the range of the frame headers.
            0xc3..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Err(undecodable(
                    "is lossless, hierarchical or arithmetic-coded: baseline and progressive ones are taken",
                ));
            }
            0xd9 => return Err(undecodable("ends before its first scan")),
            0xda => {
                let frame = frame.ok_or_else(|| undecodable("has a scan and no frame header"))?;
                // libjpeg would fill missing data with grey.
                if frame.blocks.div_ceil(8) > encoded.len() as u64 {
                    return Err(undecodable(&format!(
                        "is truncated: {} x {} pixels take at least {} bytes, and there are {}",
                        frame.size.width,
                        frame.size.height,
                        frame.blocks.div_ceil(8),
                        encoded.len()
                    )));
                }
                walk.end()?;
                return Ok(frame.layout(body.first().copied().unwrap_or(0)));
            }
            _ => {}
        }
    }
}

impl FrameHeader {
    fn parse(marker: u8, body: &[u8]) -> Result<Self, TransformError> {
        let [bits, height_1, height_0, width_1, width_0, components, specs @ ..] = body else {
            return Err(undecodable("has a frame header that is too short"));
        };
        if *bits != 8 {
            return Err(undecodable(&format!("has {bits} bits a sample: 8 are taken")));
        }
        if !matches!(*components, 1 | 3 | 4) {
            return Err(undecodable(&format!(
                "has {components} components: 1 (grey), 3 (YCbCr or RGB) and 4 (CMYK) are taken"
            )));
        }
        let size = Size {
            height: u16::from_be_bytes([*height_1, *height_0]).into(),
            width: u16::from_be_bytes([*width_1, *width_0]).into(),
        };
        let sampling: Vec<(u32, u32)> = specs
            .chunks_exact(3)
            .take((*components).into())
            .map(|spec| (u32::from(spec[1] >> 4), u32::from(spec[1] & 15)))
            .collect();
        let valid = |(across, down): &(u32, u32)| (1..=4).contains(across) && (1..=4).contains(down);
        if sampling.len() != usize::from(*components) || !sampling.iter().all(valid) {
            return Err(undecodable("has a frame header with sampling factors out of range"));
        }
        let widest = sampling.iter().map(|(across, _)| *across).max().unwrap_or(1);
        let tallest = sampling.iter().map(|(_, down)| *down).max().unwrap_or(1);
        let blocks =
            |side: u32, factor: u32, largest: u32| u64::from((side * factor).div_ceil(largest).div_ceil(8));
        let blocks = sampling
            .iter()
            .map(|(across, down)| blocks(size.width, *across, widest) * blocks(size.height, *down, tallest))
            .sum();
        Ok(Self { size, components: *components, progressive: marker == 0xc2, blocks })
    }

    fn layout(&self, components_in_scan: u8) -> Layout {
        let channels = if self.components == 1 { 1 } else { 3 };
        let pixels = u64::from(self.size.width) * u64::from(self.size.height);
        // Scans that complete each other are gathered as coefficients of 16 bits.
        let gathered = self.progressive || components_in_scan < self.components;
        let coefficients = if gathered { self.blocks * 64 * 2 } else { 0 };
        Layout { size: self.size, bytes: pixels * channels + coefficients }
    }
}

/// A walk along the markers.
struct MarkerWalk<'a> {
    encoded: &'a [u8],
    at: usize,
}

impl<'a> MarkerWalk<'a> {
    /// The next marker and the segment behind it, if it has one. Stray bytes
    /// before a marker are passed over, as other decoders do.
    fn segment(&mut self) -> Result<(u8, &'a [u8]), TransformError> {
        let marker = self.marker()?;
        if matches!(marker, 0x01 | 0xd0..=0xd9) {
            return Ok((marker, &[]));
        }
        let rest = self.encoded.get(self.at..).unwrap_or_default();
        let length = match rest {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(self.truncated()),
        };
        if length < 2 {
            return Err(undecodable(&format!("has a segment (marker ff {marker:02x}) without a length")));
        }
        let body = rest.get(2..length).ok_or_else(|| self.truncated())?;
        self.at += length;
        Ok((marker, body))
    }

    /// The next byte behind an `ff` that is neither stuffing nor filling.
    fn marker(&mut self) -> Result<u8, TransformError> {
        loop {
            let rest = self.encoded.get(self.at..).unwrap_or_default();
            let found = rest.iter().position(|byte| *byte == 0xff).ok_or_else(|| self.truncated())?;
            let marker = *rest.get(found + 1).ok_or_else(|| self.truncated())?;
            self.at += found + if marker == 0xff { 1 } else { 2 };
            if !matches!(marker, 0x00 | 0xff) {
                return Ok(marker);
            }
        }
    }

    /// Goes over the scans to the end marker.
    fn end(&mut self) -> Result<(), TransformError> {
        // Scans hold no `ff d9`, so a file cut short doesn't end with one.
        if self.encoded.ends_with(&[0xff, 0xd9]) {
            return Ok(());
        }
        while self.segment()?.0 != 0xd9 {}
        Ok(())
    }

    fn truncated(&self) -> TransformError {
        undecodable(&format!(
            "is truncated: it ends after {} bytes without an end marker",
            self.encoded.len()
        ))
    }
}

fn undecodable(reason: &str) -> TransformError {
    TransformError::Undecodable { format: Format::Jpeg, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::super::testing::{jpeg, patterned};
    use super::*;

    fn refused(encoded: &[u8]) -> String {
        decode(encoded).unwrap_err().to_string()
    }

    /// The signature, a frame header and a scan header without data.
    fn headers(marker: u8, height: u16, width: u16, components: u8) -> Vec<u8> {
        let mut encoded = vec![0xff, 0xd8, 0xff, marker, 0, 8 + 3 * components, 8];
        encoded.extend(height.to_be_bytes());
        encoded.extend(width.to_be_bytes());
        encoded.push(components);
        encoded.extend((0..components).flat_map(|index| [index + 1, 0x11, 0]));
        encoded.extend([0xff, 0xda, 0, 6 + 2 * components, components]);
        encoded.extend((0..components).flat_map(|index| [index + 1, 0]));
        encoded.extend([0, 63, 0]);
        encoded
    }

    #[test]
    fn cut_short_at_any_tenth_it_says_so() {
        let whole = jpeg(&patterned(64, 48));
        assert!(decode(&whole).is_ok());
        for tenth in 1..10 {
            let length = whole.len() * tenth / 10;
            let expected =
                format!("the JPEG is truncated: it ends after {length} bytes without an end marker");
            assert_eq!(refused(&whole[..length]), expected);
        }
        assert!(refused(&whole[..whole.len() - 1]).contains("is truncated"));
    }

    #[test]
    fn what_follows_the_end_marker_is_passed_over() {
        let picture = patterned(64, 48);
        let mut encoded = jpeg(&picture);
        let pixels = decode(&encoded).unwrap().pixels;
        encoded.extend_from_slice(b"\xff\xd8 a film of the moment before");
        assert_eq!(decode(&encoded).unwrap().pixels, pixels);
    }

    #[test]
    fn a_size_without_the_data_for_it_costs_nothing() {
        let mut empty = headers(0xc2, 8000, 8000, 1);
        empty.extend([0xff, 0xd9]);
        assert_eq!(
            refused(&empty),
            "the JPEG is truncated: 8000 x 8000 pixels take at least 125000 bytes, and there are 27"
        );
    }

    #[test]
    fn the_memory_of_all_its_scans_is_counted() {
        let padded = |marker| {
            let mut encoded = headers(marker, 9000, 9000, 3);
            encoded.resize(1 << 20, 0);
            encoded.extend([0xff, 0xd9]);
            layout(&encoded).unwrap().bytes
        };
        assert_eq!(padded(0xc0), 3 * 9000 * 9000);
        assert_eq!(padded(0xc2), 3 * 9000 * 9000 + 2 * 3 * 9000 * 9000);
    }

    #[test]
    fn kinds_that_are_not_taken_are_named() {
        let refused = |marker, height, width, components| {
            let mut encoded = headers(marker, height, width, components);
            encoded.extend([0xff, 0xd9]);
            refused(&encoded)
        };
        assert_eq!(refused(0xc0, 0, 8, 1), "the JPEG has no pixels: 8 x 0");
        assert_eq!(
            refused(0xc0, 8, 8, 2),
            "the JPEG has 2 components: 1 (grey), 3 (YCbCr or RGB) and 4 (CMYK) are taken"
        );
        assert_eq!(
            refused(0xc9, 8, 8, 3),
            "the JPEG is lossless, hierarchical or arithmetic-coded: baseline and progressive ones are taken"
        );
        let mut twelve_bits = headers(0xc1, 8, 8, 1);
        twelve_bits[6] = 12;
        assert_eq!(super::tests::refused(&twelve_bits), "the JPEG has 12 bits a sample: 8 are taken");
    }

    #[test]
    fn headers_out_of_order_are_errors() {
        assert_eq!(refused(&[0xff, 0xd8, 0xff, 0xd9]), "the JPEG ends before its first scan");
        assert_eq!(refused(&[0xff, 0xd8, 0xff, 0xda, 0, 2]), "the JPEG has a scan and no frame header");
        assert_eq!(
            refused(&[0xff, 0xd8, 0xff, 0xe0, 0, 1]),
            "the JPEG has a segment (marker ff e0) without a length"
        );
        assert_eq!(
            refused(&[0xff, 0xd8, 0xff]),
            "the JPEG is truncated: it ends after 3 bytes without an end marker"
        );
    }
}
