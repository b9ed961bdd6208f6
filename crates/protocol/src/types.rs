//! A request and its response, independent of their wire form.

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
    /// Row-major, little-endian. Each string is preceded by its length, 4
    /// bytes.
    pub data: Bytes,
}

impl Tensor {
    /// The placeholder for an input that a request leaves out. It has no
    /// elements, and a shape that no real tensor without elements has.
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

/// A client's request to a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InferenceRequest {
    /// The client's own name for it, returned in the answer; empty for none.
    pub id: String,
    /// Distinct by name.
    pub inputs: Vec<Tensor>,
    /// Which outputs; empty for all of them.
    pub outputs: Vec<RequestedOutput>,
    /// Its priority and time-out in the queue.
    pub schedule: Schedule,
    /// Further parameters that are numbers or strings, each as a tensor of one
    /// element: arguments of the model that are not tensors may come this way.
    pub parameters: Vec<Tensor>,
}

/// The scheduling parameters of a request (Triton's schedule policy extension).
/// The model's configuration decides their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// `priority`: the level, 1 is served first; zero for the model's default.
    pub priority: u64,
    /// `timeout`: how long it may wait at most; `None` for the model's
    /// default.
    pub timeout: Option<Duration>,
}

impl Schedule {
    /// From the two parameters as they are sent: zero stands for none, and the
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
    /// How many of each row's best scores to return as strings in place of the
    /// tensor; zero for the tensor itself.
    pub classification: u32,
}

/// The form of a tensor in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputForm {
    /// As numbers in the JSON.
    #[default]
    Json,
    /// As bytes after the JSON.
    Binary,
}

/// The forms of an answer that a client asked for. A surface keeps them with
/// the request; the model's tensors don't depend on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseFormat {
    /// The form of outputs that the request doesn't name.
    pub default: OutputForm,
    /// The forms of the outputs that the request names, in its order.
    pub named: Vec<OutputForm>,
    /// How JSON represents NaN and infinities. `None` for the path's default.
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

    /// The outputs of this form in an answer, in their order.
    pub fn outputs_as<'a>(
        &'a self,
        form: OutputForm,
        outputs: &'a [Tensor],
    ) -> impl Iterator<Item = &'a Tensor> {
        let own = move |(index, output)| (self.form(index) == form).then_some(output);
        outputs.iter().enumerate().filter_map(own)
    }
}

/// A model's answer to a request.
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
