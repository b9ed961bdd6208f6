//! What a served version was made of, to tell whether the repository has
//! changed since.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::ModelSource;
use crate::model_config::ModelConfig;
use crate::model_repository::FileStamp;
use crate::model_settings::{BatchingSettings, Objective};
use crate::transform::Transforms;
use cresset_backend::LoadOptions;
use cresset_protocol::NonFinite;

/// A version's configuration, settings and file. It is taken before they are
/// read, so that a change during the load is noticed.
#[derive(Clone)]
pub(super) struct Origin {
    config: Arc<ModelConfig>,
    transforms: Option<Arc<Transforms>>,
    options: LoadOptions,
    batching: BatchingSettings,
    objective: Objective,
    non_finite: NonFinite,
    op_libraries: Vec<PathBuf>,
    file: PathBuf,
    /// `None` if there was no file.
    stamp: Option<FileStamp>,
}

impl Origin {
    pub(super) fn of(source: &ModelSource) -> Self {
        Self {
            config: Arc::clone(&source.config),
            transforms: source.transforms.clone(),
            options: source.options.clone(),
            batching: source.batching.clone(),
            objective: source.objective,
            non_finite: source.non_finite,
            op_libraries: source.op_libraries.clone(),
            file: source.file.clone(),
            stamp: FileStamp::of(&source.file).ok(),
        }
    }

    /// Whether a version that was made of this need not be loaded again.
    pub(super) fn is_still(&self, other: &Self) -> bool {
        self.stamp.is_some()
            && self.stamp == other.stamp
            && self.file == other.file
            && self.op_libraries == other.op_libraries
            && self.config == other.config
            && self.transforms == other.transforms
            && self.options == other.options
            && self.batching == other.batching
            && self.objective == other.objective
            && self.non_finite == other.non_finite
    }
}
