//! Runs before clients' own: libtorch profiles a graph on its first run,
//! compiles it on the second and is at its steady speed from the third; a
//! further batch size costs little once.

use bytes::Bytes;

use super::batching::Batching;
use crate::instance::{Fill, Padding, WarmUp};
use crate::model::answering::check::bucket;
use crate::model_config::{Binding, BoundInput, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::values::{Unsent, unsent};

/// How often the first shape runs until it is at its steady speed.
pub(in crate::model) const RUNS_UNTIL_STEADY: usize = 3;

/// How many times as long as the shortest the longest is that is tried where
/// the settings don't say how long requests are.
const LONGEST: u32 = 16;

/// The runs of a model: batch 1 until it is steady before it is ready, then
/// each power of two and the maximum while nobody asks. Where requests are
/// padded, all of those at the shortest length, and then a batch of 1 at each
/// that is twice as long. None where the configuration leaves another dimension
/// open or the datatype has no zero: then the first requests pay.
pub(in crate::model) fn warm_up(config: &ModelConfig, binding: &Binding, batching: &Batching) -> WarmUp {
    if !config.declared {
        return WarmUp::default();
    }
    let padding = batching.padding.as_deref();
    let shortest = padding.map_or(0, |padding| padding.lengths.padded(1));
    let inputs = |rows: Option<u32>, length: u32| match padding {
        Some(padding) => padded_inputs(binding, padding, rows.unwrap_or(1), length),
        None => declared_inputs(binding, rows),
    };
    let single = (config.max_batch_size > 0).then_some(1);
    let Some(steady) = inputs(single, shortest) else { return WarmUp::default() };
    let largest = if config.dynamic_batching.is_some() { config.max_batch_size } else { 0 };
    let powers = std::iter::successors(Some(2_u32), |size| size.checked_mul(2));
    let sizes = powers.take_while(|size| *size < largest).chain((largest > 1).then_some(largest));
    let sizes = sizes.filter_map(|size| inputs(Some(size), shortest));
    let lengths = padding.map_or_else(Vec::new, |padding| further_lengths(padding, shortest));
    let lengths = lengths.into_iter().filter_map(|length| inputs(single, length));
    let bucket =
        bucket(steady.iter().map(|input| (input.datatype, input.shape.as_slice())), config, batching);
    WarmUp {
        samples: Vec::new(),
        first: vec![steady; RUNS_UNTIL_STEADY],
        later: sizes.chain(lengths).filter(|inputs| batching.allows(inputs)).collect(),
        bucket,
    }
}

/// Each twice as long as the one before, up to the longest.
fn further_lengths(padding: &Padding, shortest: u32) -> Vec<u32> {
    let longest = padding.lengths.max_length.unwrap_or_else(|| shortest.saturating_mul(LONGEST));
    let longer = std::iter::successors(Some(shortest), |length| length.checked_mul(2)).skip(1);
    let mut lengths: Vec<u32> =
        longer.take_while(|length| *length < longest).map(|length| padding.lengths.padded(length)).collect();
    lengths.push(longest);
    lengths.dedup();
    lengths.retain(|length| *length > shortest);
    lengths
}

/// Inputs of `rows` requests, each of this length.
pub(in crate::model) fn padded_inputs(
    binding: &Binding,
    padding: &Padding,
    rows: u32,
    length: u32,
) -> Option<Vec<TrialInput>> {
    let input = |(bound, fill): (&BoundInput, &Fill)| {
        if bound.spec.is_none() {
            return unsent(bound, Some(rows), 1);
        }
        let spec = bound.spec.as_ref()?;
        spec.datatype.size()?;
        let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
        let mut shape: Vec<i64> = std::iter::once(i64::from(rows)).chain(dims.iter().copied()).collect();
        if let Fill::Padded { dimension, .. } | Fill::Mask { dimension, .. } = fill {
            *shape.get_mut(*dimension)? = i64::from(length);
        }
        if shape.iter().any(|size| *size < 0) {
            return None;
        }
        // A model may divide by the number of rows that its mask keeps.
        let element = match fill {
            Fill::Mask { datatype, .. } => Some(datatype.element(1)),
            Fill::Length { datatype } => Some(datatype.element(length)),
            Fill::AsSent | Fill::Padded { .. } => None,
        };
        let elements = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
        let data = element.map(|element| Bytes::from(element.repeat(elements)));
        Some(Unsent::Value(TrialInput {
            name: bound.place.to_string(),
            datatype: spec.datatype,
            shape,
            data,
        }))
    };
    sent(binding.inputs.iter().zip(&padding.inputs).map(input))
}

/// Inputs as they are configured. None where a dimension varies, the
/// configuration doesn't say, or the datatype has no zero.
fn declared_inputs(binding: &Binding, batch: Option<u32>) -> Option<Vec<TrialInput>> {
    let declared = |input: &BoundInput| {
        if input.leaf.shared().is_some() || input.spec.is_none() {
            return unsent(input, batch, 1);
        }
        let spec = input.spec.as_ref()?;
        spec.datatype.size()?;
        let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
        if dims.iter().any(|size| *size < 0) {
            return None;
        }
        let shape = batch.map(i64::from).into_iter().chain(dims.iter().copied()).collect();
        Some(Unsent::Value(TrialInput {
            name: input.place.to_string(),
            datatype: spec.datatype,
            shape,
            data: None,
        }))
    };
    sent(binding.inputs.iter().map(declared))
}

/// Those that are sent; `None` where one can't be made up.
pub(in crate::model) fn sent(inputs: impl Iterator<Item = Option<Unsent>>) -> Option<Vec<TrialInput>> {
    let value = |input| match input {
        Some(Unsent::Out) => None,
        Some(Unsent::Value(input)) => Some(Some(input)),
        None => Some(None),
    };
    inputs.filter_map(value).collect()
}
