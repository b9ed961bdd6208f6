//! A version's file, with the backend that loads it.

use std::sync::Arc;

use super::source::ModelSource;
use crate::model::placement::Resources;
use cresset_backend::{Backend, BackendError, Device, LoadOptions, LoadRequest, Model};

/// A version that isn't loaded yet, and all that loading it needs.
#[derive(Clone, Copy)]
pub(super) struct ModelFile<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) source: &'a ModelSource,
    pub(super) resources: &'a Resources,
}

impl ModelFile<'_> {
    /// Loads the file with these options. A device that fails meanwhile is known
    /// to have failed from then on.
    ///
    /// # Errors
    /// As of [`Backend::load`], or that the format knows nothing of an option.
    pub(super) fn load(&self, device: Device, options: &LoadOptions) -> Result<Arc<dyn Model>, BackendError> {
        let loaded = self.backend.load(&LoadRequest {
            path: &self.source.file,
            device,
            parameters: &self.source.config.parameters,
            overlapped: self.resources.overlapped,
            options,
        });
        let model = loaded.inspect_err(|error| self.resources.health.notice(device, error))?;
        model.format().check(&options.optimize)?;
        Ok(model)
    }
}
