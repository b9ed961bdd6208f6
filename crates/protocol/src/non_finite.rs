//! NaN and the infinities: every floating datatype has them, JSON doesn't.

use half::{bf16, f16};
use serde::Deserialize;

use super::{Datatype, Tensor};

/// How JSON represents NaN and infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NonFinite {
    /// `NaN`, `Infinity`, `-Infinity`, bare: Triton and Python write them, and
    /// a strict parser rejects them.
    Words,
    /// `null`.
    #[default]
    Null,
    /// The same words as strings.
    Text,
    /// Not at all: the answer is an error.
    Error,
}

/// The representations in strict JSON, by their names in files and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strict {
    /// [`NonFinite::Null`].
    Null,
    /// [`NonFinite::Text`].
    Text,
    /// [`NonFinite::Error`].
    Error,
}

impl From<Strict> for NonFinite {
    fn from(strict: Strict) -> Self {
        match strict {
            Strict::Null => Self::Null,
            Strict::Text => Self::Text,
            Strict::Error => Self::Error,
        }
    }
}

/// An output that can't be written, because the client asked for `non_finite =
/// "error"`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "output '{output}' holds {value} at {place:?}, which JSON has no number for, and non_finite is \"error\": ask for \
     \"null\" or \"text\", or for binary data"
)]
pub struct NotFinite {
    /// The output's name.
    pub output: String,
    /// `NaN`, `Infinity`, `-Infinity`.
    pub value: &'static str,
    /// The index of the first such value in each dimension.
    pub place: Vec<i64>,
}

impl NonFinite {
    /// Checks whether tensors may be written as JSON by this rule.
    ///
    /// # Errors
    /// For [`Self::Error`], the first NaN or infinity.
    pub fn check<'a>(self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<(), NotFinite> {
        if self != Self::Error {
            return Ok(());
        }
        for tensor in tensors {
            if let Some((index, value)) = first_in(tensor) {
                let place = place(index, &tensor.shape);
                return Err(NotFinite { output: tensor.name.to_string(), value, place });
            }
        }
        Ok(())
    }
}

/// The word for a number that is not finite.
pub(super) fn word(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn first_in(tensor: &Tensor) -> Option<(usize, &'static str)> {
    fn find<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Option<(usize, &'static str)> {
        let values = data.as_chunks::<N>().0.iter().map(|bytes| value(*bytes));
        values.enumerate().find(|(_, value)| !value.is_finite()).map(|(index, value)| (index, word(value)))
    }
    match tensor.datatype {
        Datatype::Fp16 => find(&tensor.data, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Datatype::Bf16 => find(&tensor.data, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        Datatype::Fp32 => find(&tensor.data, |bytes| f32::from_le_bytes(bytes).into()),
        Datatype::Fp64 => find(&tensor.data, f64::from_le_bytes),
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64
        | Datatype::Bytes => None,
    }
}

/// The position in `shape` of the element at `index`.
fn place(index: usize, shape: &[i64]) -> Vec<i64> {
    let mut left = i64::try_from(index).unwrap_or(i64::MAX);
    let mut place: Vec<i64> = shape
        .iter()
        .rev()
        .map(|length| {
            let length = (*length).max(1);
            let at = left % length;
            left /= length;
            at
        })
        .collect();
    place.reverse();
    place
}
