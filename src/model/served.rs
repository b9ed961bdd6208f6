//! A version in service.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::batching::Batching;
use super::plan::{Placement, PlanError};
use crate::device_health::{DeviceHealth, Fault};
use crate::instance::{Instance, Order, QueuedRequest, RowState};
use crate::metrics::{FailureReason, ModelMetrics};
use crate::model_config::{Binding, ConfigError, InstanceGroup, ModelConfig};
use crate::model_settings::{BatchingSettings, Objective, SettingsError};
use crate::scheduler::Queue;
use crate::transform::Transforms;
use cresset_backend::{BackendError, Leaf, ModelFormat, Preparation};
use cresset_protocol::{ModelMetadata, ModelStatistics, NonFinite, TensorMetadata};

/// Where a version comes from.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// The version's number.
    pub version: u64,
    /// The model's directory, with what stands beside its versions; `None` where
    /// it has none.
    pub directory: Option<PathBuf>,
    /// The model file, wherever links led to.
    pub file: PathBuf,
    /// Libraries of operators that it needs, wherever links led to.
    pub op_libraries: Vec<PathBuf>,
    /// The model's configuration.
    pub config: Arc<ModelConfig>,
    /// What stands in front of and behind its tensors.
    pub transforms: Option<Arc<Transforms>>,
    /// What it is to compute in and to become.
    pub preparation: Preparation,
    /// How its requests share batches.
    pub batching: BatchingSettings,
    /// What its scheduler aims at.
    pub objective: Objective,
    /// What stands for NaN and infinities where JSON is meant to be strict.
    pub non_finite: NonFinite,
}

impl ModelSource {
    /// Version 1 of a model of one file, with nothing beside it and nothing asked
    /// for but what its configuration says.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, config: ModelConfig) -> Self {
        Self {
            version: 1,
            directory: None,
            file: file.into(),
            op_libraries: Vec::new(),
            config: Arc::new(config),
            transforms: None,
            preparation: Preparation::default(),
            batching: BatchingSettings::default(),
            objective: Objective::default(),
            non_finite: NonFinite::default(),
        }
    }
}

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
    /// It runs as its file is, and not as its settings ask.
    #[error("cresset.toml: with {what} the model fails, and without it doesn't: {error}; {advice}")]
    Precision {
        /// `bf16 weights, channels last`.
        what: String,
        /// What the model said.
        error: String,
        /// What to ask for instead.
        advice: String,
    },
    /// What is declared can't come.
    #[error("the model doesn't give what config.pbtxt declares: {0}")]
    Declared(String),
    /// A configured sample isn't a request of the model.
    #[error("{0}")]
    WarmUp(String),
    /// No thread could be started.
    #[error("an instance's thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A loaded version with its queue and its instances; dropping the last
/// reference does not stop it, [`ServedModel::stop`] does.
pub struct ServedModel {
    pub(super) name: Arc<str>,
    pub(super) version: u64,
    /// Of its file.
    pub(super) format: &'static ModelFormat,
    pub(super) config: Arc<ModelConfig>,
    pub(super) binding: Arc<Binding>,
    pub(super) batching: Batching,
    /// Whether its outputs are rows.
    pub(super) rows: Arc<RowState>,
    /// Whether its configuration asks for batches across callers.
    pub(super) asked_to_batch: bool,
    /// What it fails with on all that was tried at load.
    pub(super) fails: Option<String>,
    /// A short body that it ran on at load.
    pub(super) example: Option<Box<str>>,
    pub(super) transforms: Option<Arc<Transforms>>,
    pub(super) non_finite: NonFinite,
    pub(super) placements: Vec<Placement>,
    /// What a trial of others showed, or why there was none.
    pub(super) plan_reason: Option<String>,
    /// The configuration as clients are told it.
    pub(super) config_json: Bytes,
    /// What its settings do to its answers.
    pub(super) precision_note: Option<String>,
    pub(super) load_time: Duration,
    pub(super) queue: Arc<Queue<QueuedRequest>>,
    /// Where answers are to leave in the order of their requests.
    pub(super) order: Option<Arc<Order>>,
    pub(super) metrics: Arc<ModelMetrics>,
    pub(super) health: DeviceHealth,
    /// Taken out by `stop`, which joins them.
    pub(super) instances: Mutex<Vec<Instance>>,
}

impl ServedModel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A body for `POST /predictions/<model>` that the model ran on when it was
    /// loaded, where there is a short one.
    #[must_use]
    pub fn example(&self) -> Option<&str> {
        self.example.as_deref()
    }

    /// Its version's number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What stands in front of and behind its tensors.
    #[must_use]
    pub fn transforms(&self) -> Option<&Arc<Transforms>> {
        self.transforms.as_ref()
    }

    /// What stands for NaN and infinities where JSON is meant to be strict.
    #[must_use]
    pub fn non_finite(&self) -> NonFinite {
        self.non_finite
    }

    /// Where it runs.
    #[must_use]
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// What a trial of other numbers of instances and threads showed:
    /// `rows/s at warm-up: 2x1 114, 1x2 98`; or why there was none. `None` where
    /// nothing else was to be tried.
    #[must_use]
    pub fn plan_reason(&self) -> Option<&str> {
        self.plan_reason.as_deref()
    }

    /// What its settings' precision does to its answers, as a trial run showed:
    /// `bf16 weights: answers differ by at most 0.013 (cosine 0.99997)`; `None`
    /// where they ask for nothing that could change them.
    #[must_use]
    pub fn precision_note(&self) -> Option<&str> {
        self.precision_note.as_deref()
    }

    /// What an operator should know of how it serves, a sentence each; nothing
    /// where all is as configured.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        // Clients may know better what it takes.
        let fails = self.fails.as_ref().filter(|_| self.statistics().inference_count == 0);
        let fails = fails.map(|error| format!("it fails on every input that was tried: {error}"));
        let apart = if self.asked_to_batch { self.rows.apart() } else { None };
        fails.into_iter().chain(apart).collect()
    }

    /// Its configuration in protobuf's JSON: what the file says, and what is
    /// in effect where the file leaves it open.
    #[must_use]
    pub fn config_json(&self) -> &Bytes {
        &self.config_json
    }

    /// The same as a message.
    #[must_use]
    pub fn config_message(&self) -> cresset_protocol::messages::config::ModelConfig {
        let groups: Vec<InstanceGroup> = self.placements.iter().map(Placement::group).collect();
        self.config.in_effect(self.format, &groups)
    }

    /// From the file's first byte to the last instance's being ready.
    #[must_use]
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The most rows of a batch; zero where nothing is batched.
    #[must_use]
    pub fn max_batch_size(&self) -> u32 {
        self.config.max_batch_size
    }

    /// Whether requests of several callers run together.
    #[must_use]
    pub fn batches(&self) -> bool {
        self.config.dynamic_batching.is_some()
    }

    /// The input of this name as configured, or the only one.
    #[must_use]
    pub fn input_datatype(&self, name: &str) -> Option<cresset_protocol::Datatype> {
        self.binding.input(name)?.datatype()
    }

    /// The name of that input, where it takes strings.
    #[must_use]
    pub fn only_text(&self) -> Option<&str> {
        let only = self.binding.only_input().filter(|only| only.leaf == Leaf::Strings)?;
        Some(&only.name)
    }

    /// Whether requests of different lengths are padded to run together.
    #[must_use]
    pub fn pads(&self) -> bool {
        self.batching.padding.is_some()
    }

    /// The dims of an input as they are configured, and whether a batch is in
    /// front of them. `None` for what isn't, and for what is the same for all
    /// rows.
    #[must_use]
    pub fn input_dims(&self, name: &str) -> Option<(&[i64], bool)> {
        let input = self.binding.input(name)?;
        let spec = input.spec.as_ref().filter(|_| input.leaf.shared().is_none())?;
        Some((&spec.dims, self.config.max_batch_size > 0))
    }

    /// The name of its input, where it has just one that a request must bring.
    #[must_use]
    pub fn only_input(&self) -> Option<&str> {
        self.binding.only_input().map(|only| only.name.as_str())
    }

    /// The name of the input that an image fills.
    #[must_use]
    pub fn image_input(&self) -> Option<&str> {
        let declared = self.transforms.as_ref()?.image.as_ref()?.input();
        declared.or_else(|| self.only_input())
    }

    /// Whether it has an input of this name.
    #[must_use]
    pub fn has_input(&self, name: &str) -> bool {
        self.binding.input(name).is_some()
    }

    /// Whether the input that an image fills has a dimension for the batch,
    /// though the model doesn't batch: 4 dimensions, where they are known.
    #[must_use]
    pub fn image_has_batch(&self) -> bool {
        self.image_dims().is_none_or(|dims| dims.len() == 4)
    }

    /// How many photographs one request may hold; `usize::MAX` for any number.
    #[must_use]
    pub fn most_photographs(&self) -> usize {
        match self.config.max_batch_size {
            0 if self.image_dims().is_none_or(|dims| matches!(dims, [-1, _, _, _])) => usize::MAX,
            0 => 1,
            _ if self.batching.splits() => usize::MAX,
            most => most as usize,
        }
    }

    /// The configured dimensions of the input that an image fills.
    fn image_dims(&self) -> Option<&[i64]> {
        let name = self.image_input()?;
        let input = self.binding.input(name)?;
        input.spec.as_ref().map(|spec| spec.dims.as_slice())
    }

    /// `versions` are all that are served of this model.
    #[must_use]
    pub fn metadata(&self, versions: Vec<String>) -> ModelMetadata {
        let batch = (self.config.max_batch_size > 0).then_some(-1);
        let tensor = |name: &str, spec: Option<&crate::model_config::TensorConfig>| TensorMetadata {
            name: name.to_owned(),
            datatype: spec.map_or_else(String::new, |spec| spec.datatype.name().to_owned()),
            shape: spec
                .map_or_else(Vec::new, |spec| batch.into_iter().chain(spec.dims.iter().copied()).collect()),
        };
        ModelMetadata {
            name: self.name.to_string(),
            versions,
            platform: self.format.names.platform.to_owned(),
            inputs: if !self.config.inputs.is_empty() {
                self.config.inputs.iter().map(|input| tensor(&input.name, Some(input))).collect()
            } else {
                self.binding.inputs.iter().map(|input| tensor(&input.name, None)).collect()
            },
            outputs: self.config.outputs.iter().map(|output| tensor(&output.name, Some(output))).collect(),
        }
    }

    /// What it has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> ModelStatistics {
        self.metrics.statistics(&self.name, self.version)
    }

    /// The fault of a device that it runs on, where one has failed.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.placements.iter().find_map(|placement| self.health.fault(placement.device))
    }

    /// Answers what waits with the fault of its device, and takes nothing in
    /// any more. Nothing happens where its devices are well.
    pub fn fail_waiting(&self) {
        let Some(fault) = self.fault() else { return };
        for request in self.queue.close_and_take() {
            request.responder.fail(FailureReason::Backend, fault.error());
        }
    }

    /// Takes nothing in any more, finishes what waits, and ends the instances.
    pub fn stop(&self) {
        self.queue.close();
        let instances = std::mem::take(&mut *self.instances.lock().unwrap_or_else(PoisonError::into_inner));
        instances.into_iter().for_each(Instance::join);
    }
}
