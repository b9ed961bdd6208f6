//! What a served version was made of, to tell whether it is still what the
//! repository holds.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::ModelSource;
use crate::model_config::ModelConfig;
use crate::model_repository::FileStamp;
use crate::model_settings::{BatchingSettings, Objective};
use crate::transform::Transforms;
use cresset_backend::Preparation;
use cresset_protocol::NonFinite;

/// A version's configuration, settings and file, taken before they were
/// read: a change that comes meanwhile is a change.
#[derive(Clone)]
pub(super) struct Origin {
    config: Arc<ModelConfig>,
    transforms: Option<Arc<Transforms>>,
    preparation: Preparation,
    batching: BatchingSettings,
    objective: Objective,
    non_finite: NonFinite,
    op_libraries: Vec<PathBuf>,
    file: PathBuf,
    /// `None` where there was no file.
    stamp: Option<FileStamp>,
}

impl Origin {
    pub(super) fn of(source: &ModelSource) -> Self {
        Self {
            config: Arc::clone(&source.config),
            transforms: source.transforms.clone(),
            preparation: source.preparation.clone(),
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
            && self.preparation == other.preparation
            && self.batching == other.batching
            && self.objective == other.objective
            && self.non_finite == other.non_finite
    }
}
