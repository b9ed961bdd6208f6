//! The model, and perhaps its version, that a path names.

use actix_web::dev::{Path as MatchedPath, Payload, Url};
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use std::future::{Ready, ready};
use std::sync::Arc;

use super::state::HttpState;
use super::status::HttpError;
use crate::engine::parse_version;
use crate::error::{Error, Result};
use crate::model::ServedModel;

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
    /// The model that it names, if a request may come to it.
    pub(super) fn admit(&self, state: &HttpState) -> Result<Arc<ServedModel>> {
        state.engine.admit(&self.model, self.version)
    }

    /// What a path names that a pattern of [`TO_MODELS`](super::routes::TO_MODELS)
    /// has matched; `None` if it isn't as a handler would read it.
    pub(super) fn of(path: &MatchedPath<Url>) -> Option<Self> {
        let segments = path.load::<Segments>().ok()?;
        Self::read(segments, path.as_str().starts_with("/predictions/")).ok()
    }

    /// `of_torchserve` if versions may be written as its clients write them: `2.0`.
    fn read(segments: Segments, of_torchserve: bool) -> Result<Self> {
        let version = segments.version.as_deref();
        let version = version.map(|version| match version.strip_suffix(".0") {
            Some(whole) if of_torchserve => parse_version(whole),
            Some(_) | None => parse_version(version),
        });
        Ok(Self { model: segments.model, version: version.transpose()? })
    }
}

impl FromRequest for ModelPath {
    type Error = HttpError;
    type Future = Ready<Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let segments = Path::<Segments>::from_request(request, payload).into_inner();
        ready(match segments {
            Ok(segments) => {
                let of_torchserve = request.path().starts_with("/predictions/");
                Self::read(segments.into_inner(), of_torchserve).map_err(HttpError)
            }
            Err(error) => Err(HttpError(Error::not_found(format!("the path names no model: {error}")))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(model: &str, version: Option<&str>) -> Result<(String, Option<u64>)> {
        let segments = Segments { model: model.to_owned(), version: version.map(str::to_owned) };
        ModelPath::read(segments, false).map(|path| (path.model, path.version))
    }

    #[test]
    fn torchserves_versions_are_whole_numbers_too() {
        let read = |version: &str| {
            let segments = Segments { model: "m".to_owned(), version: Some(version.to_owned()) };
            ModelPath::read(segments, true).map(|path| path.version)
        };
        assert_eq!(read("2.0"), Ok(Some(2)));
        assert_eq!(read("2"), Ok(Some(2)));
        for version in ["2.1", "2.0.0", "0.0", ".0", "2."] {
            assert!(read(version).is_err(), "{version}");
        }
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
