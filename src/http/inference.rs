//! `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};

use super::body;
use super::server::State;
use super::status::HttpResult;
use crate::engine::parse_version;
use crate::error::{Error, Result};
use crate::protocol::{EncodedResponse, InferenceResponse, OutputForm, decode_request, encode_response};

/// Where a body's JSON ends and its binary tensors begin.
const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

/// The newest version's answer.
pub(super) async fn model(
    state: Data<State>,
    path: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    infer(&state, &path, None, &request, payload).await
}

/// A given version's answer.
pub(super) async fn version(
    state: Data<State>,
    path: Path<(String, String)>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let (model, version) = path.into_inner();
    infer(&state, &model, Some(parse_version(&version)?), &request, payload).await
}

async fn infer(
    state: &State,
    model: &str,
    version: Option<u64>,
    request: &HttpRequest,
    payload: Payload,
) -> HttpResult {
    let header_length = header_length(request)?;
    let body = body::read(request, payload, state).await?;
    let model = state.engine.resolve(model, version)?;
    // Binary tensors cost nothing to decode: only JSON counts as work.
    let decoded = match header_length {
        Some(_) => decode_request(&body, header_length)?,
        None => state.engine.decode(body, |bytes| decode_request(bytes, None)).await?,
    };
    let (response, forms) = model.infer(decoded).await?;
    answer(state, response, forms).await
}

/// Writes an inference response.
pub(super) async fn answer(state: &State, response: InferenceResponse, forms: Vec<OutputForm>) -> HttpResult {
    /// About a tenth of a millisecond of JSON.
    const INLINE: usize = 16 * 1024;
    let json: usize = response
        .outputs
        .iter()
        .zip(&forms)
        .filter(|(_, form)| **form == OutputForm::Json)
        .map(|(output, _)| output.data.len())
        .sum();
    let encoded = if json <= INLINE {
        encode_response(&response, &forms)
    } else {
        state.engine.pool().run(move || encode_response(&response, &forms)).await?
    };
    Ok(respond(encoded))
}

fn respond(encoded: EncodedResponse) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    match encoded.header_length {
        Some(length) => {
            response.content_type("application/octet-stream");
            response.insert_header((HEADER_LENGTH, length));
        }
        None => {
            response.insert_header((header::CONTENT_TYPE, "application/json"));
        }
    }
    response.body(Parts::new(encoded.parts))
}

fn header_length(request: &HttpRequest) -> Result<Option<usize>> {
    let Some(value) = request.headers().get(HEADER_LENGTH) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "{HEADER_LENGTH} is '{}': expected the length of the body's JSON in bytes",
            String::from_utf8_lossy(value.as_bytes())
        ))
    })
}

/// A body in several pieces, each as it lies in memory.
struct Parts {
    left: std::collections::VecDeque<Bytes>,
    bytes: u64,
}

impl Parts {
    fn new(parts: Vec<Bytes>) -> Self {
        /// Joining costs less than a second turn through the writer.
        const SMALL: usize = 16 * 1024;
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let parts = if parts.len() > 1 && bytes <= SMALL {
            let mut joined = BytesMut::with_capacity(bytes);
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            vec![joined.freeze()]
        } else {
            parts
        };
        Self { left: parts.into(), bytes: bytes as u64 }
    }
}

impl MessageBody for Parts {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        /// The framework copies each piece into its write buffer, which must
        /// not grow to the size of an output for a client that reads slowly.
        const PIECE: usize = 64 * 1024;
        while let Some(part) = self.left.front_mut() {
            let piece = part.split_to(part.len().min(PIECE));
            if part.is_empty() {
                self.left.pop_front();
            }
            // An empty piece would be read as the end of the body.
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
        Poll::Ready(None)
    }
}
