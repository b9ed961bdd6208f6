//! Reading a request's body: bounded in bytes, in time and in the memory that
//! all requests take together.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::server::State;
use crate::admission::Permit;
use crate::error::{Error, ErrorCode, Result};

/// What earns a body a second more of patience: a client that drips a byte a
/// second is cut off, a large body on a slow line is not.
const BYTES_PER_SECOND: usize = 256 * 1024;

/// More room than this isn't made on a client's word alone.
const TRUSTED_LENGTH: usize = 4 * 1024 * 1024;

/// A body, and the memory lent to it for as long as this lives.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) permit: Permit,
}

/// Reads the whole body of `request`.
pub(super) async fn read(request: &HttpRequest, payload: Payload, state: &State) -> Result<Body> {
    refuse_encoding(request)?;
    let declared = declared_length(request)?;
    let limit = state.max_body;
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let permit = state.admission.admit(declared.unwrap_or(0))?;
    let patience =
        state.body_timeout + Duration::from_secs((declared.unwrap_or(0) / BYTES_PER_SECOND) as u64);
    match tokio::time::timeout(patience, collect(payload, declared, permit, limit)).await {
        Ok(body) => body,
        Err(_) => Err(Error::new(
            ErrorCode::RequestTimeout,
            format!("the body didn't come within {} s", patience.as_secs()),
        )),
    }
}

async fn collect(
    mut payload: Payload,
    declared: Option<usize>,
    mut permit: Permit,
    limit: usize,
) -> Result<Body> {
    let mut lent = declared.unwrap_or(0);
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let mut length: usize = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Error::invalid(format!("the body broke off: {error}")))?;
        length = length.saturating_add(chunk.len());
        if length > limit {
            return Err(too_large(limit));
        }
        if length > lent {
            permit.grow(length - lent)?;
            lent = length;
        }
        match first.take() {
            // A body in one piece is taken as it lies.
            None if joined.is_empty() => first = Some(chunk),
            None => joined.extend_from_slice(&chunk),
            Some(head) => {
                joined.reserve(
                    declared.unwrap_or(0).clamp(head.len() + chunk.len(), TRUSTED_LENGTH.max(length)),
                );
                joined.extend_from_slice(&head);
                joined.extend_from_slice(&chunk);
            }
        }
    }
    Ok(Body { bytes: first.unwrap_or_else(|| joined.freeze()), permit })
}

/// Compressed bodies aren't taken: to inflate them safely needs a limit on
/// what comes out, while it comes out.
fn refuse_encoding(request: &HttpRequest) -> Result<()> {
    let Some(encoding) = request.headers().get(header::CONTENT_ENCODING) else { return Ok(()) };
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::UnsupportedMediaType,
        format!(
            "Content-Encoding '{}' isn't taken: send the body as it is",
            String::from_utf8_lossy(encoding.as_bytes())
        ),
    ))
}

fn declared_length(request: &HttpRequest) -> Result<Option<usize>> {
    let Some(length) = request.headers().get(header::CONTENT_LENGTH) else { return Ok(None) };
    let parsed = length.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| Error::invalid("Content-Length isn't a length"))
}

fn too_large(limit: usize) -> Error {
    Error::new(
        ErrorCode::PayloadTooLarge,
        format!("the body is over the limit of {limit} bytes (--http-max-input-size)"),
    )
}
