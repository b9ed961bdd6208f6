//! Reads a request's body: bounded in bytes, in time and in the memory that all
//! requests take together. The same bounds hold for an inflated body.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::encoding::{self, Encoding};
use super::inflate::inflate;
use super::state::HttpState;
use crate::admission::lent;
use crate::error::{Error, ErrorCode, Result};
use cresset_clock as clock;

/// For each of so many bytes that have come, a body gets a second more. So a
/// client that sends a byte a second is cut off, and a large body on a slow
/// line is not.
const BYTES_PER_SECOND: usize = 256 * 1024;

/// A body of at most this length is read even if its request was refused
/// already: that costs less than a new connection.
const READ_ALL_THE_SAME: usize = 64 * 1024;
/// How long that may take.
const READ_ALL_THE_SAME_FOR: Duration = Duration::from_secs(1);

/// No more memory than this is reserved for a length that a client announces.
const TRUSTED_LENGTH: usize = 4 * 1024 * 1024;

/// Returns what a request's head decided, with the body that is still to be
/// read, or refuses the request before the body.
///
/// A short body is read all the same, and dropped, so that its connection can be
/// kept. A longer one isn't. Its client has the answer before it has sent the body,
/// the answer says that the connection ends, and the framework ends it when the
/// client has stopped sending, or after a few seconds.
pub(super) async fn after<T>(
    decided: Result<T>,
    request: &HttpRequest,
    mut payload: Payload,
) -> Result<(T, Payload)> {
    let error = match decided {
        Ok(decided) => return Ok((decided, payload)),
        Err(error) => error,
    };
    if declared_length(request).is_ok_and(|length| length.is_some_and(|length| length <= READ_ALL_THE_SAME)) {
        let rest = async { while let Some(Ok(_)) = payload.next().await {} };
        // If it takes longer, the connection ends.
        let _ = tokio::time::timeout(READ_ALL_THE_SAME_FOR, rest).await;
    }
    Err(error)
}

/// Reads the whole body of `request`.
pub(super) async fn read(request: &HttpRequest, mut payload: Payload, state: &HttpState) -> Result<Bytes> {
    let encoding = encoding::of_body(request)?;
    let declared = declared_length(request)?;
    let limit = state.max_body;
    if let Some(length) = declared.filter(|length| *length > limit) {
        return Err(too_large(format!(
            "request JSON size of {length} bytes exceeds the maximum allowed input size of {limit} bytes. Use \
             --http-max-input-size to increase the limit"
        )));
    }
    // Memory is lent as bytes come, so that an announced length doesn't block
    // other requests.
    let mut permit = state.admission.admit(0)?;
    let start = clock::now();
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let mut length: usize = 0;
    loop {
        let patience = state.body_timeout + Duration::from_secs((length / BYTES_PER_SECOND) as u64);
        let left = patience.saturating_sub(clock::now() - start);
        let chunk = match tokio::time::timeout(left, payload.next()).await {
            Ok(Some(chunk)) => chunk.map_err(|_| Error::invalid("the body broke off before its end"))?,
            Ok(None) => break,
            Err(_) => {
                return Err(Error::new(
                    ErrorCode::RequestTimeout,
                    format!("the body didn't come within {} s", patience.as_secs()),
                ));
            }
        };
        length = length.saturating_add(chunk.len());
        if length > limit {
            let message = format!("the body is over the limit of {limit} bytes (--http-max-input-size)");
            return Err(too_large(message));
        }
        permit.grow(chunk.len())?;
        match first.take() {
            // A body in one piece isn't copied.
            None if joined.is_empty() => first = Some(chunk),
            None => joined.extend_from_slice(&chunk),
            Some(head) => {
                joined.reserve(declared.unwrap_or(0).clamp(length, TRUSTED_LENGTH.max(length)));
                joined.extend_from_slice(&head);
                joined.extend_from_slice(&chunk);
            }
        }
    }
    let body = lent(first.unwrap_or_else(|| joined.freeze()), permit);
    match encoding {
        // An empty body isn't inflated, whatever its header says.
        Some(encoding) if !body.is_empty() => inflated(body, encoding, state).await,
        Some(_) | None => Ok(body),
    }
}

/// Inflates a compressed body. Memory is lent for both until the compressed one
/// is dropped.
async fn inflated(body: Bytes, encoding: Encoding, state: &HttpState) -> Result<Bytes> {
    let (limit, permit) = (state.max_body, state.admission.admit(0)?);
    let inflated = state.engine.pool().run(move || inflate(&body, encoding, limit, permit)).await?;
    let (bytes, permit) = inflated?;
    Ok(lent(bytes, permit))
}

fn declared_length(request: &HttpRequest) -> Result<Option<usize>> {
    let Some(length) = request.headers().get(header::CONTENT_LENGTH) else { return Ok(None) };
    let parsed = length.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| Error::invalid("Content-Length isn't a length"))
}

fn too_large(message: String) -> Error {
    Error::new(ErrorCode::PayloadTooLarge, message)
}
