//! Runs before clients' own: libtorch profiles a graph on its first run,
//! compiles it on the second and is at its steady speed from the third. A
//! further batch size costs little, and only once.

use crate::instance::{Padding, WarmUp};
use crate::model::answering::batching::Batching;
use crate::model::answering::check::bucket;
use crate::model::tuning::declared::{declared_inputs, padded_inputs};
use crate::model_config::{Binding, ModelConfig};
use crate::trial::experiment::RUNS_UNTIL_STEADY;

/// How many times as long as the shortest the longest input is that is run if the
/// settings don't say how long requests are.
const LONGEST: u32 = 16;

/// The runs of a model:
///
/// - before it is ready, batches of 1 until it is steady;
/// - then, while no request waits, each power of two and the maximum;
/// - if requests are padded, all of those at the shortest length, and then a batch
///   of 1 at each length that is twice the one before.
///
/// There are none if the configuration leaves another dimension open or the
/// datatype has no zero: then the first requests pay.
pub(super) fn warm_up(config: &ModelConfig, binding: &Binding, batching: &Batching) -> WarmUp {
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
