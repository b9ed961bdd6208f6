//! What the steps' tests begin with.

use super::file::ModelFile;
use super::source::ModelSource;
use crate::model::placement::Resources;
use crate::model_config::ModelConfig;
use cresset_backend::mock::MockBackend;

/// A mock's model, two processors, and nothing beside the configuration.
pub(super) struct Step {
    pub(super) backend: MockBackend,
    pub(super) source: ModelSource,
    pub(super) resources: Resources,
}

/// Rows of two bytes.
pub(super) const ROWS: &str = r#"max_batch_size: 4
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ 2 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ 2 ] } ]
    dynamic_batching { }"#;

impl Step {
    pub(super) fn new(backend: MockBackend, config: &str) -> Self {
        let config = ModelConfig::from_pbtxt(config, "m").unwrap();
        Self { backend, source: ModelSource::new("gone.pt", config), resources: Resources::of_processors(2) }
    }

    pub(super) fn file(&self) -> ModelFile<'_> {
        ModelFile { backend: &self.backend, source: &self.source, resources: &self.resources }
    }
}
