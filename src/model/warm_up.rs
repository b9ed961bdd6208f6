//! Runs before clients' own: libtorch profiles a graph on its first run,
//! compiles it on the second and is at its steady speed from the third; a
//! further batch size costs little once.

use super::check::bucket;
use crate::instance::{WarmUp, WarmUpInput};
use crate::model_config::{Binding, ModelConfig};

/// How often the first shape runs until it is at its steady speed.
const RUNS_UNTIL_STEADY: usize = 3;

/// The runs of a model: batch 1 until it is steady before it is ready, then
/// each power of two and the maximum while nobody asks. None where the
/// configuration leaves a dimension open or the datatype has no zero: then the
/// first requests pay.
pub(super) fn warm_up(config: &ModelConfig, binding: &Binding) -> WarmUp {
    if !config.declared {
        return WarmUp::default();
    }
    let single = (config.max_batch_size > 0).then_some(1);
    let Some(steady) = declared_inputs(binding, single, None) else { return WarmUp::default() };
    let largest = if config.dynamic_batching.is_some() { config.max_batch_size } else { 0 };
    let powers = std::iter::successors(Some(2_u32), |size| size.checked_mul(2));
    let sizes = powers.take_while(|size| *size < largest).chain((largest > 1).then_some(largest));
    let bucket = bucket(steady.iter().map(|input| (input.datatype, input.shape.as_slice())), config);
    WarmUp {
        samples: Vec::new(),
        first: vec![steady; RUNS_UNTIL_STEADY],
        later: sizes.filter_map(|size| declared_inputs(binding, Some(size), None)).collect(),
        bucket,
    }
}

/// Inputs as they are configured, a dimension that varies being `open`. None
/// where that isn't given, where the configuration doesn't say, or where the
/// datatype has no zero.
pub(super) fn declared_inputs(
    binding: &Binding,
    batch: Option<u32>,
    open: Option<i64>,
) -> Option<Vec<WarmUpInput>> {
    binding
        .inputs
        .iter()
        .map(|input| {
            let spec = input.spec.as_ref()?;
            spec.datatype.size()?;
            let dims = spec.reshape.as_ref().unwrap_or(&spec.dims).iter();
            let dims: Vec<i64> = dims
                .map(|dimension| if *dimension < 0 { open } else { Some(*dimension) })
                .collect::<Option<_>>()?;
            let shape = batch.map(i64::from).into_iter().chain(dims).collect();
            Some(WarmUpInput { name: input.name.clone(), datatype: spec.datatype, shape, data: None })
        })
        .collect()
}
