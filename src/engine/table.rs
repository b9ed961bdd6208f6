//! The models and their states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::origin::Origin;
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::model_repository::Problem;
use cresset_protocol::{IndexedModel, IndexedState};

/// All models that were tried. Never changed in place: a new table takes the
/// place of the old, so that readers need no lock.
#[derive(Clone, Default)]
pub struct ModelTable {
    models: BTreeMap<String, ModelState>,
    /// Every version that has answered once, even if its files are gone: the
    /// error for such a version isn't that it can't be found.
    known: BTreeMap<String, BTreeSet<u64>>,
}

/// One model's versions.
#[derive(Clone, Default)]
pub(super) struct ModelState {
    /// The versions that answer, by number.
    pub(super) versions: BTreeMap<u64, Served>,
    /// Why the model or some of its versions aren't served, or aren't served
    /// as their files are now.
    pub(super) failures: Vec<Problem>,
    /// The versions on their way in or out.
    pub(super) transitions: BTreeMap<u64, Transition>,
    /// Whether the server waits for this model before it is ready, because the
    /// model belongs to the start.
    pub(super) awaited: bool,
}

/// A version that answers.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) model: Arc<ServedModel>,
    /// What it was made of.
    pub(super) origin: Origin,
}

/// The state of a version that doesn't answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// It is being loaded.
    Loading,
    /// It finishes its requests; it can be loaded again.
    Unloading,
    /// The same, but its files are gone: its entry will be removed.
    Leaving,
    /// It was served, and isn't any more.
    Unloaded,
}

impl ModelTable {
    /// The state of a model; `None` if there is none of that name.
    pub(super) fn state(&self, name: &str) -> Option<&ModelState> {
        self.models.get(name)
    }

    /// The state of a model, to be changed. An unknown model is added.
    pub(super) fn state_mut(&mut self, name: &str) -> &mut ModelState {
        self.models.entry(name.to_owned()).or_default()
    }

    /// These versions of a model answer from now on.
    pub(super) fn remember(&mut self, name: &str, versions: impl IntoIterator<Item = u64>) {
        self.known.entry(name.to_owned()).or_default().extend(versions);
    }

    /// A version that was taken out has ended: its last request was answered.
    pub(super) fn unloaded(&mut self, name: &str, version: u64) {
        let Some(state) = self.models.get_mut(name) else { return };
        match state.transitions.get(&version) {
            Some(Transition::Unloading) => {
                state.transitions.insert(version, Transition::Unloaded);
            }
            Some(Transition::Leaving) => {
                state.transitions.remove(&version);
            }
            // Meanwhile it is being loaded again, or loaded.
            Some(Transition::Loading | Transition::Unloaded) | None => {}
        }
        self.forget_if_empty(name);
    }

    /// Removes a model without versions, failures or transitions.
    pub(super) fn forget_if_empty(&mut self, name: &str) {
        if self.models.get(name).is_some_and(ModelState::is_empty) {
            self.models.remove(name);
        }
    }

    /// The names of all models, ascending.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Whether every awaited model answers in all its versions.
    pub(super) fn all_ready(&self) -> bool {
        !self.models.values().any(|state| state.awaited)
    }

    /// Every version that answers.
    pub(super) fn models(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values().flat_map(ModelState::models)
    }

    /// The numbers of a model's versions, ascending.
    pub(super) fn versions(&self, name: &str) -> Vec<String> {
        self.state(name)
            .map_or_else(Vec::new, |state| state.versions.keys().map(ToString::to_string).collect())
    }

    /// Every version with its state, and every model that has none.
    pub(super) fn index(&self) -> Vec<IndexedModel> {
        self.models.iter().flat_map(|(name, state)| state.index(name)).collect()
    }

    /// See [`super::Engine::resolve`].
    pub(super) fn resolve(&self, name: &str, version: Option<u64>) -> Result<Arc<ServedModel>> {
        let known = self.known.get(name);
        let Some(state) = self.models.get(name) else {
            let what = if known.is_some() { "has no available versions" } else { "is not found" };
            return Err(Error::not_found(format!("Request for unknown model: '{name}' {what}")));
        };
        let found = match version {
            Some(version) => state.versions.get(&version),
            None => state.versions.values().next_back(),
        };
        match found {
            Some(served) => Ok(Arc::clone(&served.model)),
            None => {
                let known = version.zip(known).is_some_and(|(version, known)| known.contains(&version));
                Err(state.unavailable(name, version, known))
            }
        }
    }

    /// See [`super::Engine::default_model`].
    pub(super) fn choose_default(&self) -> Result<Arc<ServedModel>> {
        let newest = |state: &ModelState| state.models().next_back().map(Arc::clone);
        let served: Vec<_> = self.models.values().filter_map(newest).collect();
        let mut taking_items = served.iter().filter(|model| model.preprocessor().is_some());
        match (served.as_slice(), taking_items.next(), taking_items.next()) {
            ([only], ..) | (_, Some(only), None) => Ok(Arc::clone(only)),
            ([], ..) => Err(Error::unavailable("no model is served")),
            _ => {
                let names: Vec<&str> = served.iter().map(|model| &**model.name()).collect();
                Err(Error::invalid(format!(
                    "more than one model is served: name one in POST /predictions/{{model}}, or start the server \
                     with MODEL_NAME; there are {}",
                    names.join(", ")
                )))
            }
        }
    }
}

impl ModelState {
    /// The versions that answer, ascending.
    pub(super) fn models(&self) -> impl DoubleEndedIterator<Item = &Arc<ServedModel>> {
        self.versions.values().map(|served| &served.model)
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.versions.keys().copied().collect()
    }

    /// Whether it answers in all its versions.
    pub(super) fn whole(&self) -> bool {
        self.failures.is_empty() && !self.versions.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.failures.is_empty() && self.transitions.is_empty()
    }

    /// Why the requested version doesn't answer, in Triton's words first;
    /// `known` is whether it has answered once.
    fn unavailable(&self, name: &str, version: Option<u64>, known: bool) -> Error {
        let others = !self.versions.is_empty();
        let told = |what: &str| match version.filter(|_| others) {
            Some(version) => format!("Request for unknown model: '{name}' version {version} {what}"),
            None => format!("Request for unknown model: '{name}' has no available versions"),
        };
        let unready = || told("is not at ready state");
        let loading = |(number, transition): (&u64, &Transition)| {
            *transition == Transition::Loading && version.is_none_or(|version| version == *number)
        };
        if self.transitions.iter().any(loading) {
            let loading = format!("model '{name}' is being loaded");
            return Error::unavailable(if others { format!("{}: {loading}", unready()) } else { loading });
        }
        let concerns = |problem: &&Problem| match (version, problem.version) {
            (None, _) => true,
            (Some(_), None) => !others,
            (Some(asked), Some(failed)) => asked == failed,
        };
        if let Some(problem) = self.failures.iter().find(concerns) {
            return Error::unavailable(format!("{}: {problem}", unready()));
        }
        if !others {
            return Error::not_found(unready());
        }
        let known = known || version.is_some_and(|version| self.transitions.contains_key(&version));
        let served: Vec<String> = self.versions.keys().map(ToString::to_string).collect();
        let what = if known { unready() } else { told("is not found") };
        Error::not_found(format!("{what}; served: {}", served.join(", ")))
    }

    /// Ascending by version. A failure of the whole model goes first, without a
    /// version.
    fn index(&self, name: &str) -> Vec<IndexedModel> {
        let mut told: BTreeMap<Option<u64>, (IndexedState, String)> = BTreeMap::new();
        for problem in &self.failures {
            let (_, reason) =
                told.entry(problem.version).or_insert_with(|| (IndexedState::Unavailable, String::new()));
            if !reason.is_empty() {
                reason.push_str("; ");
            }
            reason.push_str(&problem.reason);
        }
        for (version, transition) in &self.transitions {
            let state = match transition {
                Transition::Loading => IndexedState::Loading,
                Transition::Unloading | Transition::Leaving => IndexedState::Unloading,
                Transition::Unloaded => {
                    let unloaded = || (IndexedState::Unavailable, "unloaded".to_owned());
                    told.entry(Some(*version)).or_insert_with(unloaded);
                    continue;
                }
            };
            told.insert(Some(*version), (state, String::new()));
        }
        // The model answers, so its failure is why it answers as before.
        let whole = if self.versions.is_empty() { None } else { told.remove(&None) };
        for (version, served) in &self.versions {
            let own = told.remove(&Some(*version)).or_else(|| whole.clone());
            let before = own.map(|(_, reason)| format!("serving as before: {reason}"));
            let reason = before.into_iter().chain(served.model.notes()).collect::<Vec<String>>().join("; ");
            told.insert(Some(*version), (IndexedState::Ready, reason));
        }
        let entry = |(version, (state, reason)): (Option<u64>, _)| IndexedModel {
            name: name.to_owned(),
            version: version.map(|version| version.to_string()).unwrap_or_default(),
            state,
            reason,
        };
        told.into_iter().map(entry).collect()
    }
}

/// A version as a client writes it.
///
/// # Errors
/// Not found: no version is written so.
pub fn parse_version(text: &str) -> Result<u64> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let version = if number { text.parse().ok() } else { None };
    version.ok_or_else(|| Error::not_found(format!("'{text}' is no version: versions are whole numbers")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(version: Option<u64>, reason: &str) -> Problem {
        Problem { version, reason: reason.to_owned() }
    }

    #[test]
    fn the_index_tells_of_every_version_and_of_models_without_one() {
        let mut table = ModelTable::default();
        table.state_mut("b").failures = vec![problem(Some(10), "no memory"), problem(Some(9), "no file")];
        table.state_mut("a").failures = vec![problem(None, "no version directory")];
        let shown: Vec<String> =
            table.index().iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        assert_eq!(
            shown,
            [
                r#"{"name":"a","version":"","state":"UNAVAILABLE","reason":"no version directory"}"#,
                r#"{"name":"b","version":"9","state":"UNAVAILABLE","reason":"no file"}"#,
                r#"{"name":"b","version":"10","state":"UNAVAILABLE","reason":"no memory"}"#,
            ]
        );
    }

    #[test]
    fn a_version_on_its_way_is_told_of_until_it_is_there_or_gone() {
        use Transition::{Leaving, Loading, Unloaded, Unloading};
        let mut table = ModelTable::default();
        let state = table.state_mut("m");
        state.transitions = [(1, Unloading), (2, Leaving), (3, Loading), (4, Unloaded)].into();
        state.failures = vec![problem(Some(4), "no file")];
        let shown = |table: &ModelTable| -> Vec<(String, IndexedState, String)> {
            table.index().into_iter().map(|entry| (entry.version, entry.state, entry.reason)).collect()
        };
        let told = |version: &str, state, reason: &str| (version.to_owned(), state, reason.to_owned());
        assert_eq!(
            shown(&table),
            [
                told("1", IndexedState::Unloading, ""),
                told("2", IndexedState::Unloading, ""),
                told("3", IndexedState::Loading, ""),
                told("4", IndexedState::Unavailable, "no file"),
            ]
        );
        let refusal = |table: &ModelTable, version| {
            table.resolve("m", version).err().map(|error| error.message().to_owned()).unwrap_or_default()
        };
        let none = "Request for unknown model: 'm' has no available versions";
        assert_eq!(refusal(&table, None), "model 'm' is being loaded");
        assert_eq!(refusal(&table, Some(4)), format!("{none}: version 4: no file"));
        assert_eq!(refusal(&table, Some(1)), none);

        for version in [1, 2, 3] {
            table.unloaded("m", version);
        }
        table.state_mut("m").failures.clear();
        assert_eq!(
            shown(&table),
            [
                told("1", IndexedState::Unavailable, "unloaded"),
                told("3", IndexedState::Loading, ""),
                told("4", IndexedState::Unavailable, "unloaded"),
            ]
        );
        table.state_mut("m").transitions = [(1, Leaving)].into();
        table.unloaded("m", 1);
        assert!(table.state("m").is_none(), "nothing is left to tell");
        assert_eq!(refusal(&table, None), "Request for unknown model: 'm' is not found");
        table.remember("m", [1]);
        assert_eq!(refusal(&table, None), none, "but that it was there");
    }
}
