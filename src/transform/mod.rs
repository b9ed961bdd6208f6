//! The transforms that a model declares before and behind its tensors: from a
//! photograph to an input tensor, from a row of scores to labels.
//!
//! The declaration is `cresset.toml` in the model's directory, which
//! `model_settings` reads into a [`Preprocessor`] and a [`Postprocessor`].
//! These declare which tensors they make and read. All other code goes by these
//! declarations: whether they fit a model, how bodies are read and how answers
//! are written. So a further transform is a file here and its table in
//! `model_settings`. [`ItemKind::ALL`] lists what preprocessors take.
//!
//! Both are pure: bytes in, tensors or answers out, no clock and no threads. They
//! take milliseconds, so callers on async threads run them on a [`Pool`].
//!
//! The way of a photograph:
//!
//! 1. `format`: what its first bytes say that it is.
//! 2. `decode`: its pixels. The header is read first, by `jpeg`, `png`, `webp` or
//!    the decoder, so that nothing is allocated for an image that is refused.
//! 3. `fit`: what part of it survives.
//! 4. `resize`: only that part.
//! 5. `image`: turned upright and normalised in one pass.
//!
//! `base64` is how some clients write its bytes. The pixels of formats without
//! loss are those of Pillow and torchvision, but for one level in a few of a
//! thousand. Those of a JPEG and a lossy WebP differ by what two decoders round
//! differently: a third of a level if colour is halved. `tests/transform.rs` holds
//! them to that.

mod base64;
mod classification;
mod decode;
mod error;
mod fit;
mod format;
mod gif;
mod image;
mod jpeg;
mod pixels;
mod png;
mod pool;
mod postprocessor;
mod preprocessor;
mod presets;
mod resize;
#[cfg(test)]
mod testing;
mod webp;

pub use classification::Classification;
pub(crate) use classification::Scale;
pub use error::TransformError;
pub(crate) use fit::Size;
pub use format::Format;
pub use image::ImageTransform;
pub(crate) use image::{ChannelOrder, Declared};
pub use pool::Pool;
pub use postprocessor::{AnswerForm, Postprocessor, ReadOutput, RowAnswer};
pub use preprocessor::{Item, ItemForm, ItemKind, MadeInput, MadeRow, Preprocessor};
pub(crate) use presets::Preset;
pub(crate) use resize::Interpolation;

use std::sync::Arc;

impl ItemKind {
    /// All kinds, the commonest first.
    pub const ALL: [&'static Self; 1] = [&image::PHOTOGRAPH];

    /// The kind that bytes are of, and their form.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<(&'static Self, ItemForm)> {
        Self::ALL.into_iter().find_map(|kind| Some((kind, (kind.recognise)(bytes)?)))
    }

    /// The kind that examples name if a model takes none.
    #[must_use]
    pub fn usual() -> &'static Self {
        Self::ALL[0]
    }
}

/// The transforms that one model declares; each may be absent.
#[derive(Debug, Clone, Default)]
pub struct Transforms {
    preprocessor: Option<Arc<dyn Preprocessor>>,
    postprocessor: Option<Arc<dyn Postprocessor>>,
}

impl Transforms {
    /// Transforms of a preprocessor and a postprocessor.
    #[must_use]
    pub fn new(
        preprocessor: Option<Arc<dyn Preprocessor>>,
        postprocessor: Option<Arc<dyn Postprocessor>>,
    ) -> Self {
        Self { preprocessor, postprocessor }
    }

    /// The preprocessor, which makes tensors of items that clients send.
    #[must_use]
    pub fn preprocessor(&self) -> Option<&Arc<dyn Preprocessor>> {
        self.preprocessor.as_ref()
    }

    /// The postprocessor, which makes answers of the model's outputs.
    #[must_use]
    pub fn postprocessor(&self) -> Option<&Arc<dyn Postprocessor>> {
        self.postprocessor.as_ref()
    }

    /// The files that both were read from, in the model's directory.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let before = self.preprocessor.iter().flat_map(|preprocessor| preprocessor.files());
        let behind = self.postprocessor.iter().flat_map(|postprocessor| postprocessor.files());
        before.chain(behind)
    }
}

impl PartialEq for Transforms {
    fn eq(&self, other: &Self) -> bool {
        self.preprocessor.as_deref() == other.preprocessor.as_deref()
            && self.postprocessor.as_deref() == other.postprocessor.as_deref()
    }
}
