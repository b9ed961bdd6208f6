//! The one object that every surface holds: which models are served, and a
//! request's way to one of them.

mod loading;
mod predict;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::faults::DeviceFaults;
use crate::model::ServedModel;
use crate::protocol::{
    IndexRequest, IndexedModel, IndexedState, ModelMetadata, ModelStatistics, ServerMetadata,
};
use crate::transform::Pool;

pub use loading::{LoadReport, load_models};
pub use predict::Prediction;
pub use table::{ModelState, ModelTable, parse_version};

/// Names of the protocol's extensions that are offered.
const EXTENSIONS: &[&str] = &[
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
];

/// The served models and what is around them.
pub struct Engine {
    /// Read without a lock by every request; replaced whole.
    table: ArcSwap<ModelTable>,
    /// Set once all models were tried.
    loaded: AtomicBool,
    /// Set when the server stops: readiness goes, service goes on.
    draining: AtomicBool,
    /// Where transforms and large bodies are worked on.
    pool: Pool,
    /// The model that `POST /predict` goes to, where one is named.
    default_model: Option<String>,
    /// The devices that have failed.
    faults: DeviceFaults,
}

impl Engine {
    /// An engine without models: live, and not ready.
    #[must_use]
    pub fn new(pool: Pool, default_model: Option<String>) -> Self {
        Self {
            table: ArcSwap::default(),
            loaded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            pool,
            default_model,
            faults: DeviceFaults::new(),
        }
    }

    /// The same, ready only as long as none of these devices has failed.
    #[must_use]
    pub fn with_faults(self, faults: DeviceFaults) -> Self {
        Self { faults, ..self }
    }

    /// Puts a table in the place of the present one.
    pub fn publish(&self, table: ModelTable) {
        self.table.store(Arc::new(table));
    }

    /// All models were tried: from now on the server may be ready.
    pub fn finish_loading(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Readiness goes; what comes is still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the server is on its way out.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether every model that was found is served, and none is on its way
    /// in or out.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
            && !self.draining()
            && self.faults.is_empty()
            && self.table.load().all_ready()
    }

    /// The threads for work that must not run on the async ones.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The version of a model that answers: the one asked for, else the
    /// highest.
    ///
    /// # Errors
    /// Not found, still loading, or failed with its reason.
    pub fn resolve(&self, name: &str, version: Option<u64>) -> Result<Arc<ServedModel>> {
        let table = self.table.load();
        match table.resolve(name, version) {
            Err(error) if !self.loaded.load(Ordering::Acquire) && table.state(name).is_none() => {
                Err(Error::unavailable(format!("{error}; the server is still loading its models")))
            }
            result => result,
        }
    }

    /// The model that `POST /predict` goes to: the one that is named by the
    /// operator, else the only one, else the only one that takes photographs.
    ///
    /// # Errors
    /// The names to choose from, where none of these is.
    pub fn default_model(&self) -> Result<Arc<ServedModel>> {
        if let Some(name) = &self.default_model {
            return self.resolve(name, None);
        }
        let table = self.table.load();
        match table.choose_default() {
            Ok(model) => Ok(model),
            Err(_) if !self.loaded.load(Ordering::Acquire) => {
                Err(Error::unavailable("the server is still loading its models"))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this model (this version of it) answers now.
    #[must_use]
    pub fn model_ready(&self, name: &str, version: Option<u64>) -> bool {
        !self.draining() && self.resolve(name, version).is_ok_and(|model| model.fault().is_none())
    }

    /// What the server says of itself.
    #[must_use]
    pub fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.iter().copied().map(str::to_owned).collect(),
        }
    }

    /// What a model says of itself.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn model_metadata(&self, name: &str, version: Option<u64>) -> Result<ModelMetadata> {
        let model = self.resolve(name, version)?;
        let versions = match version {
            Some(version) => vec![version.to_string()],
            None => self.table.load().versions(name),
        };
        Ok(model.metadata(versions))
    }

    /// A model's configuration, in protobuf's JSON.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn model_config(&self, name: &str, version: Option<u64>) -> Result<Bytes> {
        Ok(self.resolve(name, version)?.config_json().clone())
    }

    /// What every served version has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> Vec<ModelStatistics> {
        self.table.load().models().map(|model| model.statistics()).collect()
    }

    /// What one version of a model has done, or all that are served of it.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn model_statistics(&self, name: &str, version: Option<u64>) -> Result<Vec<ModelStatistics>> {
        let newest = self.resolve(name, version)?;
        Ok(match (version, self.table.load().state(name)) {
            (None, Some(state)) => state.versions.values().map(|model| model.statistics()).collect(),
            (Some(_), _) | (None, None) => vec![newest.statistics()],
        })
    }

    /// What the model repository holds, whether it answers, and why not.
    #[must_use]
    pub fn repository_index(&self, request: IndexRequest) -> Vec<IndexedModel> {
        let mut index = self.table.load().index();
        index.retain(|entry| !request.ready || entry.state == IndexedState::Ready);
        index
    }

    /// Loads or unloads a model, where that is allowed.
    ///
    /// # Errors
    /// Always, as the models are those that were found at start: the control
    /// mode that Triton calls none.
    pub fn control(&self, _model: &str) -> Result<()> {
        Err(Error::invalid(
            "explicit model load / unload is not allowed: the model control mode is none, \
             which serves what the repository held at start",
        ))
    }

    /// The names of the models that answer, ascending.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.table.load().models().map(|model| model.name().to_string()).collect();
        names.dedup();
        names
    }

    /// Answers what waits for devices that have failed, with why.
    pub fn fail_waiting(&self) {
        self.table.load().models().for_each(|model| model.fail_waiting());
    }

    /// Ends every model: what waits is finished first.
    pub fn stop(&self) {
        self.table.load().models().for_each(|model| model.stop());
    }
}
