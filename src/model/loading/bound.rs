//! From a loaded model to one whose configuration fits its file.

use std::sync::Arc;

use super::error::LoadError;
use super::fit::check_transforms;
use super::loaded::LoadedModel;
use super::samples::samples;
use crate::instance::WarmUpSampleRun;
use crate::model::answering::batching::Batching;
use crate::model_config::{Binding, ModelConfig};

/// A loaded model with a configuration that fits it.
pub(super) struct BoundModel<'a> {
    pub(super) loaded: LoadedModel<'a>,
    /// As it is in effect: without `dynamic_batching` if requests of different
    /// callers mustn't share batches.
    pub(super) config: Arc<ModelConfig>,
    /// Why they mustn't, if they mustn't.
    pub(super) apart: Option<String>,
    pub(super) binding: Arc<Binding>,
    pub(super) batching: Batching,
    pub(super) samples: Vec<WarmUpSampleRun>,
}

impl<'a> BoundModel<'a> {
    /// Holds the configuration and the settings against the file.
    ///
    /// # Errors
    /// The first that doesn't fit.
    pub(super) fn bind(loaded: LoadedModel<'a>) -> Result<Self, LoadError> {
        let source = loaded.file.source;
        let binding = Arc::new(Binding::new(&source.config, loaded.signature())?);
        warn(&loaded, &binding);
        let format = loaded.model.format();
        let alone = || (!format.allows.batch).then(|| format!("{} models don't allow it", format.name));
        let apart = loaded.signature().stateful.clone().or_else(alone).or_else(|| {
            // Nothing says that two callers' dictionaries have the same keys.
            let open = "forward takes a list or a dictionary whose values aren't configured";
            binding.open.then(|| open.to_owned())
        });
        let config = match &apart {
            Some(reason) => without_batches(&source.config, reason),
            None => Arc::clone(&source.config),
        };
        if let Some(transforms) = &source.transforms {
            check_transforms(transforms, &config, &binding).map_err(LoadError::Transform)?;
            let files: Vec<&str> = transforms.files().collect();
            tracing::debug!(model = config.name, ?files, "the declared transforms fit the model");
        }
        let batching = Batching::new(&source.batching, &config, &binding, apart.as_deref())?;
        let samples = samples(&config, &binding, source.directory.as_deref()).map_err(LoadError::WarmUp)?;
        Ok(Self { config, apart, binding, batching, samples, loaded })
    }

    /// The same model with each request in a batch of its own, because of
    /// `reason`.
    ///
    /// # Errors
    /// A setting that is about batches.
    pub(super) fn kept_apart(self, reason: &str) -> Result<Self, LoadError> {
        let config = without_batches(&self.config, reason);
        let settings = &self.loaded.file.source.batching;
        let batching = Batching::new(settings, &config, &self.binding, Some(reason))?;
        Ok(Self { config, apart: Some(reason.to_owned()), batching, ..self })
    }
}

fn warn(loaded: &LoadedModel<'_>, binding: &Binding) {
    let model = &loaded.file.source.config.name;
    if let Some(warning) = binding.warning() {
        tracing::warn!(model, "{warning}");
    }
    if let Some(reason) = &loaded.signature().stateful {
        tracing::warn!(
            model,
            reason,
            "the model keeps state, which all callers share: a request changes the answers to later requests"
        );
    }
}

/// The configuration without `dynamic_batching`. If it asked for batches, the log
/// says why there are none.
fn without_batches(config: &Arc<ModelConfig>, reason: &str) -> Arc<ModelConfig> {
    if config.dynamic_batching.is_none() {
        return Arc::clone(config);
    }
    tracing::warn!(model = config.name, reason, "requests of different callers aren't batched together");
    let mut apart = (**config).clone();
    apart.dynamic_batching = None;
    Arc::new(apart)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ROWS, Step};
    use super::*;
    use crate::model_settings::LargeRequests;
    use cresset_backend::mock::{Behaviour, MockBackend};

    fn mock() -> MockBackend {
        MockBackend::new(Behaviour::Identity, &["x"])
    }

    #[test]
    fn a_configuration_that_fits_is_in_effect_as_it_is() {
        let step = Step::new(mock(), ROWS);
        let bound = BoundModel::bind(LoadedModel::load(step.file()).unwrap()).unwrap();
        assert!(Arc::ptr_eq(&bound.config, &step.source.config));
        assert_eq!((bound.apart, bound.samples.len(), bound.binding.inputs.len()), (None, 0, 1));
    }

    #[test]
    fn a_model_that_keeps_state_has_no_batches_and_no_settings_about_them() {
        let mut step = Step::new(mock().stateful(), ROWS);
        let bound = BoundModel::bind(LoadedModel::load(step.file()).unwrap()).unwrap();
        assert!(bound.config.dynamic_batching.is_none());
        assert_eq!(bound.apart.as_deref(), Some("forward writes to the attribute 'count'"));
        step.source.batching.large_requests = LargeRequests::Split;
        let error = BoundModel::bind(LoadedModel::load(step.file()).unwrap()).err().unwrap().to_string();
        assert!(error.contains("the model has none: forward writes to the attribute 'count'"), "{error}");
    }

    #[test]
    fn an_input_that_the_file_lacks_is_refused() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x", "z"]), ROWS);
        let error = BoundModel::bind(LoadedModel::load(step.file()).unwrap()).err().unwrap();
        assert!(matches!(error, LoadError::Config(_)), "{error}");
    }
}
