//! Triton's switches from a configuration's `parameters`, and the options of a
//! model's settings.

use super::ffi::{RawOptions, RawOutputType, RawPrecision};
use super::scalar_type;
use cresset_backend::{BackendError, LoadOptions, Optimize, Parameters, ReducedType};
use cresset_protocol::Datatype;

/// How a module is prepared and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    /// `INFERENCE_MODE`: InferenceMode, or no_grad if it is false.
    inference_mode: bool,
    /// The inverse of `DISABLE_OPTIMIZED_EXECUTION`.
    optimized_execution: bool,
    /// `ENABLE_JIT_EXECUTOR` or `ENABLE_JIT_PROFILING` is false. libtorch's
    /// switches for these two are global to the process. It also has an
    /// executor for a single function that neither profiles nor specialises.
    /// This executor is used, so that a model doesn't affect others.
    simple_executor: bool,
    /// Whether attributes become constants.
    freeze: bool,
    /// `[optimize] for_inference`.
    for_inference: bool,
    /// `ENABLE_TENSOR_FUSER`: global to the process in libtorch.
    pub(super) tensor_fuser: Option<bool>,
    /// `INTRA_OP_THREAD_COUNT`, in place of the server's plan.
    pub(super) intra_op_threads: Option<usize>,
    /// `INTER_OP_THREAD_COUNT`: global to the process in libtorch, and fixed by
    /// the first model that names it.
    pub(super) inter_op_threads: Option<usize>,
    /// The inverse of `DISABLE_CUDNN`: global to the process.
    pub(super) cudnn: Option<bool>,
    /// `ENABLE_CACHE_CLEANING`: accelerators get unused memory back after each
    /// run.
    pub(super) cache_cleaning: bool,
}

impl Options {
    pub(super) fn new(parameters: &Parameters, optimize: Optimize) -> Result<Self, BackendError> {
        let off = |key: &str| parameters.bool(key) == Some(false);
        let optimized_execution = !parameters.bool("DISABLE_OPTIMIZED_EXECUTION").unwrap_or(false);
        let simple_executor = off("ENABLE_JIT_EXECUTOR") || off("ENABLE_JIT_PROFILING");
        // A configuration that turns the optimising executor off asks for the
        // graph as it was exported. Some frozen graphs don't even run without
        // it.
        let may_freeze = optimized_execution && !simple_executor;
        if !may_freeze && (optimize.freeze == Some(true) || optimize.is_for_inference()) {
            let asked = if optimize.is_for_inference() { "for_inference" } else { "freeze" };
            let message = format!(
                "cresset.toml: [optimize] {asked} = true: config.pbtxt turns the optimising executor off \
                 (DISABLE_OPTIMIZED_EXECUTION, ENABLE_JIT_EXECUTOR or ENABLE_JIT_PROFILING); \
                 leave one of the two out"
            );
            return Err(BackendError::Load { detail: message.clone(), message });
        }
        Ok(Self {
            inference_mode: parameters.bool("INFERENCE_MODE").unwrap_or(true),
            optimized_execution,
            simple_executor,
            freeze: may_freeze && optimize.freeze != Some(false),
            for_inference: optimize.is_for_inference(),
            tensor_fuser: parameters.bool("ENABLE_TENSOR_FUSER"),
            intra_op_threads: threads(parameters, "INTRA_OP_THREAD_COUNT")?,
            inter_op_threads: threads(parameters, "INTER_OP_THREAD_COUNT")?,
            cudnn: parameters.bool("DISABLE_CUDNN").map(|disabled| !disabled),
            cache_cleaning: parameters.bool("ENABLE_CACHE_CLEANING").unwrap_or(false),
        })
    }

    pub(super) fn raw(&self) -> RawOptions {
        RawOptions {
            inference_mode: self.inference_mode.into(),
            freeze: self.freeze.into(),
            simple_executor: self.simple_executor.into(),
            optimized_execution: self.optimized_execution.into(),
            for_inference: self.for_inference.into(),
        }
    }
}

/// Load options as the shim takes them.
pub(super) struct Precision<'a> {
    asked: &'a LoadOptions,
    outputs: Vec<RawOutputType>,
}

impl<'a> Precision<'a> {
    pub(super) fn new(asked: &'a LoadOptions) -> Self {
        let raw = |output: &cresset_backend::OutputType| RawOutputType {
            name: output.name.as_ptr().cast(),
            name_length: output.name.len(),
            index: output.index,
            scalar_type: scalar_type::from_datatype(output.datatype),
        };
        // Strings can't be cast.
        let tensors = asked.outputs.iter().filter(|output| output.datatype != Datatype::Bytes);
        Self { asked, outputs: tensors.map(raw).collect() }
    }

    /// Points into `self`.
    pub(super) fn raw(&self) -> RawPrecision {
        let number = |reduced: Option<ReducedType>| {
            reduced.map_or(-1, |reduced| scalar_type::from_datatype(reduced.into()))
        };
        RawPrecision {
            weights: number(self.asked.precision.weights),
            autocast: number(self.asked.precision.autocast),
            channels_last: self.asked.precision.channels_last.into(),
            outputs: self.outputs.as_ptr(),
            output_count: self.outputs.len(),
        }
    }
}

/// A number of threads. A large number is not refused here: libtorch decides
/// how many are too many.
fn threads(parameters: &Parameters, key: &str) -> Result<Option<usize>, BackendError> {
    match parameters.count(key) {
        Some(count @ 1025..) => {
            let message = format!("parameter {key}: expected a number from 1 to 1024, got '{count}'");
            Err(BackendError::Load { detail: message.clone(), message })
        }
        count => Ok(count.map(|count| count as usize)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::TORCH_SCRIPT;

    fn options(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        optimized(pairs, Optimize::default())
    }

    fn optimized(pairs: &[(&str, &str)], optimize: Optimize) -> Result<Options, BackendError> {
        let texts = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Options::new(&TORCH_SCRIPT.read_parameters(texts).unwrap(), optimize)
    }

    #[test]
    fn optimised_in_inference_mode_unless_told_otherwise() {
        let raw = options(&[("ENABLE_NVFUSER", "true")]).unwrap().raw();
        assert_eq!(
            (raw.inference_mode, raw.freeze, raw.simple_executor, raw.optimized_execution),
            (1, 1, 0, 1)
        );
        let raw = options(&[("INFERENCE_MODE", "FALSE"), ("ENABLE_JIT_PROFILING", "0")]).unwrap().raw();
        assert_eq!(
            (raw.inference_mode, raw.freeze, raw.simple_executor, raw.optimized_execution),
            (0, 0, 1, 1)
        );
        let raw = options(&[("DISABLE_OPTIMIZED_EXECUTION", "true")]).unwrap().raw();
        assert_eq!((raw.freeze, raw.optimized_execution), (0, 0));
        assert_eq!(options(&[("INTRA_OP_THREAD_COUNT", "3")]).unwrap().intra_op_threads, Some(3));
        assert!(!options(&[]).unwrap().cache_cleaning);
        assert_eq!(options(&[("INTER_OP_THREAD_COUNT", "2")]).unwrap().inter_op_threads, Some(2));
        assert_eq!(options(&[("DISABLE_CUDNN", "1")]).unwrap().cudnn, Some(false));
        assert!(options(&[("ENABLE_CACHE_CLEANING", "true")]).unwrap().cache_cleaning);
    }

    #[test]
    fn more_threads_than_there_may_be_are_refused() {
        let error = options(&[("INTRA_OP_THREAD_COUNT", "1025")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter INTRA_OP_THREAD_COUNT: expected a number from 1 to 1024, got '1025'"
        );
        assert_eq!(options(&[("INTER_OP_THREAD_COUNT", "1024")]).unwrap().inter_op_threads, Some(1024));
    }

    #[test]
    fn freezing_is_as_asked_for_where_the_executor_allows_it() {
        let off = Optimize { freeze: Some(false), for_inference: Some(false) };
        assert_eq!(optimized(&[], off).unwrap().raw().freeze, 0);
        let for_inference = Optimize { freeze: None, for_inference: Some(true) };
        let raw = optimized(&[], for_inference).unwrap().raw();
        assert_eq!((raw.freeze, raw.for_inference), (1, 1));
        let on = Optimize { freeze: Some(true), for_inference: None };
        for (asked, key) in [(on, "freeze"), (for_inference, "for_inference")] {
            let error = optimized(&[("ENABLE_JIT_PROFILING", "false")], asked).unwrap_err();
            let expected = format!("cresset.toml: [optimize] {key} = true: config.pbtxt turns");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        assert!(optimized(&[("DISABLE_OPTIMIZED_EXECUTION", "1")], off).is_ok());
    }
}
