//! Compressed answers, for clients that ask for them.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::encoding::Encoding;

/// An answer that fits one packet gains nothing.
pub(super) const WORTHWHILE: usize = 1024;

/// Compresses the pieces of a body as one stream. Fast rather than small,
/// because the client waits.
pub(super) fn deflate(parts: &[Bytes], encoding: Encoding) -> io::Result<Bytes> {
    let level = Compression::fast();
    let out = match encoding {
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?
        }
    };
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Admission;
    use crate::http::inflate::inflate;

    #[test]
    fn pieces_come_back_as_one() {
        let parts = [Bytes::from_static(b"{}"), Bytes::from(vec![3; 100_000]), Bytes::new()];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let body = deflate(&parts, encoding).unwrap();
            assert!(body.len() < 1_000);
            let permit = Admission::new(1 << 20).admit(0).unwrap();
            let (back, _) = inflate(&body, encoding, 1 << 20, permit).unwrap();
            assert_eq!(back, parts.concat(), "{encoding:?}");
        }
    }
}
