//! Which models there are, and how each of them is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::model_repository::Problem;
use crate::protocol::{IndexedModel, IndexedState};

/// All models of the repository. Never changed in place: a new table takes
/// the place of the old, so that readers need no lock.
#[derive(Clone, Default)]
pub struct ModelTable {
    models: BTreeMap<String, ModelState>,
}

/// One model's versions.
#[derive(Clone, Default)]
pub struct ModelState {
    /// Those that answer, by number.
    pub versions: BTreeMap<u64, Arc<ServedModel>>,
    /// Why the model or some of its versions aren't served.
    pub failures: Vec<Problem>,
}

impl ModelTable {
    /// Puts a model in.
    pub fn insert(&mut self, name: String, state: ModelState) {
        self.models.insert(name, state);
    }

    /// How a model is; `None` where there is none of that name.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&ModelState> {
        self.models.get(name)
    }

    /// Whether every model answers, in all the versions that it should.
    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.models.values().all(|state| state.failures.is_empty() && !state.versions.is_empty())
    }

    /// Every version that answers.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values().flat_map(|state| state.versions.values())
    }

    /// The numbers of a model's versions, ascending.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<String> {
        self.state(name)
            .map_or_else(Vec::new, |state| state.versions.keys().map(ToString::to_string).collect())
    }

    /// Every version with its state, and every model that has none.
    #[must_use]
    pub fn index(&self) -> Vec<IndexedModel> {
        self.models.iter().flat_map(|(name, state)| state.index(name)).collect()
    }

    /// See [`super::Engine::resolve`].
    pub(super) fn resolve(&self, name: &str, version: Option<u64>) -> Result<Arc<ServedModel>> {
        let Some(state) = self.models.get(name) else {
            return Err(Error::not_found(format!("Request for unknown model: '{name}' is not found")));
        };
        let found = match version {
            Some(version) => state.versions.get(&version),
            None => state.versions.values().next_back(),
        };
        if let Some(model) = found {
            return Ok(Arc::clone(model));
        }
        match (version, state.failures.first()) {
            (Some(version), None) => Err(Error::not_found(format!(
                "Request for unknown model: '{name}' version {version} is not found; served: {}",
                self.versions(name).join(", ")
            ))),
            (_, Some(reason)) => Err(Error::unavailable(format!("model '{name}' isn't served: {reason}"))),
            (None, None) => Err(Error::unavailable(format!(
                "Request for unknown model: '{name}' has no available versions"
            ))),
        }
    }

    /// See [`super::Engine::default_model`].
    pub(super) fn choose_default(&self) -> Result<Arc<ServedModel>> {
        let newest = |state: &ModelState| state.versions.values().next_back().map(Arc::clone);
        let served: Vec<_> = self.models.values().filter_map(newest).collect();
        let takes_images = |model: &&Arc<ServedModel>| model.transforms().is_some_and(|t| t.image.is_some());
        let mut with_transform = served.iter().filter(takes_images);
        match (served.as_slice(), with_transform.next(), with_transform.next()) {
            ([only], ..) | (_, Some(only), None) => Ok(Arc::clone(only)),
            ([], ..) => Err(Error::unavailable("no model is served")),
            _ => {
                let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
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
    /// Ascending by version; what concerns the whole model goes first.
    fn index(&self, name: &str) -> Vec<IndexedModel> {
        let entry = |version: Option<u64>, state, reason: &str| IndexedModel {
            name: name.to_owned(),
            version: version.map(|version| version.to_string()).unwrap_or_default(),
            state,
            reason: reason.to_owned(),
        };
        let failed = self.failures.iter().map(|failure| {
            (failure.version, entry(failure.version, IndexedState::Unavailable, &failure.reason))
        });
        let served = self
            .versions
            .keys()
            .map(|version| (Some(*version), entry(Some(*version), IndexedState::Ready, "")));
        let mut entries: Vec<_> = failed.chain(served).collect();
        entries.sort_by_key(|(version, _)| *version);
        entries.into_iter().map(|(_, entry)| entry).collect()
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

    #[test]
    fn the_index_tells_of_every_version_and_of_models_without_one() {
        let problem = |version, reason: &str| Problem { version, reason: reason.to_owned() };
        let mut table = ModelTable::default();
        let failures = vec![problem(Some(10), "no memory"), problem(Some(9), "no file")];
        table.insert("b".to_owned(), ModelState { versions: BTreeMap::new(), failures });
        let failures = vec![problem(None, "no version directory")];
        table.insert("a".to_owned(), ModelState { versions: BTreeMap::new(), failures });
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
}
