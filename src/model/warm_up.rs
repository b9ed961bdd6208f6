//! Runs before clients' own: libtorch profiles a graph on its first run,
//! compiles it on the second and is at its steady speed from the third; a
//! further batch size costs little once.

use crate::instance::{WarmUp, WarmUpInput};
use crate::model_config::{Binding, ModelConfig};

/// How often the first shape runs until it is at its steady speed.
const RUNS_UNTIL_STEADY: usize = 3;

/// The runs of a model: batch 1 until it is steady before it is ready, then
/// each power of two and the maximum while nobody asks. None where the
/// configuration leaves a dimension open or the datatype has no zero: then the
/// first requests pay.
pub(super) fn warm_up(config: &ModelConfig, binding: &Binding) -> WarmUp {
    let run = |batch: Option<u32>| -> Option<Vec<WarmUpInput>> {
        binding
            .inputs
            .iter()
            .map(|input| {
                let spec = input.spec.as_ref()?;
                let dims = spec.reshape.as_ref().unwrap_or(&spec.dims);
                if dims.iter().any(|dimension| *dimension < 0) || spec.datatype.size().is_none() {
                    return None;
                }
                let shape = batch.map(i64::from).into_iter().chain(dims.iter().copied()).collect();
                Some(WarmUpInput { name: input.name.clone(), datatype: spec.datatype, shape, data: None })
            })
            .collect()
    };
    if !config.declared {
        return WarmUp::default();
    }
    let single = (config.max_batch_size > 0).then_some(1);
    let Some(steady) = run(single) else { return WarmUp::default() };
    let largest = if config.dynamic_batching.is_some() { config.max_batch_size } else { 0 };
    let powers = std::iter::successors(Some(2_u32), |size| size.checked_mul(2));
    let sizes = powers.take_while(|size| *size < largest).chain((largest > 1).then_some(largest));
    WarmUp {
        samples: Vec::new(),
        first: vec![steady; RUNS_UNTIL_STEADY],
        later: sizes.filter_map(|size| run(Some(size))).collect(),
    }
}
