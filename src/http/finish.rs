//! What all answers have in common: their headers, their line in the log, and that
//! their connection is busy until they are written.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::ResponseHead;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::HeaderValue;
use actix_web::http::{ConnectionType, Method, StatusCode};
use bytes::Bytes;

use super::connection::Busy;
use super::state::{HttpState, REQUEST_ID};
use crate::metrics;

/// A body that keeps its connection busy until it was handed to the writer.
pub(super) struct Guarded<B> {
    body: B,
    _busy: Option<Busy>,
}

impl<B> Guarded<B> {
    pub(super) fn new(body: B, busy: Option<Busy>) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: MessageBody + Unpin> MessageBody for Guarded<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Adds every answer's headers, and counts it.
pub(super) fn mark(head: &mut ResponseHead, id: &HeaderValue, state: &HttpState) {
    metrics::http_response(head.status.as_u16());
    head.headers_mut().insert(REQUEST_ID, id.clone());
    if state.engine.draining() {
        head.set_connection_type(ConnectionType::Close);
    }
}

/// Tells the log of an answer, and of its error if it is the server's.
pub(super) fn tell(
    status: StatusCode,
    id: &HeaderValue,
    (method, path): (&Method, &str),
    error: impl FnOnce() -> String,
) {
    let id = id.to_str().unwrap_or_default();
    if status.is_server_error() {
        let error = error();
        tracing::warn!(request = id, %method, path, status = status.as_u16(), error, "request failed");
    } else {
        tracing::debug!(request = id, %method, path, status = status.as_u16(), "request answered");
    }
}
