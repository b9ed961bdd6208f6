//! A model repository into a table of served models.

use std::path::Path;
use std::sync::Arc;

use super::{Engine, ModelState, ModelTable};
use crate::backend::{Backend, Preparation};
use crate::model::{ModelSource, Resources, ServedModel};
use crate::model_config::ModelConfig;
use crate::model_repository::{ModelEntry, ModelRepository, Problem, RepositoryError, VersionEntry};
use crate::model_settings::{ModelSettings, SettingsError, read_labels};

/// What came of loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// A line for each version that is served.
    pub served: Vec<String>,
    /// A line for each model or version that isn't, with the reason.
    pub failed: Vec<String>,
}

/// Loads what the repository holds, one model after the other, each served as
/// soon as it is warm. A model that fails fails alone.
///
/// # Errors
/// When the repository itself can't be read.
pub fn load_models(
    engine: &Engine,
    backend: &dyn Backend,
    repository: &ModelRepository,
    resources: &Resources,
    queue_capacity: usize,
) -> Result<LoadReport, RepositoryError> {
    let mut table = ModelTable::default();
    let mut report = LoadReport::default();
    let mut failures = Vec::new();
    for entry in repository.models()? {
        let name = entry.name.clone();
        let state = load_model(entry, backend, resources, queue_capacity);
        for model in state.versions.values() {
            let line = describe(model);
            tracing::debug!("serving {line}");
            report.served.push(line);
        }
        failures.extend(state.failures.iter().map(|reason| (name.clone(), reason.clone())));
        table.insert(name, state);
        engine.publish(table.clone());
    }
    for (name, reason) in failures {
        // Where nothing is served, the process ends, and says so itself.
        if !report.served.is_empty() {
            tracing::error!(model = name, "not served: {reason}");
        }
        report.failed.push(format!("{name}: {reason}"));
    }
    engine.finish_loading();
    Ok(report)
}

fn load_model(
    entry: ModelEntry,
    backend: &dyn Backend,
    resources: &Resources,
    queue_capacity: usize,
) -> ModelState {
    let mut state = ModelState::default();
    state.failures.extend(entry.problems);
    let Some(mut config) = entry.config else { return state };
    for warning in &config.warnings {
        tracing::warn!(model = entry.name, "{warning}");
    }
    let beside = ModelSettings::read(&entry.directory)
        .and_then(|settings| with_labels(&mut config, &entry.directory).map(|()| settings));
    let config = Arc::new(config);
    let settings = match beside {
        Ok(settings) => settings,
        Err(error) => {
            state.failures.push(Problem { version: None, reason: error.to_string() });
            return state;
        }
    };
    let ModelSettings { transforms, precision, optimize } = settings;
    let transforms = transforms.map(Arc::new);
    for VersionEntry { version, file } in entry.versions {
        let source = ModelSource {
            version,
            file,
            config: Arc::clone(&config),
            transforms: transforms.clone(),
            preparation: Preparation { precision, optimize, ..Preparation::default() },
        };
        match ServedModel::load(backend, &source, resources, queue_capacity) {
            Ok(model) => {
                state.versions.insert(version, Arc::new(model));
            }
            Err(error) => {
                state.failures.push(Problem { version: Some(version), reason: error.to_string() });
            }
        }
    }
    state
}

/// Reads the labels that the configuration names, beside it.
fn with_labels(config: &mut ModelConfig, directory: &Path) -> Result<(), SettingsError> {
    for output in &mut config.outputs {
        if let Some(name) = &output.label_filename {
            output.labels = read_labels(directory, name)?.into();
        }
    }
    Ok(())
}

/// `simple version 1: cpu, 2 instances x 1 thread, batches of up to 8, loaded in 0.1 s`
fn describe(model: &ServedModel) -> String {
    let placements: Vec<String> = model.placements().iter().map(ToString::to_string).collect();
    let batching = match model.max_batch_size() {
        _ if !model.batches() => "no batching".to_owned(),
        size => format!("batches of up to {size}"),
    };
    let precision = model.precision_note().map(|note| format!("{note}, ")).unwrap_or_default();
    format!(
        "{} version {}: {}, {batching}, {precision}loaded in {:.1} s",
        model.name(),
        model.version(),
        placements.join("; "),
        model.load_time().as_secs_f64()
    )
}
