use crate::error::Error;

/// The configuration's file in a model's directory.
pub const CONFIG_FILENAME: &str = "config.pbtxt";

/// Why a model can't be served as configured. One line, for the person who
/// wrote the file: where, what was expected, what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file exists and can't be read.
    #[error("config.pbtxt: {0}")]
    Read(String),
    /// It isn't a configuration's text.
    #[error("config.pbtxt:{line}:{column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The expected and the found token.
        message: String,
    },
    /// A field's value is out of its range or contradicts another field.
    #[error("config.pbtxt: field '{field}': expected {expected}, got {got}")]
    Value {
        /// Its path: `input[0].dims`.
        field: String,
        /// The values that it may have.
        expected: String,
        /// The value that it has.
        got: String,
    },
    /// A field asks for a feature that Cresset lacks, and can't be ignored.
    #[error("config.pbtxt: field '{field}' can't be honoured: {reason}")]
    Unsupported {
        /// Its path: `instance_group[0].passive`.
        field: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// The configuration and the model's file don't fit together.
    #[error("{0}")]
    Binding(String),
}

impl ConfigError {
    /// The same error for a configuration that came with a call, not from a file.
    pub(crate) fn of_override(&self) -> String {
        let message = self.to_string();
        match message.strip_prefix(CONFIG_FILENAME) {
            Some(rest) => format!("config{rest}"),
            None => message,
        }
    }

    pub(super) fn value(
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Value { field: field.into(), expected: expected.into(), got: got.to_string() }
    }

    pub(super) fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::internal(error.to_string())
    }
}
