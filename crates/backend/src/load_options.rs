//! How a model is to compute, if not as its file says.

use std::fmt;

use serde::Deserialize;

use super::Device;
use cresset_protocol::Datatype;

/// Options beyond the file and Triton's `parameters`; the default changes
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The types that it computes in.
    pub precision: Precision,
    /// How its code is changed.
    pub optimize: Optimize,
    /// The types of floating results, if the precision differs. A result
    /// without an entry comes back as FP32.
    pub outputs: Vec<OutputType>,
}

/// `[precision]` of a model's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Precision {
    /// The floating weights are converted to this type at load, and floating
    /// inputs before each forward.
    pub weights: Option<ReducedType>,
    /// The weights stay, and each operation computes in this type if the
    /// library considers it safe. Never combined with `weights`.
    pub autocast: Option<ReducedType>,
    /// Weights and inputs of four dimensions are stored channels last, which is
    /// fastest for convolutions in reduced precision.
    pub channels_last: bool,
    /// Whether CUDA may round FP32 operands to TF32: one switch for all models
    /// of the process. `None` leaves the library's default.
    pub tf32: Option<bool>,
}

/// `[optimize]` of a model's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optimize {
    /// Whether attributes become constants; `None`: if the model allows it.
    pub freeze: Option<bool>,
    /// Whether the library rewrites the graph for inference; `None`: if the
    /// answers stay equal and it is faster.
    pub for_inference: Option<bool>,
}

/// A floating type of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReducedType {
    /// bfloat16: FP32's range, and 8 bits of precision.
    Bf16,
    /// IEEE's half: up to 65504, and 11 bits of precision.
    Fp16,
}

/// The configured type of a floating result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputType {
    /// Its name, which is compared with the model's keys first.
    pub name: String,
    /// Its position in the result of `forward`.
    pub index: usize,
    /// The type.
    pub datatype: Datatype,
}

impl LoadOptions {
    /// Whether answers on `device` may differ from those of the plain file.
    #[must_use]
    pub fn changes_answers(&self, device: Device) -> bool {
        self.precision.changes_answers(device) || self.optimize.is_for_inference()
    }

    /// The same without rewriting the graph for inference.
    #[must_use]
    pub fn without_for_inference(&self) -> Self {
        let optimize = Optimize { for_inference: Some(false), ..self.optimize };
        Self { optimize, ..self.clone() }
    }

    /// Only the freezing: the reference for comparing answers.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { optimize: self.without_for_inference().optimize, ..Self::default() }
    }

    /// A description: `bf16 weights, channels last`.
    #[must_use]
    pub fn describe(&self, device: Device) -> String {
        let Precision { weights, autocast, channels_last, .. } = self.precision;
        [
            weights.map(|reduced| format!("{reduced} weights")),
            autocast.map(|reduced| format!("{reduced} autocast")),
            channels_last.then(|| "channels last".to_owned()),
            self.precision.rounds_to_tf32(device).then(|| "TF32".to_owned()),
            self.optimize.is_for_inference().then(|| "optimised for inference".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
    }
}

impl Optimize {
    /// Whether rewriting is asked for explicitly.
    #[must_use]
    pub fn is_for_inference(&self) -> bool {
        self.for_inference == Some(true)
    }

    /// Whether a model may be rewritten for inference once it serves: if the
    /// settings don't decide it, and its attributes are constants, as rewriting
    /// requires.
    #[must_use]
    pub fn leaves_rewriting_open(&self) -> bool {
        self.for_inference.is_none() && self.freeze != Some(false)
    }
}

impl Precision {
    /// Whether answers on `device` may differ from those of the plain file.
    #[must_use]
    pub fn changes_answers(&self, device: Device) -> bool {
        self.weights.is_some() || self.autocast.is_some() || self.channels_last || self.rounds_to_tf32(device)
    }

    fn rounds_to_tf32(&self, device: Device) -> bool {
        self.tf32 == Some(true) && device.has_tf32()
    }
}

impl fmt::Display for ReducedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

impl From<ReducedType> for Datatype {
    fn from(reduced: ReducedType) -> Self {
        match reduced {
            ReducedType::Bf16 => Self::Bf16,
            ReducedType::Fp16 => Self::Fp16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_answers_is_told_in_words() {
        let mut asked = LoadOptions::default();
        assert!(!asked.changes_answers(Device::Cpu));
        asked.optimize.freeze = Some(false);
        asked.precision.tf32 = Some(true);
        assert!(!asked.changes_answers(Device::Cpu), "TF32 is CUDA's");
        assert!(asked.changes_answers(Device::cuda(0)));
        asked.precision.weights = Some(ReducedType::Bf16);
        asked.precision.channels_last = true;
        asked.optimize.for_inference = Some(true);
        assert_eq!(asked.describe(Device::Cpu), "bf16 weights, channels last, optimised for inference");
        assert_eq!(
            asked.without_for_inference().describe(Device::cuda(1)),
            "bf16 weights, channels last, TF32"
        );
        let plain = asked.plain();
        assert_eq!((plain.precision, plain.optimize.freeze), (Precision::default(), Some(false)));
        assert!(!plain.changes_answers(Device::cuda(0)));
    }
}
