//! What a model declares in front of and behind its tensors: a photograph to
//! an input tensor, a row of scores to labels.
//!
//! The declaration is `cresset.toml` in the model's directory, which
//! `model_settings` reads. [`ImageTransform`] and [`Classification`] are pure:
//! bytes in, bytes or labels out, no clock and no threads. They take
//! milliseconds, so callers on async threads run them on a [`Pool`].
//!
//! A photograph's walk: `format` (what its first bytes say that it is),
//! `decode` (with the header read first, by `jpeg`, `png`, `webp` or the
//! decoder, so that nothing is allocated for an image that is refused), `fit`
//! (what part of it survives), `resize` (only that part), `image` (turned
//! upright and normalised in one pass). `base64` is how some clients write its
//! bytes. The pixels of formats without loss are those of Pillow and
//! torchvision, but for one level in a few of a thousand; those of a JPEG and a
//! lossy WebP differ by what two decoders round differently, a third of a level
//! where colour is halved. `tests/transform.rs` holds them to that.

mod base64;
mod classification;
mod decode;
mod error;
mod fit;
mod format;
mod gif;
mod image;
mod jpeg;
mod png;
mod pool;
mod presets;
mod resize;
#[cfg(test)]
mod testing;
mod webp;

pub use base64::{begins_as_image, from_base64};
pub(crate) use classification::Scale;
pub use classification::{Classification, Ranked};
pub(crate) use decode::not_an_image;
pub use error::TransformError;
pub(crate) use fit::Size;
pub use format::{Format, Kind, looks_like_image, recognise};
pub use image::ImageTransform;
pub(crate) use image::{ChannelOrder, Declared};
pub use pool::Pool;
pub(crate) use presets::Preset;
pub(crate) use resize::Interpolation;

/// The transforms that one model declares; each may be absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Transforms {
    /// `[transform.image]`: a photograph to one input tensor.
    pub image: Option<ImageTransform>,
    /// `[transform.classification]`: one output tensor to labels.
    pub classification: Option<Classification>,
}
