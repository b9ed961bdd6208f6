//! A version's way into service, step by step: each takes what the one before
//! gave, and can be tested alone.

use super::bound::BoundModel;
use super::error::LoadError;
use super::file::ModelFile;
use super::loaded::LoadedModel;
use super::planned::PlannedModel;
use super::policy::QueueBounds;
use super::rehearsed::RehearsedModel;
use super::serve::{LoadOutcome, serve};
use super::source::ModelSource;
use crate::model::answering::served::ServedModel;
use crate::model::placement::Resources;
use cresset_backend::Backend;
use cresset_clock as clock;

impl ServedModel {
    /// Loads a version once for each device, starts its instances and waits until
    /// all are warm. `bounds` hold for its queue if the configuration doesn't say.
    ///
    /// # Errors
    /// Why it can't be served; nothing of it is left running.
    pub fn load(
        backend: &dyn Backend,
        source: &ModelSource,
        resources: &Resources,
        bounds: QueueBounds,
    ) -> Result<LoadOutcome, LoadError> {
        let started = clock::now();
        let loaded = LoadedModel::load(ModelFile { backend, source, resources })?;
        let bound = BoundModel::bind(loaded)?;
        let rehearsed = RehearsedModel::rehearse(bound)?;
        let planned = PlannedModel::plan(rehearsed)?;
        let LoadOutcome { model, improvement } = serve(planned, bounds)?;
        let load_time = clock::now() - started;
        Ok(LoadOutcome { model: ServedModel { load_time, ..model }, improvement })
    }
}
