//! A request and its response, whatever form they came in or leave in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Datatype, NonFinite};

/// A tensor with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the model's configuration or file.
    pub name: Arc<str>,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Every dimension, the batch included; none is negative.
    pub shape: Vec<i64>,
    /// Row-major, little-endian. Strings stand behind their length, 4 bytes
    /// each.
    pub data: Bytes,
}

impl Tensor {
    /// What stands for an input that a request leaves out: without elements, and
    /// without the shape of anything that has none.
    #[must_use]
    pub fn absent(name: Arc<str>) -> Self {
        Self { name, datatype: Datatype::Uint8, shape: Vec::new(), data: Bytes::new() }
    }

    /// Whether it is [`Tensor::absent`]: a scalar has an element.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.shape.is_empty() && self.data.is_empty()
    }
}

/// What a client asks a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InferenceRequest {
    /// The client's own name for it, handed back; empty for none.
    pub id: String,
    /// Distinct by name.
    pub inputs: Vec<Tensor>,
    /// Which outputs; empty for all of them.
    pub outputs: Vec<RequestedOutput>,
    /// Its place among the requests that wait.
    pub schedule: Schedule,
    /// Further parameters that are numbers or strings, each as a tensor of one
    /// element: arguments of the model that are no tensors may come so.
    pub parameters: Vec<Tensor>,
}

/// What a request asks of the scheduler (Triton's schedule policy extension).
/// What comes of it is the model's configuration's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// `priority`: the level, of which 1 is served first; zero for the model's
    /// default.
    pub priority: u64,
    /// `timeout`: how long it may wait at most; `None` for the model's
    /// default.
    pub timeout: Option<Duration>,
}

impl Schedule {
    /// Of the two parameters as they are sent: zero stands for none, and the
    /// time is in microseconds.
    #[must_use]
    pub fn new(priority: u64, timeout: u64) -> Self {
        Self { priority, timeout: (timeout > 0).then(|| Duration::from_micros(timeout)) }
    }
}

/// An output that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// How many of each row's best scores to give as strings in the place of
    /// the tensor; zero for the tensor itself.
    pub classification: u32,
}

/// How a tensor stands in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputForm {
    /// As numbers in the JSON.
    #[default]
    Json,
    /// As bytes behind it.
    Binary,
}

/// How a client wants its answer written. A surface keeps it beside the request:
/// a model gives the same tensors whatever becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseFormat {
    /// The form of outputs that the request doesn't name.
    pub default: OutputForm,
    /// The forms of those that it names, in its order.
    pub named: Vec<OutputForm>,
    /// What is to stand in JSON for numbers that JSON has not. `None` for what is
    /// usual for the path that was asked.
    pub non_finite: Option<NonFinite>,
}

impl ResponseFormat {
    /// Every output as bytes.
    #[must_use]
    pub fn binary() -> Self {
        Self { default: OutputForm::Binary, ..Self::default() }
    }

    /// The form of the answer's output `index`.
    #[must_use]
    pub fn form(&self, index: usize) -> OutputForm {
        self.named.get(index).copied().unwrap_or(self.default)
    }

    /// The outputs of this form among those of an answer, in their order.
    pub fn outputs_as<'a>(
        &'a self,
        form: OutputForm,
        outputs: &'a [Tensor],
    ) -> impl Iterator<Item = &'a Tensor> {
        let own = move |(index, output)| (self.form(index) == form).then_some(output);
        outputs.iter().enumerate().filter_map(own)
    }
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceResponse {
    /// The model.
    pub model_name: Arc<str>,
    /// The version that computed it.
    pub model_version: u64,
    /// The request's `id`; empty for none.
    pub id: String,
    /// In the order asked for, else the model's.
    pub outputs: Vec<Tensor>,
}
