//! The first step of a version's way into service.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model_config::ModelConfig;
use crate::model_settings::{BatchingSettings, Objective};
use crate::transform::Transforms;
use cresset_backend::LoadOptions;
use cresset_protocol::NonFinite;

/// A version as it is to be served: its file, its configuration, its settings.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The version's number.
    pub version: u64,
    /// The model's directory, which holds the files beside its versions; `None`
    /// if it has none.
    pub directory: Option<PathBuf>,
    /// The model file, with links followed.
    pub file: PathBuf,
    /// Libraries of operators that it needs, with links followed.
    pub op_libraries: Vec<PathBuf>,
    /// The model's configuration.
    pub config: Arc<ModelConfig>,
    /// Its preprocessor and its postprocessor.
    pub transforms: Option<Arc<Transforms>>,
    /// Its precision, layout and optimisations.
    pub options: LoadOptions,
    /// How its requests share batches.
    pub batching: BatchingSettings,
    /// The goal of its scheduler.
    pub objective: Objective,
    /// What stands for NaN and infinities if JSON is meant to be strict.
    pub non_finite: NonFinite,
}

impl ModelSource {
    /// Version 1 of a model of one file, without a directory and with default
    /// settings.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, config: ModelConfig) -> Self {
        Self {
            version: 1,
            directory: None,
            file: file.into(),
            op_libraries: Vec::new(),
            config: Arc::new(config),
            transforms: None,
            options: LoadOptions::default(),
            batching: BatchingSettings::default(),
            objective: Objective::default(),
            non_finite: NonFinite::default(),
        }
    }
}
