//! The model, and perhaps its version, that a path names.

use actix_web::dev::Payload;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use std::future::{Ready, ready};

use super::status::HttpError;
use crate::engine::parse_version;
use crate::error::{Error, Result};

/// `…/{model}` or `…/{model}/…/{version}`: a handler that takes it serves
/// both.
#[derive(Debug)]
pub(super) struct ModelPath {
    pub(super) model: String,
    /// `None` for the newest.
    pub(super) version: Option<u64>,
}

/// As it stands in the path, its escapes resolved.
#[derive(Deserialize)]
struct Segments {
    model: String,
    version: Option<String>,
}

impl ModelPath {
    fn read(segments: Segments) -> Result<Self> {
        let version = segments.version.as_deref().map(parse_version).transpose()?;
        Ok(Self { model: segments.model, version })
    }
}

impl FromRequest for ModelPath {
    type Error = HttpError;
    type Future = Ready<Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segments = Path::<Segments>::from_request(request, payload).into_inner();
        ready(match segments {
            Ok(segments) => Self::read(segments.into_inner()).map_err(HttpError),
            Err(error) => Err(HttpError(Error::not_found(format!("the path names no model: {error}")))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(model: &str, version: Option<&str>) -> Result<(String, Option<u64>)> {
        let segments = Segments { model: model.to_owned(), version: version.map(str::to_owned) };
        ModelPath::read(segments).map(|path| (path.model, path.version))
    }

    #[test]
    fn a_version_is_a_whole_number_or_none() {
        assert_eq!(read("m", None), Ok(("m".to_owned(), None)));
        assert_eq!(read("m", Some("12")), Ok(("m".to_owned(), Some(12))));
        for version in ["", "0", "01", "-1", "1.0", "x", "99999999999999999999999"] {
            assert!(read("m", Some(version)).is_err(), "{version}");
        }
    }
}
