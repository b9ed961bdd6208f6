//! What can go wrong with a transform, and whose fault it is.

use std::fmt;

use crate::error::{Error, ErrorCode};

/// A transform that couldn't be read or applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// The bytes are neither a JPEG nor a PNG.
    #[error("not an image: a JPEG or PNG was expected, and {found}")]
    NotAnImage {
        /// What came instead: `the body is empty`, `it begins with 7b 22`.
        found: String,
    },
    /// It says that it is an image, and is damaged or of a kind not taken.
    #[error("the {format} {reason}")]
    Undecodable {
        /// What it says it is.
        format: Format,
        /// The rest of the sentence: `is truncated: …`.
        reason: String,
    },
    /// Its header asks for more pixels or memory than is given to one image.
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
    /// A fault of our own.
    #[error("the image could not be transformed: {0}")]
    Internal(String),
}

/// The encodings of images that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG, baseline or progressive, of 8 bits.
    Jpeg,
    /// PNG of any colour type and depth, interlaced or not.
    Png,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
        })
    }
}

impl From<TransformError> for Error {
    fn from(error: TransformError) -> Self {
        let code = match &error {
            TransformError::NotAnImage { .. } | TransformError::Undecodable { .. } => {
                ErrorCode::InvalidArgument
            }
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
