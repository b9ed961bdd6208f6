//! From the source to a model in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::LoadError;
use super::file::ModelFile;
use super::plan::plan;
use super::prepare::{PreparedModel, prepare};
use cresset_backend::{BackendError, Device, LoadOptions, Model, Signature};

/// A version whose file is loaded on the first of its devices. All further
/// steps depend on the file.
pub(super) struct LoadedModel<'a> {
    pub(super) file: ModelFile<'a>,
    /// The first device that it is placed on.
    pub(super) device: Device,
    pub(super) model: Arc<dyn Model>,
    /// The options in effect.
    pub(super) options: LoadOptions,
    /// The effect of the options on the answers.
    pub(super) precision_note: Option<String>,
    /// Whether an instance has the model that was loaded first.
    taken: bool,
    /// The same file on further devices, if one model serves several instances.
    further: BTreeMap<Device, Arc<dyn Model>>,
}

impl<'a> LoadedModel<'a> {
    /// Opens the libraries that the file needs, and loads it in the form that its
    /// settings ask for.
    ///
    /// # Errors
    /// That a library or the file can't be loaded, that there is no device for it,
    /// or that it doesn't run as its settings ask.
    pub(super) fn load(file: ModelFile<'a>) -> Result<Self, LoadError> {
        let ModelFile { backend, source, resources } = file;
        source.op_libraries.iter().try_for_each(|library| backend.open_operators(library))?;
        // Whether the model keeps state isn't known yet, and changes nothing about
        // the first placement's device.
        let (placements, _) = plan(&source.config.instance_groups, false, resources)?;
        let device = placements.first().map_or(Device::Cpu, |placement| placement.device);
        let PreparedModel { model, options, note: precision_note } = prepare(file, device)?;
        let loaded =
            Self { file, device, model, options, precision_note, taken: false, further: BTreeMap::new() };
        loaded.log_notes(loaded.signature());
        Ok(loaded)
    }

    pub(super) fn signature(&self) -> &Signature {
        self.model.signature()
    }

    pub(super) fn is_stateful(&self) -> bool {
        self.signature().stateful.is_some()
    }

    /// The model on this device. Its file is loaded once for each, or, if its format
    /// allows no sharing, as often as this is called.
    ///
    /// # Errors
    /// As of [`ModelFile::load`].
    pub(super) fn on(&mut self, device: Device) -> Result<Arc<dyn Model>, BackendError> {
        let shares = self.model.format().allows.share;
        if device == self.device && (shares || !self.taken) {
            self.taken = true;
            return Ok(Arc::clone(&self.model));
        }
        if let Some(model) = self.further.get(&device) {
            return Ok(Arc::clone(model));
        }
        let model = self.file.load(device, &self.options)?;
        self.log_notes(model.signature());
        if shares {
            self.further.insert(device, Arc::clone(&model));
        }
        Ok(model)
    }

    /// Says what an operator should know of the file.
    fn log_notes(&self, signature: &Signature) {
        let source = self.file.source;
        for note in &signature.notes {
            tracing::warn!(model = source.config.name, version = source.version, "{note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Step;
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};

    #[test]
    fn the_file_is_loaded_once_for_each_device() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), "");
        let mut loaded = LoadedModel::load(step.file()).unwrap();
        assert_eq!((loaded.device, loaded.precision_note.as_deref()), (Device::Cpu, None));
        assert!(!loaded.is_stateful());
        let first = loaded.on(Device::Cpu).unwrap();
        assert!(Arc::ptr_eq(&first, &loaded.model));
        let second = loaded.on(Device::AsSaved).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &loaded.on(Device::AsSaved).unwrap()));
    }

    #[test]
    fn a_file_that_cannot_be_loaded_says_why() {
        let step = Step::new(MockBackend::new(Behaviour::AddsFile, &["x"]), "");
        let error = LoadedModel::load(step.file()).err().unwrap().to_string();
        assert!(error.ends_with("the file holds '': expected a number"), "{error}");
        let step = Step::new(
            MockBackend::new(Behaviour::Identity, &["x"]),
            "instance_group { count: 5000 kind: KIND_CPU }",
        );
        let error = LoadedModel::load(step.file()).err().unwrap().to_string();
        assert!(error.starts_with("instance_group asks for 5000 instances"), "{error}");
    }
}
