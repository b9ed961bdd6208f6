//! Content encodings: of a request's body, and of the answer that a client
//! accepts.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};

use crate::error::{Error, ErrorCode, Result};

/// A compressed form that bodies have, as RFC 9110 names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, a zlib stream.
    Deflate,
}

/// The encodings that an error about another one names.
pub(super) const TAKEN: &str = "gzip, deflate";

impl Encoding {
    /// Its name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate].into_iter().find(|known| name.eq_ignore_ascii_case(known.name()))
    }
}

/// The encoding of a request's body; `None` for a plain one.
pub(super) fn of_body(request: &HttpRequest) -> Result<Option<Encoding>> {
    let Some(value) = request.headers().get(header::CONTENT_ENCODING) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim();
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Encoding::parse(name).map(Some).ok_or_else(|| {
        Error::new(
            ErrorCode::UnsupportedMediaType,
            format!(
                "Content-Encoding is '{}': expected gzip, deflate, or none",
                String::from_utf8_lossy(value.as_bytes())
            ),
        )
    })
}

/// The encoding of the answer. It must be named: clients send `*` by default,
/// and compressing costs more than sending.
pub(super) fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let mut best: Option<(f32, Encoding)> = None;
    let mut plain = 0.0;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (name, weight) = weighted(item);
            if name.eq_ignore_ascii_case("identity") {
                plain = weight;
            }
            if let Some(encoding) = Encoding::parse(name)
                && weight > best.map_or(0.0, |(best, _)| best)
            {
                best = Some((weight, encoding));
            }
        }
    }
    best.filter(|(weight, _)| *weight >= plain).map(|(_, encoding)| encoding)
}

/// `gzip;q=0.5`
fn weighted(item: &str) -> (&str, f32) {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
    (name.trim(), weight)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_body_is_gzip_or_deflate_or_plain() {
        let of = |value: &'static str| {
            of_body(
                &TestRequest::default().insert_header((header::CONTENT_ENCODING, value)).to_http_request(),
            )
        };
        assert_eq!(of("gzip"), Ok(Some(Encoding::Gzip)));
        assert_eq!(of("Deflate"), Ok(Some(Encoding::Deflate)));
        for plain in ["", "identity"] {
            assert_eq!(of(plain), Ok(None));
        }
        for (other, message) in [
            ("br", "Content-Encoding is 'br': expected gzip, deflate, or none"),
            ("gzip, gzip", "Content-Encoding is 'gzip, gzip': expected gzip, deflate, or none"),
        ] {
            assert_eq!(of(other), Err(Error::new(ErrorCode::UnsupportedMediaType, message)));
        }
    }

    #[test]
    fn an_answer_is_compressed_for_those_who_name_it() {
        for (value, expected) in [
            ("gzip", Some(Encoding::Gzip)),
            ("deflate", Some(Encoding::Deflate)),
            ("gzip, deflate, br", Some(Encoding::Gzip)),
            ("gzip;q=0.2, deflate;q=0.8", Some(Encoding::Deflate)),
            ("identity;q=1, gzip;q=0.5", None),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("*", None),
            ("br, zstd", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepted(&headers), expected, "{value}");
        }
        assert_eq!(accepted(&HeaderMap::new()), None);
    }
}
