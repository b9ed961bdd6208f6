//! `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};

use super::body;
use super::deflate::{WORTHWHILE, deflate};
use super::encoding;
use super::model_path::ModelPath;
use super::state::HttpState;
use super::status::HttpResult;
use crate::context::RequestContext;
use crate::error::{Error, Result};
use cresset_protocol::{
    EncodedResponse, InferenceResponse, NonFinite, OutputForm, RawInput, ResponseFormat, decode_request,
    encode_response, raw_request,
};

/// The length of a body's JSON, behind which its binary tensors begin; 0 if the
/// body is one tensor without JSON.
const HEADER_LENGTH: &str = "Inference-Header-Content-Length";
pub(super) const HEADER_LENGTH_NAME: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Answers from the version in the path, or the newest.
pub(super) async fn model(
    state: Data<HttpState>,
    context: ReqData<RequestContext>,
    path: ModelPath,
    request: HttpRequest,
    payload: Payload,
) -> HttpResult {
    let header_length = header_length(&request)?;
    let (model, payload) = body::after(path.admit(&state), &request, payload).await?;
    let body = body::read(&request, payload, &state).await?;
    // Binary tensors cost nothing to decode: only JSON counts as work.
    let (decoded, format) = match header_length {
        Some(0) => {
            let inputs = &model.metadata(Vec::new()).inputs;
            let batched = model.max_batch_size() > 0;
            raw_request(body, RawInput { model: model.name(), inputs, batched })?
        }
        Some(_) => decode_request(model.name(), &body, header_length)?,
        None => {
            let name = Arc::clone(model.name());
            state.engine.decode(body, move |bytes| decode_request(&name, bytes, None)).await?
        }
    };
    // As Triton writes them, unless the request asks for strict JSON.
    let non_finite = format.non_finite.unwrap_or(NonFinite::Words);
    let response = state.engine.infer(context.into_inner(), &model, decoded).await?;
    answer(&state, &request, response, format, non_finite).await
}

/// Writes an inference response, compressed if its client asks for that.
pub(super) async fn answer(
    state: &HttpState,
    request: &HttpRequest,
    response: InferenceResponse,
    format: ResponseFormat,
    non_finite: NonFinite,
) -> HttpResult {
    /// About a tenth of a millisecond of JSON.
    const INLINE: usize = 16 * 1024;
    let as_json = format.outputs_as(OutputForm::Json, &response.outputs);
    let json: usize = as_json.map(|output| output.data.len()).sum();
    let encode = move || -> Result<EncodedResponse> {
        non_finite.check(format.outputs_as(OutputForm::Json, &response.outputs))?;
        Ok(encode_response(&response, &format, non_finite))
    };
    let encoded = if json <= INLINE { encode()? } else { state.engine.pool().run(encode).await?? };
    let EncodedResponse { header_length, parts } = encoded;
    let mut response = respond(state, request, parts).await?;
    let headers = response.headers_mut();
    match header_length {
        Some(length) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            // The length before compression.
            headers.insert(HEADER_LENGTH_NAME, HeaderValue::from(length));
        }
        None => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    Ok(response)
}

/// Writes JSON on the pool, and answers with it.
pub(super) async fn answer_written(
    state: &HttpState,
    request: &HttpRequest,
    write: impl FnOnce() -> Result<Vec<u8>> + Send + 'static,
) -> HttpResult {
    let json = state.engine.pool().run(write).await??;
    answer_json(state, request, json).await
}

/// Sends JSON, compressed if its client asks for that.
async fn answer_json(state: &HttpState, request: &HttpRequest, json: Vec<u8>) -> HttpResult {
    let mut response = respond(state, request, vec![Bytes::from(json)]).await?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn respond(state: &HttpState, request: &HttpRequest, parts: Vec<Bytes>) -> HttpResult {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    let Some(encoding) = encoding::accepted(request.headers()).filter(|_| bytes >= WORTHWHILE) else {
        return Ok(HttpResponse::Ok().body(Parts::new(parts)));
    };
    let compressed = state.engine.pool().run(move || deflate(&parts, encoding)).await?;
    let compressed = compressed.map_err(|error| Error::internal(format!("the answer: {error}")))?;
    let mut response = HttpResponse::Ok().body(Parts::new(vec![compressed]));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    Ok(response)
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

/// A body in several pieces, which aren't joined.
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
