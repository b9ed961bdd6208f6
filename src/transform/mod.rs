//! What a model declares in front of and behind its tensors: a photograph to
//! an input tensor, a row of scores to labels.
//!
//! The declaration is `cresset.toml` in the model's directory, read by
//! [`Transforms::read`]. [`ImageTransform`] and [`Classification`] are pure:
//! bytes in, bytes or labels out, no clock and no threads. They take
//! milliseconds, so callers on async threads run them on a [`Pool`].
//!
//! A photograph's walk: `decode` (with `jpeg` and `png` reading the header
//! first, so that nothing is allocated for an image that is refused), `fit`
//! (what part of it survives), `resize` (only that part), `image` (turned
//! upright and normalised in one pass). A PNG's pixels are those of Pillow and
//! torchvision, but for one level in a few of a thousand; a JPEG's differ by
//! what two decoders round differently, a third of a level where colour is
//! halved. `tests/transform.rs` holds them to that.

mod classification;
mod decode;
mod error;
mod fit;
mod image;
mod jpeg;
mod labels;
mod png;
mod pool;
mod resize;
mod spec;
#[cfg(test)]
mod testing;

use std::path::Path;

pub use classification::{Classification, Ranked};
pub use decode::looks_like_image;
pub use error::{ConfigError, Format, TransformError};
pub use image::ImageTransform;
pub use pool::Pool;

/// The transforms that one model declares; each may be absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Transforms {
    /// `[transform.image]`: a JPEG or PNG to one input tensor.
    pub image: Option<ImageTransform>,
    /// `[transform.classification]`: one output tensor to labels.
    pub classification: Option<Classification>,
}

/// Reads the file that a configuration names in `label_filename`, a relative
/// path inside the model's directory: one label a line, line 1 for score 0.
///
/// # Errors
/// [`TransformError::Config`], as [`Transforms::read`].
pub fn read_labels(model_directory: &Path, name: &str) -> Result<Vec<String>, TransformError> {
    Ok(labels::read_lines(model_directory, name)?)
}

impl Transforms {
    /// Reads and checks `cresset.toml` in a model's directory, and the file
    /// of labels that it names. `None` where there is no such file.
    ///
    /// # Errors
    /// [`TransformError::Config`] with the file, the line and what is wrong
    /// with it; the server's paths are not in the message.
    pub fn read(model_directory: &Path) -> Result<Option<Self>, TransformError> {
        Ok(spec::read(model_directory)?)
    }
}
