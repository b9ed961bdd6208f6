//! One error for everything that reaches a client: a class, and a message for
//! the person who must act on it.
//!
//! Which error belongs where: rooms with failures of their own keep a typed
//! error (`cresset_backend::BackendError`, `transform::TransformError`,
//! `model_config::ConfigError`) and convert it here, at their door. The class
//! decides the status, once for each surface: `http::status` for HTTP,
//! `grpc::status` for gRPC.

use std::fmt;

use cresset_backend::BackendError;
use cresset_protocol::{NotFinite, ProtocolError};

/// What kind of failure it is, for whom to act: a small set on purpose, each
/// surface maps it in one total `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request can't be right however often it is sent.
    InvalidArgument,
    /// No such model, version or path.
    NotFound,
    /// Right, and not for whoever can reach this address.
    PermissionDenied,
    /// The body, or what it unpacks to, is over the limit.
    PayloadTooLarge,
    /// A content encoding that isn't taken.
    UnsupportedMediaType,
    /// The client took too long to send its request.
    RequestTimeout,
    /// Overloaded, loading, draining, or waited longer than allowed: the same
    /// request may pass later or elsewhere.
    Unavailable,
    /// Right by the protocol, and not offered here.
    Unimplemented,
    /// The model or the server failed.
    Internal,
}

/// An error on its way to a client.
///
/// The message is lower-case, ends without a full stop and names what was
/// wrong, where, what was expected and what came. It never carries a path of
/// the server's or a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
}

/// What most of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of class `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
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

    /// Its class.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
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
