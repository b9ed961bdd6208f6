//! The result of a request: an answer, a refusal, or a failure.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// The size of its body.
    pub(crate) bytes: u64,
    pub(crate) headers: HeaderMap,
    /// As much of its body as the request asked to keep.
    pub(crate) kept: Bytes,
}

/// How an answer reports its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    Http(StatusCode),
    Grpc { code: u16, message: String },
}

/// How much of an answer's body is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of it.
    Everything,
    /// The beginning of an error's body; nothing of a good answer.
    Errors,
}

/// Why there is no answer, or none that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection could be made; the request was never sent.
    #[error("cannot connect to {address}: {cause}")]
    Connect { address: String, cause: String },
    /// The connection ended or broke during the request.
    #[error("{0}")]
    Lost(String),
    /// No complete answer came in time.
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The answer violates the protocol.
    #[error("{0}")]
    Malformed(String),
    /// The answer differs from the expected one.
    #[error("{0}")]
    Wrong(String),
}

/// gRPC's codes by number.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Status {
    /// Whether it is a good answer, and not a refusal or a redirect.
    pub(crate) fn is_ok(&self) -> bool {
        match self {
            Self::Http(status) => *status == StatusCode::OK,
            Self::Grpc { code, .. } => *code == 0,
        }
    }

    /// Whether the server says that it is overloaded: a client may try again,
    /// elsewhere or later.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Http(status) => {
                *status == StatusCode::SERVICE_UNAVAILABLE || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Grpc { code, .. } => matches!(code, 8 | 14),
        }
    }

    /// Its class, under which it is counted: `status 503`, `grpc UNAVAILABLE`.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Http(status) => format!("status {}", status.as_u16()),
            Self::Grpc { code, .. } => match GRPC_CODES.get(usize::from(*code)) {
                Some(name) => format!("grpc {name}"),
                None => format!("grpc code {code}"),
            },
        }
    }
}

impl Answer {
    /// The server's message, on one line.
    pub(crate) fn text(&self) -> String {
        match &self.status {
            Status::Grpc { message, .. } if !message.is_empty() => message.clone(),
            Status::Grpc { .. } | Status::Http(_) => {
                String::from_utf8_lossy(&self.kept).split_whitespace().collect::<Vec<_>>().join(" ")
            }
        }
    }
}

impl Failure {
    /// Its class, under which it is counted.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "cannot connect",
            Self::Lost(_) => "connection lost",
            Self::TimedOut(_) => "timed out",
            Self::Malformed(_) => "malformed",
            Self::Wrong(_) => "wrong answer",
        }
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let text = format!("{error}{source}");
        if error.is_parse() { Self::Malformed(text) } else { Self::Lost(text) }
    }
}
