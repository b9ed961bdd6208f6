//! Runs before the first request: libtorch profiles a graph on its first run,
//! compiles it on the second and is at its steady speed from the third; a
//! further batch size costs little once.

use crate::instance::WarmUpInput;
use crate::model_config::{Binding, ModelConfig};

/// How often the first shape runs until it is at its steady speed.
const RUNS_UNTIL_STEADY: usize = 3;

/// The inputs to run, in order: batch 1 until it is steady, then each power
/// of two and the maximum. Empty where the configuration leaves a dimension
/// open or the datatype has no zero: then the first requests pay.
pub(super) fn warm_up_runs(config: &ModelConfig, binding: &Binding) -> Vec<Vec<WarmUpInput>> {
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
                Some(WarmUpInput { name: input.name.clone(), datatype: spec.datatype, shape })
            })
            .collect()
    };
    if !config.declared {
        return Vec::new();
    }
    let first = (config.max_batch_size > 0).then_some(1);
    let Some(steady) = run(first) else { return Vec::new() };
    let mut runs = vec![steady; RUNS_UNTIL_STEADY];
    if config.dynamic_batching.is_some() {
        let mut size = 2;
        while size < config.max_batch_size {
            runs.extend(run(Some(size)));
            size *= 2;
        }
        if config.max_batch_size > 1 {
            runs.extend(run(Some(config.max_batch_size)));
        }
    }
    runs
}
