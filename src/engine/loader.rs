//! Turns a model repository into served versions, at start and at each change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::choose::choose;
use super::improve::Improver;
use super::marks::{LoadMarks, Suspect};
use super::models::Models;
use super::origin::Origin;
use super::retire::{Retirement, Why};
use super::table::{ModelState, Served, Transition};
use super::turns::Turns;
use crate::metrics;
use crate::model::{LoadOutcome, ModelSource, QueueBounds, Resources, ServedModel};
use crate::model_config::{CONFIG_FILENAME, ModelConfig};
use crate::model_repository::{ModelEntry, ModelRepository, Pins, Problem, RepositoryError};
use crate::model_settings::{ModelSettings, SETTINGS_FILENAME, SettingsError, read_labels};
use cresset_backend::{Backend, LoadOptions};

/// Why a version isn't loaded at start that may have ended the last process.
const LEFT_OUT: &str = "it was being loaded when the server's last process ended, so this start leaves it out: load it \
    with a load call (--model-control-mode=explicit), change its files (poll), or start the server again";

/// The outcome of loading at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// A line for each version that is served.
    pub served: Vec<String>,
    /// A line for each model or version that isn't, with the reason.
    pub failed: Vec<String>,
    /// Whether one of these was left out only because a process ended while it was
    /// loaded.
    pub left_out: bool,
}

/// Adds models to the table and removes them. Nothing else does.
///
/// A version that is replaced answers until the new one is warm. A version that
/// is taken out ends when its last request was answered. So a change loses no
/// request; for a while it takes the memory of both.
pub struct Loader {
    models: Arc<Models>,
    turns: Arc<Turns>,
    retirement: Retirement,
    improver: Improver,
    repository: ModelRepository,
    backend: Arc<dyn Backend>,
    resources: Resources,
    marks: LoadMarks,
    /// For each model's queue.
    bounds: QueueBounds,
}

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Before the server is ready; it waits for the load.
    Start,
    /// While the server serves; it stays ready if the load fails.
    Serving,
}

/// The outcome of loading one model.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Whether the repository holds it.
    pub(super) found: bool,
    /// A line for each version that was loaded now.
    pub(super) loaded: Vec<String>,
    /// The versions that answer now.
    pub(super) answering: Vec<u64>,
    /// Why it isn't served as the repository has it.
    pub(super) failures: Vec<Problem>,
}

/// A model's directory, read.
#[derive(Default)]
struct Wanted {
    sources: Vec<ModelSource>,
    /// The versions that have a directory.
    present: BTreeSet<u64>,
    failures: Vec<Problem>,
    /// What its files must be.
    pins: Option<Pins>,
}

impl Loader {
    /// A loader without models; `bounds` are for each model's queue.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(
        repository: ModelRepository,
        backend: Arc<dyn Backend>,
        resources: Resources,
        bounds: QueueBounds,
    ) -> io::Result<Self> {
        let models = Arc::new(Models::default());
        let retirement = Retirement::new(Arc::clone(&models), Arc::clone(&backend))?;
        let turns = Arc::default();
        let improver = Improver::new(Arc::clone(&backend));
        let marks = LoadMarks::default();
        Ok(Self { models, turns, retirement, improver, repository, backend, resources, marks, bounds })
    }

    /// The same loader, with marks of what is being loaded.
    #[must_use]
    pub fn with_marks(self, marks: LoadMarks) -> Self {
        Self { marks, ..self }
    }

    /// The server stops in order: what it is loading isn't to blame.
    pub(super) fn stop_marking(&self) {
        self.marks.stop();
    }

    pub(super) fn models(&self) -> &Models {
        &self.models
    }

    /// The repository that its models come from.
    #[must_use]
    pub fn repository(&self) -> &ModelRepository {
        &self.repository
    }

    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Loads models of these names, one after the other, each served as soon
    /// as it is warm. A failed model doesn't affect the others. What may have ended
    /// the last process is loaded last, or left out. Returns when all were tried.
    pub fn start(self: &Arc<Self>, names: &[String]) -> LoadReport {
        let mut report = LoadReport::default();
        self.improver.hold();
        for name in &self.suspects_last(names) {
            let (loader, model) = (Arc::clone(self), name.clone());
            let loading = self.turns.submit(name, move || loader.load(&model, None, Occasion::Start));
            let failures = match loading.map(|loading| loading.blocking_recv()) {
                Ok(Ok(Loaded { found: true, loaded, failures, .. })) => {
                    report.served.extend(loaded);
                    failures
                }
                Ok(Ok(_)) => vec![whole("its directory is gone")],
                Ok(Err(_)) => vec![whole("loading it ended in a panic; see the log")],
                Err(error) => vec![whole(format!("there is no thread to load it: {error}"))],
            };
            report.left_out |= failures.iter().any(|problem| problem.reason == LEFT_OUT);
            report.failed.extend(failures.iter().map(|reason| format!("{name}: {reason}")));
        }
        self.improver.release();
        report
    }

    /// The order in which models are loaded at start.
    fn suspects_last(&self, names: &[String]) -> Vec<String> {
        let mut names = names.to_vec();
        let suspects: Vec<Suspect> = self.marks.take().into_iter().collect();
        match &suspects[..] {
            [] => {}
            [only] => self.marks.leave_out(only.clone()),
            several => {
                for Suspect { model, version } in several {
                    tracing::warn!(
                        model,
                        version,
                        "it was one of several that were being loaded when the server's last process ended: it is loaded last"
                    );
                }
                names.sort_by_key(|name| several.iter().any(|suspect| suspect.model == *name));
            }
        }
        names
    }

    /// Makes the table hold what the repository has of this model now:
    /// versions that are new or changed are loaded, versions that are neither stay
    /// as they are, versions that are gone are taken out. `config` stands for the
    /// model's `config.pbtxt`. If anything fails, a version that answered before and
    /// still has a directory goes on answering. To be called in the model's turn.
    pub(super) fn load(&self, name: &str, config: Option<&str>, occasion: Occasion) -> Loaded {
        let mut wanted = match self.repository.entry(name, config) {
            // The call is wrong, not the repository, so the failure isn't kept.
            Ok(Some(ModelEntry { config: None, problems: failures, .. })) if config.is_some() => {
                let answering = self.models.read().state(name).map_or_else(Vec::new, ModelState::numbers);
                return Loaded { found: true, answering, failures, ..Loaded::default() };
            }
            Ok(Some(entry)) => self.read(entry),
            Ok(None) => {
                self.unload(name, Transition::Leaving);
                return Loaded::default();
            }
            Err(error) => {
                // The log has the server's paths; clients don't see them.
                tracing::error!(model = name, "{error}");
                Wanted { failures: vec![whole(for_clients(&error))], ..Wanted::default() }
            }
        };
        let before = self.models.read().state(name).cloned().unwrap_or_default();
        let mut next = BTreeMap::new();
        let mut to_load = Vec::new();
        for source in std::mem::take(&mut wanted.sources) {
            let origin = Origin::of(&source);
            match before.versions.get(&source.version) {
                Some(served) if served.origin.is_still(&origin) => {
                    next.insert(source.version, served.clone());
                }
                Some(_) | None => to_load.push((source, origin)),
            }
        }
        self.announce(name, &to_load, &before, occasion);
        let (mut loaded, mut improvements) = (Vec::new(), Vec::new());
        for (source, origin) in to_load {
            if occasion == Occasion::Start && self.marks.leaves_out(name, source.version) {
                wanted.failures.push(Problem { version: Some(source.version), reason: LEFT_OUT.to_owned() });
                continue;
            }
            match self.load_version(&source, wanted.pins.as_ref()) {
                Ok(LoadOutcome { model, improvement }) => {
                    loaded.push(describe(&model));
                    improvements.extend(improvement);
                    next.insert(source.version, Served { model: Arc::new(model), origin });
                }
                Err(reason) => {
                    wanted.failures.push(Problem { version: Some(source.version), reason });
                }
            }
        }
        let none_other = next.is_empty();
        if !wanted.failures.is_empty() {
            let stays = |version: &u64| none_other || wanted.present.contains(version);
            for (version, served) in before.versions.iter().filter(|(version, _)| stays(version)) {
                next.entry(*version).or_insert_with(|| served.clone());
            }
        }
        let answering = next.keys().copied().collect();
        self.publish(name, next, wanted.present, wanted.failures.clone(), before);
        improvements.into_iter().for_each(|improvement| self.improver.add(improvement));
        Loaded { found: true, loaded, answering, failures: wanted.failures }
    }

    /// Takes all versions of a model out of the table; `left` is their state
    /// until their last request was answered. To be called in the model's turn.
    pub(super) fn unload(&self, name: &str, left: Transition) {
        let before = self.models.change(|table| {
            table.state(name)?;
            let state = table.state_mut(name);
            let before = std::mem::take(state);
            state.transitions = before.transitions.clone();
            state.transitions.extend(before.versions.keys().map(|version| (*version, left)));
            if left == Transition::Leaving {
                state.transitions.retain(|_, transition| *transition != Transition::Unloaded);
                state.transitions.values_mut().for_each(|transition| *transition = left);
            }
            table.forget_if_empty(name);
            Some(before)
        });
        for served in before.into_iter().flat_map(|before| before.versions.into_values()) {
            self.retirement.add(served.model, Why::Unloaded);
        }
    }

    /// Ends every model after its waiting requests are answered.
    pub(super) fn stop(&self) {
        self.models.read().models().for_each(|model| model.stop());
    }

    /// Notes in the table and in the log which versions are about to be loaded.
    fn announce(
        &self,
        name: &str,
        to_load: &[(ModelSource, Origin)],
        before: &ModelState,
        occasion: Occasion,
    ) {
        if let Some((source, _)) = to_load.first() {
            for warning in &source.config.warnings {
                tracing::warn!(model = name, "{warning}");
            }
        }
        self.models.change(|table| {
            let state = table.state_mut(name);
            state.awaited |= occasion == Occasion::Start;
            let coming = to_load.iter().map(|(source, _)| source.version);
            let coming = coming.filter(|version| !before.versions.contains_key(version));
            state.transitions.extend(coming.map(|version| (version, Transition::Loading)));
        });
    }

    /// Reads the files beside a model's versions.
    fn read(&self, entry: ModelEntry) -> Wanted {
        let ModelEntry {
            directory, config, versions, present, op_libraries, pins, problems: failures, ..
        } = entry;
        let mut wanted =
            Wanted { present: present.into_iter().collect(), failures, pins, ..Wanted::default() };
        let Some(mut config) = config else { return wanted };
        let beside = ModelSettings::read(&directory)
            .and_then(|settings| with_labels(&mut config, &directory).map(|()| settings));
        let beside = beside.map_err(|error| error.to_string()).and_then(|settings| {
            let pinned = wanted.pins.as_ref().map_or(Ok(()), |pins| check_beside(pins, &directory));
            pinned.map(|()| settings)
        });
        let settings = match beside {
            Ok(settings) => settings,
            Err(reason) => {
                wanted.failures.push(whole(reason));
                return wanted;
            }
        };
        let ModelSettings { transforms, precision, optimize, batching, objective, non_finite } = settings;
        let (config, transforms) = (Arc::new(config), transforms.map(Arc::new));
        let options = LoadOptions { precision, optimize, ..LoadOptions::default() };
        for entry in versions {
            let version = entry.version;
            match choose(entry, &config, self.backend.as_ref(), &self.resources) {
                Ok(file) => wanted.sources.push(ModelSource {
                    version,
                    directory: Some(directory.clone()),
                    file,
                    op_libraries: op_libraries.clone(),
                    config: Arc::clone(&config),
                    transforms: transforms.clone(),
                    options: options.clone(),
                    batching: batching.clone(),
                    objective,
                    non_finite,
                }),
                Err(reason) => wanted.failures.push(Problem { version: Some(version), reason }),
            }
        }
        wanted
    }

    fn load_version(&self, source: &ModelSource, pins: Option<&Pins>) -> Result<LoadOutcome, String> {
        if let Some(pins) = pins {
            pins.check(source.op_libraries.iter().chain([&source.file]).map(PathBuf::as_path))?;
        }
        let _mark = self.marks.begin(&source.config.name, source.version);
        let load = || ServedModel::load(self.backend.as_ref(), source, &self.resources, self.bounds);
        match catch_unwind(AssertUnwindSafe(load)) {
            Ok(Ok(outcome)) => {
                let model = &outcome.model;
                metrics::loaded(model.name(), model.version(), model.load_time());
                Ok(outcome)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("loading it ended in a panic; see the server's log".to_owned()),
        }
    }

    /// Puts a model's versions into the table, all at once, and retires the
    /// versions that they replace.
    fn publish(
        &self,
        name: &str,
        next: BTreeMap<u64, Served>,
        present: BTreeSet<u64>,
        failures: Vec<Problem>,
        before: ModelState,
    ) {
        let mut leaving = Vec::new();
        for (version, served) in before.versions {
            match next.get(&version) {
                Some(other) if Arc::ptr_eq(&other.model, &served.model) => {}
                Some(_) => leaving.push((served.model, Why::Replaced)),
                None => leaving.push((served.model, Why::Unloaded)),
            }
        }
        self.models.change(|table| {
            table.remember(name, next.keys().copied());
            let state = table.state_mut(name);
            state.transitions.retain(|version, transition| match transition {
                Transition::Loading => false,
                Transition::Unloading | Transition::Leaving => !next.contains_key(version),
                Transition::Unloaded => !next.contains_key(version) && present.contains(version),
            });
            for (model, _) in leaving.iter().filter(|(_, why)| *why == Why::Unloaded) {
                let version = model.version();
                let left =
                    if present.contains(&version) { Transition::Unloading } else { Transition::Leaving };
                state.transitions.insert(version, left);
            }
            (state.versions, state.failures) = (next, failures);
            // A model that was whole once isn't waited for again.
            state.awaited &= !state.whole();
        });
        for (model, why) in leaving {
            self.retirement.add(model, why);
        }
    }
}

/// The error for a client if the repository can't be read; it has no paths.
fn for_clients(error: &RepositoryError) -> &'static str {
    match error {
        RepositoryError::Duplicate { .. } => {
            "model appears in two or more repositories: the server's log names them"
        }
        RepositoryError::Unreadable(..)
        | RepositoryError::NotADirectory(_)
        | RepositoryError::Empty(_)
        | RepositoryError::Remote(_) => "the model repository can't be read; see the server's log",
    }
}

fn whole(reason: impl Into<String>) -> Problem {
    Problem { version: None, reason: reason.into() }
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

/// Checks the files that stand beside a model's versions and say how it runs, as
/// far as they are there.
fn check_beside(pins: &Pins, directory: &Path) -> Result<(), String> {
    let files = [CONFIG_FILENAME, SETTINGS_FILENAME].map(|name| directory.join(name));
    pins.check(files.iter().map(PathBuf::as_path).filter(|path| path.exists()))
}

/// `simple version 1: cpu, 2 instances x 1 thread (rows/s at warm-up: …), batches of up to 8, loaded in 0.1 s`
fn describe(model: &ServedModel) -> String {
    let placements: Vec<String> = model.placements().iter().map(ToString::to_string).collect();
    let batching = match model.max_batch_size() {
        _ if !model.batches() => "no batching".to_owned(),
        size => format!("batches of up to {size}"),
    };
    let reason = model.plan_reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let precision = model.precision_note().map(|note| format!("{note}, ")).unwrap_or_default();
    format!(
        "{} version {}: {}{reason}, {batching}, {precision}loaded in {:.1} s",
        model.name(),
        model.version(),
        placements.join("; "),
        model.load_time().as_secs_f64()
    )
}
