//! The errors of loading.

use super::plan::PlanError;
use crate::model_config::ConfigError;
use crate::model_settings::SettingsError;
use cresset_backend::BackendError;

/// Why a version can't be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file, the device or an instance.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The configuration doesn't fit the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration doesn't fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A setting doesn't fit the model.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The declared transform doesn't fit the model.
    #[error("cresset.toml: {0}")]
    Transform(String),
    /// The model runs as its file is, but fails as its settings ask.
    #[error("cresset.toml: with {what} the model fails, and without it doesn't: {error}; {advice}")]
    Precision {
        /// `bf16 weights, channels last`.
        what: String,
        /// What the model said.
        error: String,
        /// What to ask for instead.
        advice: String,
    },
    /// The model can't give a declared output.
    #[error("the model doesn't give what config.pbtxt declares: {0}")]
    Declared(String),
    /// A configured sample isn't a request of the model.
    #[error("{0}")]
    WarmUp(String),
    /// No thread could be started.
    #[error("an instance's thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}
