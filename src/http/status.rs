//! The one table of statuses, and the one form of an error.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::encoding::TAKEN;
use crate::error::{Error, ErrorCode};

/// The status of each class: Triton's, if its protocol knows the class, else
/// that of RFC 9110.
pub(super) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An error as this surface answers it: `{"error": "…"}`.
#[derive(Debug)]
pub(super) struct HttpError(pub(super) Error);

impl<E: Into<Error>> From<E> for HttpError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        status(self.0.code())
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = error_response(self.status_code(), self.0.message());
        match self.0.code() {
            ErrorCode::Unavailable => {
                let seconds = self.0.retry_after().map_or(1.0, |after| after.as_secs_f64().ceil());
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1.0) as u64));
            }
            // The rest of the body isn't read, so the connection ends here.
            ErrorCode::RequestTimeout | ErrorCode::PayloadTooLarge => {
                response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
            }
            // As RFC 7694 has it, and Triton.
            ErrorCode::UnsupportedMediaType => {
                response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(TAKEN));
            }
            ErrorCode::InvalidArgument
            | ErrorCode::NotFound
            | ErrorCode::PermissionDenied
            | ErrorCode::Unimplemented
            | ErrorCode::Internal => {}
        }
        response
    }
}

/// `{"error": message}` under `status`.
fn error_response(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(serde_json::json!({ "error": message }))
}

/// The answer to a path that isn't there.
pub(super) fn no_such_path(request: &HttpRequest) -> HttpResponse {
    let message = format!("no such path: {} {}", request.method(), request.path());
    error_response(StatusCode::NOT_FOUND, &message)
}

/// The answer to a method that a path doesn't take.
pub(super) fn method_not_allowed(allowed: &[Method]) -> HttpResponse {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let message = format!("Method Not Allowed: use {}", names.join(" or "));
    let mut response = error_response(StatusCode::METHOD_NOT_ALLOWED, &message);
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// A probe's answer: the status says it, and the body once more, as KServe's
/// protocol has it. Not ready is 400, as Triton has it.
pub(super) fn probe(healthy: bool, body: &serde_json::Value) -> HttpResponse {
    HttpResponse::build(if healthy { StatusCode::OK } else { StatusCode::BAD_REQUEST }).json(body)
}

/// A load balancer's probe.
pub(super) fn health(healthy: bool, body: &serde_json::Value) -> HttpResponse {
    HttpResponse::build(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }).json(body)
}

/// TorchServe's answer to `/ping`.
pub(super) fn ping(healthy: bool) -> HttpResponse {
    let (status, text) =
        if healthy { (StatusCode::OK, "Healthy") } else { (StatusCode::INTERNAL_SERVER_ERROR, "Unhealthy") };
    HttpResponse::build(status).json(serde_json::json!({ "status": text }))
}

/// A handler's result.
pub(super) type HttpResult = Result<HttpResponse, HttpError>;
