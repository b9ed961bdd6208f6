//! What is wrong with a configuration.

/// One line for whoever wrote the file: where, what was expected, what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// An error of this text.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// An error about a field of `config.pbtxt`.
    pub(super) fn field(field: &str, message: impl std::fmt::Display) -> Self {
        Self(format!("config.pbtxt: {field}: {message}"))
    }
}
