//! The one error that reaches clients: a code, and a message for the person that
//! must act on it.
//!
//! Rooms with failures of their own have a typed error
//! (`cresset_backend::BackendError`, `transform::TransformError`,
//! `model_config::ConfigError`) and convert it to this one. Each surface maps the
//! code to its status: `http::status` for HTTP, `grpc::status` for gRPC.

use std::fmt;
use std::time::Duration;

use cresset_backend::BackendError;
use cresset_protocol::{NotFinite, ProtocolError};

/// The kind of failure. The set is small on purpose: each surface maps it in one
/// total `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request is wrong, and sending it again won't help.
    InvalidArgument,
    /// No such model, version or path.
    NotFound,
    /// The call is right, and refused to every client of this address.
    PermissionDenied,
    /// The body is over the limit, as sent or unpacked.
    PayloadTooLarge,
    /// A content encoding that the server doesn't support.
    UnsupportedMediaType,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The server is overloaded, loading or draining, or the request waited for
    /// longer than allowed. The same request may succeed later, or at another
    /// server.
    Unavailable,
    /// A call of the protocol that the server doesn't offer.
    Unimplemented,
    /// The model or the server failed.
    Internal,
}

/// An error on its way to a client.
///
/// The message is lower-case and ends without a full stop. It names what was
/// wrong, the place, the expected and the received value. It never holds a path
/// of the server's or a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
}

/// The result type of most of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// The same error, with the time after which the client may try again.
    #[must_use]
    pub fn with_retry_after(self, time: Option<Duration>) -> Self {
        Self { retry_after: time, ..self }
    }

    /// [`ErrorCode::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// [`ErrorCode::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// [`ErrorCode::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// After what time the client may try again, if that can be said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Its message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<NotFinite> for Error {
    fn from(error: NotFinite) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        match &error {
            BackendError::Load { .. } | BackendError::Execute { .. } => {
                Error::new(ErrorCode::Internal, error.to_string())
            }
            BackendError::OutOfMemory { .. } | BackendError::Device { .. } | BackendError::Gone { .. } => {
                Error::new(ErrorCode::Unavailable, error.to_string())
            }
        }
    }
}
