//! Triton's switches, out of a configuration's `parameters`.

use std::collections::BTreeMap;

use super::ffi::RawOptions;
use crate::backend::BackendError;

/// How a module is prepared and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    /// `INFERENCE_MODE`: InferenceMode, or no_grad where it is false.
    inference_mode: bool,
    /// `DISABLE_OPTIMIZED_EXECUTION`, the other way round.
    optimized_execution: bool,
    /// `ENABLE_JIT_EXECUTOR` or `ENABLE_JIT_PROFILING` is false: libtorch has
    /// switches for the whole process for these two, and an executor for one
    /// function that neither profiles nor specialises; that one it is, so that
    /// no model decides for its neighbours.
    simple_executor: bool,
    /// `ENABLE_TENSOR_FUSER`: libtorch keeps it for the whole process.
    pub(super) tensor_fuser: Option<bool>,
    /// `INTRA_OP_THREAD_COUNT`, in place of the server's plan.
    pub(super) intra_op_threads: Option<usize>,
    /// `INTER_OP_THREAD_COUNT`: libtorch keeps it for the whole process, and
    /// the first model that names it decides.
    pub(super) inter_op_threads: Option<usize>,
    /// `DISABLE_CUDNN`, the other way round: kept for the whole process.
    pub(super) cudnn: Option<bool>,
    /// `ENABLE_CACHE_CLEANING`: CUDA devices get memory that no tensor is in
    /// back after each run.
    pub(super) cache_cleaning: bool,
}

impl Options {
    pub(super) fn new(parameters: &BTreeMap<String, String>) -> Result<Self, BackendError> {
        let switch = |key: &str| parameters.get(key).map(|text| truth(key, text)).transpose();
        let off = |key: &str| Ok::<bool, BackendError>(switch(key)? == Some(false));
        Ok(Self {
            inference_mode: switch("INFERENCE_MODE")?.unwrap_or(true),
            optimized_execution: !switch("DISABLE_OPTIMIZED_EXECUTION")?.unwrap_or(false),
            simple_executor: off("ENABLE_JIT_EXECUTOR")? | off("ENABLE_JIT_PROFILING")?,
            tensor_fuser: switch("ENABLE_TENSOR_FUSER")?,
            intra_op_threads: parameters
                .get("INTRA_OP_THREAD_COUNT")
                .map(|text| count("INTRA_OP_THREAD_COUNT", text))
                .transpose()?,
            inter_op_threads: parameters
                .get("INTER_OP_THREAD_COUNT")
                .map(|text| count("INTER_OP_THREAD_COUNT", text))
                .transpose()?,
            cudnn: switch("DISABLE_CUDNN")?.map(|disabled| !disabled),
            cache_cleaning: switch("ENABLE_CACHE_CLEANING")?.unwrap_or(false),
        })
    }

    pub(super) fn raw(&self) -> RawOptions {
        // Whoever turns the optimising executor off wants the graph as it was
        // exported; some frozen graphs don't even run without it.
        let freeze = self.optimized_execution && !self.simple_executor;
        RawOptions {
            inference_mode: self.inference_mode.into(),
            freeze: freeze.into(),
            simple_executor: self.simple_executor.into(),
            optimized_execution: self.optimized_execution.into(),
        }
    }
}

fn truth(key: &str, text: &str) -> Result<bool, BackendError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refused(key, "true or false", text)),
    }
}

fn count(key: &str, text: &str) -> Result<usize, BackendError> {
    match text.trim().parse() {
        Ok(count) if (1..=1024).contains(&count) => Ok(count),
        _ => Err(refused(key, "a number from 1 to 1024", text)),
    }
}

fn refused(key: &str, expected: &str, text: &str) -> BackendError {
    let message = format!("parameter {key}: expected {expected}, got '{text}'");
    BackendError::Load { detail: message.clone(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Options, BackendError> {
        Options::new(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
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
    fn a_value_that_is_none_is_named() {
        let error = options(&[("INFERENCE_MODE", "maybe")]).unwrap_err();
        assert_eq!(error.to_string(), "parameter INFERENCE_MODE: expected true or false, got 'maybe'");
        assert!(options(&[("INTRA_OP_THREAD_COUNT", "0")]).is_err());
    }
}
