//! The errors of transforms: the client's and the server's.

use super::format::{Format, TAKEN};
use crate::error::{Error, ErrorCode};

/// A transform that couldn't be read or applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// The bytes are of no kind that is known.
    #[error("not an image: {TAKEN} is taken, as its bytes or as their base64, and {found}")]
    NotAnImage {
        /// What came instead: `nothing came`, `what came begins with 'hello'`.
        found: String,
    },
    /// An image, or something like it, of a format that isn't taken.
    #[error("this is {name}, which isn't read: send {TAKEN}")]
    NotTaken {
        /// Its name with its article.
        name: &'static str,
    },
    /// An image that was sent as a text.
    #[error(
        "the {format} has lost its line breaks, as with `curl -d`: send it with `curl --data-binary @photo` or \
         `curl -T photo`"
    )]
    Stripped {
        /// What it was.
        format: Format,
    },
    /// A text that should be an image in base64, and isn't.
    #[error("not base64: {reason}")]
    NotBase64 {
        /// Which character is wrong, or what it is.
        reason: String,
    },
    /// An image that is damaged, or of a kind that isn't taken.
    #[error("the {format} {reason}")]
    Undecodable {
        /// Its format, by its first bytes.
        format: Format,
        /// The rest of the sentence: `is truncated: …`.
        reason: String,
    },
    /// An image with more pixels, or more memory to decode, than is allowed.
    #[error("the {format} is too large: {reason}")]
    TooLarge {
        /// What it is.
        format: Format,
        /// Its size and the limit.
        reason: String,
    },
    /// The model's scores can't be ranked.
    #[error("the scores can't be ranked: {0}")]
    Scores(String),
    /// A fault of the server.
    #[error("the image could not be transformed: {0}")]
    Internal(String),
}

impl From<TransformError> for Error {
    fn from(error: TransformError) -> Self {
        let code = match &error {
            TransformError::NotAnImage { .. }
            | TransformError::NotTaken { .. }
            | TransformError::Stripped { .. }
            | TransformError::NotBase64 { .. }
            | TransformError::Undecodable { .. } => ErrorCode::InvalidArgument,
            TransformError::TooLarge { .. } => ErrorCode::PayloadTooLarge,
            TransformError::Scores(_) | TransformError::Internal(_) => ErrorCode::Internal,
        };
        Error::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_says_whose_fault_it_is() {
        let code = |error: TransformError| Error::from(error).code();
        assert_eq!(code(TransformError::NotAnImage { found: String::new() }), ErrorCode::InvalidArgument);
        let reason = String::new();
        assert_eq!(
            code(TransformError::Undecodable { format: Format::Png, reason: reason.clone() }),
            ErrorCode::InvalidArgument
        );
        assert_eq!(
            code(TransformError::TooLarge { format: Format::Png, reason }),
            ErrorCode::PayloadTooLarge
        );
        assert_eq!(code(TransformError::Scores(String::new())), ErrorCode::Internal);
    }
}
