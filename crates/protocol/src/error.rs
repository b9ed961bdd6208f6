//! Errors in a request that are found before a model is asked.

/// A request that can't be read. The text is for the client: it names the
/// place, what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Not JSON, by RFC 8259 (with NaN and Infinity, as Triton takes them).
    #[error("invalid JSON at byte {at}: {message}")]
    Syntax {
        /// Offset in the body.
        at: usize,
        /// What was expected, and what came.
        message: String,
    },
    /// Valid JSON, but not a request.
    #[error("{0}")]
    Invalid(String),
}

impl ProtocolError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}
