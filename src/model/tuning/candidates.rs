//! Inputs that a model may run on, one after the other until it does: its
//! configuration tells shapes and datatypes, and seldom which values it takes.

use std::sync::Arc;

use bytes::Bytes;

use super::declared::{padded_inputs, sent};
use crate::instance::WarmUpSampleRun;
use crate::model::answering::batching::Batching;
use crate::model_config::{Binding, BoundInput, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::draw::{self, Values};
use crate::trial::values::{Unsent, numbers, unsent};
use cresset_backend::Device;
use cresset_protocol::Datatype;

/// What a dimension that the configuration leaves open becomes: few tokens, the
/// side of an image that survives five halvings, ImageNet's, one, and a second
/// of sound.
const OPEN_DIMENSIONS: [i64; 5] = [8, 64, 224, 1, 16_000];

/// As few tokens if texts are padded; and fewer, of which several fit into a small
/// `max_elements`.
const PADDED_LENGTHS: [u32; 2] = [8, 2];

/// Inputs of more elements aren't made up: several dimensions that are open
/// multiply.
const MOST_ELEMENTS: usize = 1 << 24;

/// Requests of one row in one shape.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) struct CandidateInputs {
    /// One row's; without elements if they are drawn.
    inputs: Vec<TrialInput>,
    /// Between which values elements are drawn; `None` if all are given.
    values: Option<Values>,
    /// The places of the inputs that are the same for all rows.
    shared: Vec<Arc<str>>,
}

impl CandidateInputs {
    fn turned(&self, input: &TrialInput, by: u64) -> TrialInput {
        let shared = self.shared.iter().any(|place| **place == *input.name);
        if shared { input.clone() } else { turned(input, by) }
    }

    /// Row `number`: each is another.
    pub(in crate::model) fn row(&self, number: u64) -> Vec<TrialInput> {
        match self.values {
            Some(values) => draw::row(&self.inputs, number, values),
            None => self.inputs.iter().map(|input| self.turned(input, number)).collect(),
        }
    }
}

/// What to try of a model: its warm-up samples, then drawn values in widening
/// ranges, in each of several sizes if dimensions are open. Empty if nothing tells
/// what the model takes.
pub(in crate::model) fn candidates(
    config: &ModelConfig,
    binding: &Binding,
    batching: Option<&Batching>,
    samples: &[WarmUpSampleRun],
    device: Device,
) -> Vec<CandidateInputs> {
    let batched = config.max_batch_size > 0;
    let mut found: Vec<CandidateInputs> =
        samples.iter().map(|sample| given(sample, batched, binding)).collect();
    let ranges = if device.is_host() { Values::WIDENING } else { Values::CAREFUL };
    for inputs in shapes(binding, batched, batching) {
        for values in ranges.iter().filter(|values| matters(values, &inputs)) {
            found.push(CandidateInputs { inputs: inputs.clone(), values: Some(*values), shared: Vec::new() });
        }
    }
    found
}

/// Whether drawing between these values gives what the usual ones don't.
fn matters(values: &Values, inputs: &[TrialInput]) -> bool {
    let (Values { whole, real }, usual) = (*values, Values::USUAL);
    let drawn = || inputs.iter().filter(|input| input.data.is_none());
    *values == usual
        || (whole != usual.whole
            && drawn().any(|input| input.datatype.is_whole() && input.datatype != Datatype::Uint8))
        || (real != usual.real && drawn().any(|input| input.datatype.is_float()))
}

/// One row of each input, in each of the sizes that open dimensions may have.
fn shapes(binding: &Binding, batched: bool, batching: Option<&Batching>) -> Vec<Vec<TrialInput>> {
    if binding.inputs.is_empty() || binding.open {
        return Vec::new();
    }
    if let Some(padding) = batching.and_then(|batching| batching.padding.as_deref()) {
        let most = padding.lengths.max_length.unwrap_or(u32::MAX);
        let mut lengths = PADDED_LENGTHS.map(|length| padding.lengths.padded(length).min(most)).to_vec();
        // Rounded up they may be equal.
        lengths.dedup();
        return lengths.iter().filter_map(|length| padded_inputs(binding, padding, 1, *length)).collect();
    }
    let mut found: Vec<Vec<TrialInput>> = Vec::new();
    let numbers = numbers(&binding.inputs);
    for (open, number) in
        OPEN_DIMENSIONS.iter().flat_map(|open| numbers.iter().map(|number| (*open, *number)))
    {
        let inputs = binding.inputs.iter().map(|input| one_row(input, batched, open, number));
        let Some(inputs) = sent(inputs) else { return Vec::new() };
        let small = inputs.iter().all(|input| input.elements() <= MOST_ELEMENTS);
        if small && !found.contains(&inputs) {
            found.push(inputs);
        }
    }
    found
}

fn one_row(input: &BoundInput, batched: bool, open: i64, number: u32) -> Option<Unsent> {
    if input.spec.is_none() || input.leaf.shared().is_some() {
        return unsent(input, batched.then_some(1), number);
    }
    let spec = input.spec.as_ref()?;
    let dims = spec.reshape.as_ref().unwrap_or(&spec.dims).iter();
    let dims = dims.map(|size| if *size < 0 { open } else { *size });
    let shape = batched.then_some(1).into_iter().chain(dims).collect();
    let name = input.place.to_string();
    Some(Unsent::Value(TrialInput { name, datatype: spec.datatype, shape, data: None }))
}

/// The first row of a sample, whose rows are equal.
fn given(sample: &WarmUpSampleRun, batched: bool, binding: &Binding) -> CandidateInputs {
    let first_row = |input: &TrialInput| {
        let mut input = input.clone();
        let rows = if batched { input.shape.first().copied().unwrap_or(1) } else { 1 };
        if let (true, Some(first)) = (batched, input.shape.first_mut()) {
            *first = 1;
        }
        input.data =
            input.data.map(|data| data.slice(..data.len() / usize::try_from(rows).unwrap_or(1).max(1)));
        input
    };
    let shared = binding.inputs.iter().filter(|input| input.leaf.shared().is_some());
    let shared = shared.map(|input| Arc::clone(&input.place)).collect();
    CandidateInputs { inputs: sample.inputs.iter().map(first_row).collect(), values: None, shared }
}

/// The same elements in another order, which a model mostly takes, too. Strings
/// stay.
fn turned(input: &TrialInput, by: u64) -> TrialInput {
    let (Some(size), Some(data)) = (input.datatype.size(), &input.data) else { return input.clone() };
    let count = data.len() / size;
    if count < 2 {
        return input.clone();
    }
    let at = usize::try_from(by % count as u64).unwrap_or(0) * size;
    let turned = Bytes::from([&data[at..], &data[..at]].concat());
    TrialInput { data: Some(turned), ..input.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::{Argument, ArgumentKind, Signature};

    fn all(inputs: &str, device: Device) -> Vec<CandidateInputs> {
        let text = format!("max_batch_size: 8 input [ {inputs} ]");
        let config = ModelConfig::from_pbtxt(&text, "m").unwrap();
        let names = config.inputs.iter().map(|input| input.name.clone());
        let argument = |name| Argument { name, kind: ArgumentKind::Tensor, optional: false };
        let signature = Signature { arguments: names.map(argument).collect(), ..Signature::default() };
        candidates(&config, &Binding::new(&config, &signature).unwrap(), None, &[], device)
    }

    #[test]
    fn open_dimensions_take_usual_sizes_and_whole_numbers_widen() {
        let shapes = |all: &[CandidateInputs]| -> Vec<Vec<i64>> {
            all.iter().map(|candidate| candidate.inputs[0].shape.clone()).collect()
        };
        let image = all(r#"{ name: "x" data_type: TYPE_UINT8 dims: [ 3, 4 ] }"#, Device::Cpu);
        assert_eq!(shapes(&image), [[1, 3, 4]], "nothing is open, and bytes have one range");
        let text = all(r#"{ name: "x" data_type: TYPE_INT64 dims: [ -1 ] }"#, Device::Cpu);
        let sizes = [8, 8, 8, 64, 64, 64, 224, 224, 224, 1, 1, 1, 16_000, 16_000, 16_000];
        assert_eq!(shapes(&text), sizes.map(|size| vec![1, size]));
        // An index beyond a table ends a process that runs on a GPU.
        let on_gpu = all(r#"{ name: "x" data_type: TYPE_INT64 dims: [ -1 ] }"#, Device::cuda(0));
        assert_eq!(shapes(&on_gpu), [8, 64, 224, 1, 16_000].map(|size| vec![1, size]));
        assert!(on_gpu.iter().all(|candidate| candidate.values.unwrap().whole == (0, 1)));
        let square = all(r#"{ name: "x" data_type: TYPE_FP32 dims: [ -1, -1 ] }"#, Device::Cpu);
        assert!(shapes(&square).iter().all(|shape| shape[1] < 16_000), "{square:?}");
    }

    #[test]
    fn a_sample_s_rows_are_its_own_elements_in_other_places() {
        let input = |shape: &[i64], data: &'static [u8]| TrialInput {
            name: "x".to_owned(),
            datatype: Datatype::Uint16,
            shape: shape.to_vec(),
            data: Some(Bytes::from_static(data)),
        };
        let inputs =
            vec![input(&[2, 3], &[1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 3, 0]), input(&[2, 1], &[9, 0, 9, 0])];
        let nothing = Binding::new(&ModelConfig::undeclared("m"), &Signature::default()).unwrap();
        let sample = given(&WarmUpSampleRun { name: "s".to_owned(), count: 1, inputs }, true, &nothing);
        let rows = [0, 1].map(|number| sample.row(number));
        assert_eq!(rows[0], [input(&[1, 3], &[1, 0, 2, 0, 3, 0]), input(&[1, 1], &[9, 0])]);
        assert_eq!(rows[1], [input(&[1, 3], &[2, 0, 3, 0, 1, 0]), input(&[1, 1], &[9, 0])]);
    }
}
