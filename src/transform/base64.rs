//! Base64 as clients write it: either alphabet (RFC 4648), with or without
//! padding and line breaks, perhaps behind a `data:` URL's head (RFC 2397).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::TransformError;
use super::format::looks_like_image;

/// Padding is optional. Spare bits of a last character are ignored.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes that a text in base64 stands for.
///
/// # Errors
/// [`TransformError::NotBase64`]: which character is wrong, counted from 1.
pub(super) fn from_base64(text: &[u8]) -> Result<Vec<u8>, TransformError> {
    let (head, text) = split_url(text.trim_ascii())?;
    if text.is_empty() {
        return Err(wrong("the text is empty: a photograph in base64 was expected"));
    }
    let cleaned = clean(text).map_err(|at| {
        let place = head + at + 1;
        match char::from(text[at]) {
            c if c.is_ascii_graphic() => wrong(&format!("character {place} is '{c}'")),
            ' ' => wrong(&format!("character {place} is a space, as a form makes of a '+'")),
            _ => wrong(&format!("character {place} is the byte 0x{:02x}", text[at])),
        }
    })?;
    LENIENT.decode(&*cleaned).map_err(|_| {
        wrong(&format!(
            "{} characters are there, which is no whole number of bytes: is it cut off?",
            cleaned.len()
        ))
    })
}

/// Whether a text is a `data:` URL, or base64 whose first bytes are those of
/// an image.
pub(super) fn begins_as_image(text: &[u8]) -> bool {
    /// Whole groups, and enough of them for any signature.
    const HEAD: usize = 64;
    let text = text.trim_ascii_start();
    if is_url(text) {
        return true;
    }
    let head = text.get(..HEAD).unwrap_or(text);
    clean(head).is_ok_and(|head| {
        let whole = &head[..head.len() / 4 * 4];
        LENIENT.decode(whole).is_ok_and(|bytes| looks_like_image(&bytes))
    })
}

fn is_url(text: &[u8]) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:"))
}

/// The length of a `data:` URL's head, and what is behind it.
fn split_url(text: &[u8]) -> Result<(usize, &[u8]), TransformError> {
    if !is_url(text) {
        return Ok((0, text));
    }
    let Some(comma) = text.iter().position(|byte| *byte == b',') else {
        return Err(wrong("the data: URL has no comma: data:image/jpeg;base64,… was expected"));
    };
    let (head, data) = (&text[..comma], &text[comma + 1..]);
    let is_base64 = head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(b";base64");
    if !is_base64 {
        return Err(wrong("the data: URL doesn't say ;base64: data:image/jpeg;base64,… was expected"));
    }
    Ok((comma + 1, data))
}

/// The text in the standard alphabet, on one line; or the place of a byte that
/// isn't of base64.
fn clean(text: &[u8]) -> Result<Cow<'_, [u8]>, usize> {
    let data = text.len() - text.iter().rev().take_while(|byte| matches!(byte, b'=' | b'\r' | b'\n')).count();
    let own = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let other = |byte: u8| matches!(byte, b'-' | b'_' | b'\r' | b'\n' | b'\t');
    if let Some(at) = text[..data].iter().position(|byte| !own(*byte) && !other(*byte)) {
        return Err(at);
    }
    if text[..data].iter().all(|byte| own(*byte)) {
        return Ok(Cow::Borrowed(&text[..data]));
    }
    let standard = text[..data].iter().filter_map(|byte| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'\r' | b'\n' | b'\t' => None,
        byte => Some(*byte),
    });
    Ok(Cow::Owned(standard.collect()))
}

fn wrong(reason: &str) -> TransformError {
    TransformError::NotBase64 { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        from_base64(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_way_of_writing_it_is_read() {
        let bytes = [0xfb, 0xff, 0xbf, 0x00];
        for text in [
            "+/+/AA==",
            "-_-_AA==",
            "-_+/AA",
            "+/+/AA=",
            "+/+/\r\nAA==\r\n",
            " +/+/\nAA\n==\n",
            "data:image/jpeg;base64,+/+/AA==",
            "DATA:;Base64,-_-_AA",
            // Its last character has bits to spare.
            "+/+/AB==",
        ] {
            assert_eq!(from_base64(text.as_bytes()), Ok(bytes.to_vec()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, reason) in [
            ("", "the text is empty: a photograph in base64 was expected"),
            ("data:image/png;base64,", "the text is empty: a photograph in base64 was expected"),
            ("AAA*AAAA", "character 4 is '*'"),
            ("AA==AAAA", "character 3 is '='"),
            ("data:,%41", "the data: URL doesn't say ;base64: data:image/jpeg;base64,… was expected"),
            ("data:image/png;base64", "the data: URL has no comma: data:image/jpeg;base64,… was expected"),
            ("data:;base64,AA%3D", "character 16 is '%'"),
            ("AA AA", "character 3 is a space, as a form makes of a '+'"),
            ("AAAAA", "5 characters are there, which is no whole number of bytes: is it cut off?"),
            ("AAé", "character 3 is the byte 0xc3"),
        ] {
            assert_eq!(refused(text), format!("not base64: {reason}"), "{text}");
        }
    }

    #[test]
    fn an_image_is_seen_through_it() {
        for text in
            ["/9j/4AAQSkZJRg==", "_9j_4AAQ", "/9j/4\nAAQ", "data:image/jpeg;base64,", "R0lGODlhAQABAA"]
        {
            assert!(begins_as_image(text.as_bytes()), "{text}");
        }
        for text in ["", "hello", "{\"x\": 1}", "[1, 2]", "\u{ff}\u{d8}"] {
            assert!(!begins_as_image(text.as_bytes()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..100),
            url_safe in proptest::bool::ANY,
            width in 1usize..80,
        ) {
            use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
            let text = if url_safe { URL_SAFE_NO_PAD.encode(&bytes) } else { STANDARD.encode(&bytes) };
            let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
            proptest::prop_assert_eq!(from_base64(&lines.join(&b"\r\n"[..])), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = (from_base64(&text), begins_as_image(&text));
        }
    }
}
