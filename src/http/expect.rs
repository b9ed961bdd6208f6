//! `Expect: 100-continue`: a client that asks before it sends a body.
//!
//! The framework answers 100 before it calls a handler. So what a handler refuses
//! by the head is refused here, in place of the 100.

use std::sync::Arc;

use actix_http::{Request, Response};
use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{Path, ResourceDef, Url};
use actix_web::http::{ConnectionType, Method};
use actix_web::{HttpMessage as _, ResponseError as _};

use super::connection::HttpConnection;
use super::finish::{Guarded, mark, tell};
use super::model_path::ModelPath;
use super::routes::TO_MODELS;
use super::state::{HttpState, REQUEST_ID, TRACE_PARENT};
use super::status::HttpError;
use crate::context::RequestContext;
use crate::error::Result;

/// Decides by the head whether a body may come.
pub(super) struct Expectations(ResourceDef);

impl Expectations {
    pub(super) fn new() -> Self {
        Self(ResourceDef::new(TO_MODELS))
    }

    /// The request, or the answer that refuses it.
    pub(super) fn check(
        &self,
        request: Request,
        state: &HttpState,
    ) -> std::result::Result<Request, Response<BoxBody>> {
        let Err(error) = self.admit(&request, state) else { return Ok(request) };
        let busy = request.conn_data::<Arc<HttpConnection>>().map(HttpConnection::begin);
        let headers = request.headers();
        let (_, id) = RequestContext::of_head(headers.get(REQUEST_ID), headers.get(TRACE_PARENT));
        let error = HttpError(error);
        let mut response: Response<BoxBody> = error.error_response().into();
        let head = response.head_mut();
        mark(head, &id, state);
        // No body is read, so the connection ends here.
        head.set_connection_type(ConnectionType::Close);
        tell(head.status, &id, (request.method(), request.path()), || error.to_string());
        Err(response.map_body(|_, body| Guarded::new(body, busy).boxed()))
    }

    /// What the handlers ask, too. A path or a method that no handler takes is the
    /// router's to refuse.
    fn admit(&self, request: &Request, state: &HttpState) -> Result<()> {
        if !matches!(*request.method(), Method::POST | Method::PUT) {
            return Ok(());
        }
        let mut path = Path::new(Url::new(request.uri().clone()));
        if path.as_str() == "/predict" {
            return state.engine.admit_to_default().map(drop);
        }
        if !self.0.capture_match_info(&mut path) {
            return Ok(());
        }
        ModelPath::of(&path).map_or(Ok(()), |named| named.admit(state).map(drop))
    }
}
