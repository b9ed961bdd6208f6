//! The one object that every surface holds: which models are served, and a
//! request's way to one of them.

mod choose;
mod control;
mod fitting;
mod follow;
mod form;
mod improve;
mod infer;
mod items;
mod loader;
mod marks;
mod models;
mod origin;
mod plain;
mod predict;
mod prediction;
mod retire;
mod table;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::device_health::DeviceHealth;
use crate::error::{Error, Result};
use crate::model::ServedModel;
use crate::transform::Pool;
use cresset_protocol::{ModelMetadata, ModelStatistics, ServerMetadata};
use models::Models;

pub use control::{Control, ControlMode};
pub use follow::Follower;
pub use loader::{LoadReport, Loader};
pub use marks::LoadMarks;
pub use plain::{Part, Plain};
pub use prediction::Prediction;
pub use table::{ModelTable, parse_version};

/// Names of the protocol's extensions that are offered.
const EXTENSIONS: &[&str] = &[
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
    "logging",
];

/// The served models and what is around them.
pub struct Engine {
    /// Holds the table of models, and alone changes it.
    loader: Arc<Loader>,
    /// Whether clients may change it.
    control: Control,
    /// Set once all models were tried.
    loaded: AtomicBool,
    /// Set when the server stops: it isn't ready any more, but still serves.
    draining: AtomicBool,
    /// Cancelled at the same time.
    stopping: CancellationToken,
    /// The threads for transforms and large bodies.
    pool: Pool,
    /// The model that `POST /predict` goes to, if the operator named one.
    default_model: Option<String>,
    /// Which devices can be used.
    health: DeviceHealth,
    identity: Identity,
}

/// How a server presents itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Whether it reports ready even if a model isn't.
    pub lenient: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self { name: env!("CARGO_PKG_NAME").to_owned(), lenient: false }
    }
}

impl Engine {
    /// An engine over the models that `loader` brings: live, and not ready.
    #[must_use]
    pub fn new(pool: Pool, default_model: Option<String>, loader: Arc<Loader>, control: Control) -> Self {
        Self {
            loader,
            control,
            loaded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            pool,
            default_model,
            health: DeviceHealth::new(),
            identity: Identity::default(),
        }
    }

    /// The same engine with this name and this rule for readiness.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> Self {
        Self { identity, ..self }
    }

    /// The same engine, ready only while all of these devices can be used.
    #[must_use]
    pub fn with_health(self, health: DeviceHealth) -> Self {
        Self { health, ..self }
    }

    fn models(&self) -> &Models {
        self.loader.models()
    }

    /// All models were tried: from now on the server may be ready.
    pub fn finish_loading(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// The server isn't ready any more; requests are still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        // Clients that wait for a load get an error at once: a load may take
        // longer than a stop.
        self.stopping.cancel();
        self.loader.stop_marking();
    }

    /// Whether the server is stopping.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether every model that belongs to the start was served, and the server
    /// isn't stopping. Later changes don't affect it.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
            && !self.draining()
            && self.health.all_healthy()
            && (self.identity.lenient || self.models().read().all_ready())
    }

    /// The threads for work that must not run on async threads.
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
        let table = self.models().read();
        match table.resolve(name, version) {
            Err(error) if !self.loaded.load(Ordering::Acquire) && table.state(name).is_none() => {
                Err(Error::unavailable(format!("{error}; the server is still loading its models")))
            }
            result => result,
        }
    }

    /// The model that `POST /predict` goes to: the operator's choice, else the
    /// only model, else the only model that takes items, such as photographs.
    ///
    /// # Errors
    /// There is no such model; the error lists the names to choose from.
    pub fn default_model(&self) -> Result<Arc<ServedModel>> {
        if let Some(name) = &self.default_model {
            return self.resolve(name, None);
        }
        let table = self.models().read();
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

    /// Whether models are loaded and unloaded on demand, and for which clients.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control
    }

    /// What the server says of itself.
    #[must_use]
    pub fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: self.identity.name.clone(),
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
            None => self.models().read().versions(name),
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
        self.models().read().models().map(|model| model.statistics()).collect()
    }

    /// What one version of a model has done, or all that are served of it.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn model_statistics(&self, name: &str, version: Option<u64>) -> Result<Vec<ModelStatistics>> {
        let newest = self.resolve(name, version)?;
        Ok(match (version, self.models().read().state(name)) {
            (None, Some(state)) => state.models().map(|model| model.statistics()).collect(),
            (Some(_), _) | (None, None) => vec![newest.statistics()],
        })
    }

    /// The names of the models that answer, ascending.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.models().read().models().map(|model| model.name().to_string()).collect();
        names.dedup();
        names
    }

    /// Answers the requests that wait for failed devices with the fault.
    pub fn fail_waiting(&self) {
        self.models().read().models().for_each(|model| model.fail_waiting());
    }

    /// Ends every model after its waiting requests are answered.
    pub fn stop(&self) {
        self.loader.stop();
    }
}
