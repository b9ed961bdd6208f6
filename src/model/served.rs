//! A version in service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::batching::Batching;
use super::calibrate::{Asked, calibrate};
use super::fit::check_transforms;
use super::improve::{Begins, Improvement, file_size, is_open};
use super::plan::{Placement, PlanError, Resources, plan};
use super::prepare::{Prepared, prepare};
use super::samples::samples;
use super::trial::open_inputs;
use super::warm_up::warm_up;
use crate::backend::{Backend, BackendError, Device, LoadRequest, Model, Preparation};
use crate::clock;
use crate::faults::{DeviceFaults, Fault};
use crate::instance::{Instance, InstanceSettings, Later, ModelSlot, Order, QueuedRequest, WarmUp, spawn};
use crate::metrics::{FailureReason, ModelMetrics};
use crate::model_config::{Binding, ConfigError, InstanceGroup, ModelConfig, PLATFORM};
use crate::model_settings::{BatchingSettings, Objective, SettingsError};
use crate::protocol::{ModelMetadata, ModelStatistics, TensorMetadata};
use crate::scheduler::{Levels, Policy, Queue};
use crate::transform::Transforms;

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
            config: Arc::new(config),
            transforms: None,
            preparation: Preparation::default(),
            batching: BatchingSettings::default(),
            objective: Objective::default(),
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
    version: u64,
    pub(super) config: Arc<ModelConfig>,
    pub(super) binding: Arc<Binding>,
    pub(super) batching: Batching,
    transforms: Option<Arc<Transforms>>,
    placements: Vec<Placement>,
    /// What a trial of others showed, or why there was none.
    plan_reason: Option<String>,
    /// The configuration as clients are told it.
    config_json: Bytes,
    /// What its settings do to its answers.
    precision_note: Option<String>,
    load_time: Duration,
    pub(super) queue: Arc<Queue<QueuedRequest>>,
    /// Where answers are to leave in the order of their requests.
    pub(super) order: Option<Arc<Order>>,
    pub(super) metrics: Arc<ModelMetrics>,
    faults: DeviceFaults,
    /// Taken out by `stop`, which joins them.
    instances: Mutex<Vec<Instance>>,
}

impl ServedModel {
    /// Loads a version once for each device, starts its instances and waits
    /// until all are warm. `queue_capacity` bounds its queue where the
    /// configuration doesn't.
    ///
    /// # Errors
    /// Why it can't be served; nothing of it is left running.
    pub fn load(
        backend: &dyn Backend,
        source: &ModelSource,
        resources: &Resources,
        queue_capacity: usize,
    ) -> std::result::Result<Self, LoadError> {
        Self::load_to_improve(backend, source, resources, queue_capacity).map(|(served, _)| served)
    }

    /// The same, with what could make it faster once it serves.
    ///
    /// # Errors
    /// As of [`ServedModel::load`].
    pub fn load_to_improve(
        backend: &dyn Backend,
        source: &ModelSource,
        resources: &Resources,
        queue_capacity: usize,
    ) -> std::result::Result<(Self, Option<Improvement>), LoadError> {
        let started = clock::now();
        let mut config = Arc::clone(&source.config);
        // The first placement's device tells what the file is; whether it
        // keeps state decides the rest of the plan.
        let (first, _) = plan(&config.instance_groups, false, resources)?;
        let device = first.first().map_or(Device::Cpu, |placement| placement.device);
        let Prepared { model, preparation, note: precision_note } =
            prepare(backend, source, device, resources)?;
        let signature = model.signature().clone();
        let open = signature.stateful.is_none()
            && !resources.overlapped
            && is_open(&preparation, device, &source.file);
        let mut models = ModelsByDevice { backend, source, resources, preparation, loaded: BTreeMap::new() };
        models.keep(device, model);
        let (mut placements, notes) = plan(&config.instance_groups, signature.stateful.is_some(), resources)?;
        for note in &notes {
            tracing::warn!(model = config.name, "{note}");
        }

        let binding = Arc::new(Binding::new(&config, &signature)?);
        if let Some(warning) = binding.warning() {
            tracing::warn!(model = config.name, "{warning}");
        }
        let apart = signature.stateful.clone().or_else(|| {
            // Nothing says that two callers' dictionaries have the same keys.
            binding.open_keys.map(|_| "forward takes a dictionary whose keys aren't configured".to_owned())
        });
        if let Some(reason) = &apart
            && config.dynamic_batching.is_some()
        {
            tracing::warn!(
                model = config.name,
                reason,
                "requests of different callers aren't batched together"
            );
            let mut unbatched = (*config).clone();
            unbatched.dynamic_batching = None;
            config = Arc::new(unbatched);
        }
        if let Some(transforms) = &source.transforms {
            check_transforms(transforms, &config, &binding).map_err(LoadError::Transform)?;
        }
        let batching = Batching::new(&source.batching, &config, &binding, apart.as_deref())?;
        let mut runs = warm_up(&config, &binding, &batching);
        let mut plan_reason = None;
        if let Some(trials) = &resources.trials {
            // Where a dimension is left open, one of the usual sizes will do.
            let guessed = runs.first.is_empty();
            let guesses = if guessed { open_inputs(&config, &binding) } else { Vec::new() };
            let sizes = runs.first.iter().take(1).chain(&runs.later).chain(&guesses);
            let asked = Asked {
                groups: &config.instance_groups,
                stateful: signature.stateful.is_some(),
                batched: config.max_batch_size > 0,
                processors: resources.processors,
                target: source.objective.latency_target,
                sizes: sizes.map(Vec::as_slice).collect(),
                guessed,
            };
            let model = models.on(device)?;
            let calibrated = calibrate(model.as_ref(), &mut placements, &asked, trials);
            if calibrated.as_ref().is_some_and(|calibrated| calibrated.steady) {
                // What is left is what each instance's thread has by itself: the second
                // run tells how long one takes.
                runs.first.truncate(2);
            }
            plan_reason = calibrated.map(|calibrated| calibrated.reason);
        }
        let mut policy = Policy::new(config.max_batch_size, config.dynamic_batching.as_ref(), queue_capacity);
        // What is asked for the waiting holds for requests that run alone too.
        let asked = source.config.dynamic_batching.as_ref();
        policy.levels = Levels::new(asked);
        batching.complete(&mut policy);
        policy.instances = placements.iter().map(|placement| placement.instances).sum();
        policy.latency_target = source.objective.latency_target;
        policy.lookout = resources.lookout;
        let ordered = asked.is_some_and(|batching| batching.preserve_ordering);
        let queue = Arc::new(Queue::new(policy));
        let metrics = Arc::new(ModelMetrics::new(&config.name, source.version));
        crate::metrics::tag(&config.name, source.version, &config.metric_tags);
        let samples = samples(&config, &binding, source.directory.as_deref()).map_err(LoadError::WarmUp)?;
        let runs = if signature.stateful.is_some() {
            // A run would change its state: only what is asked for.
            WarmUp { samples, ..WarmUp::default() }
        } else {
            WarmUp { samples, ..runs }
        };

        let groups: Vec<InstanceGroup> = placements.iter().map(Placement::group).collect();
        let served = Self {
            config_json: Bytes::from(config.to_json(&groups)?),
            name: Arc::from(config.name.as_str()),
            version: source.version,
            config: Arc::clone(&config),
            binding: Arc::clone(&binding),
            batching,
            transforms: source.transforms.clone(),
            placements,
            plan_reason,
            precision_note,
            load_time: Duration::ZERO,
            queue: Arc::clone(&queue),
            order: ordered.then(Arc::default),
            metrics: Arc::clone(&metrics),
            faults: resources.faults.clone(),
            instances: Mutex::default(),
        };
        let improvable = file_size(&source.file)
            .filter(|_| open && served.placements.len() == 1)
            .map(|file_size| Improvable { file_size });
        match served.start(&mut models, &Arc::new(runs), improvable) {
            Ok(improvement) => Ok((Self { load_time: clock::now() - started, ..served }, improvement)),
            Err(error) => {
                served.stop();
                Err(error)
            }
        }
    }

    fn start(
        &self,
        models: &mut ModelsByDevice<'_>,
        warm_up: &Arc<WarmUp>,
        improvable: Option<Improvable>,
    ) -> std::result::Result<Option<Improvement>, LoadError> {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if !warm_up.later.is_empty() {
            self.queue.hold_back_above(1);
        }
        let mut improvement = None;
        for placement in &self.placements {
            let model = models.on(placement.device)?;
            let name = if placement.name.is_empty() { &*self.name } else { placement.name.as_str() };
            let slot = Arc::new(ModelSlot::new(model));
            let shared = Arc::new(Later::new(&warm_up.later));
            if let Some(Improvable { file_size }) = improvable {
                shared.defer();
                let begins = Begins { later: Arc::clone(&shared), queue: Arc::clone(&self.queue) };
                improvement = Some(Improvement {
                    label: format!("{}/{}", self.name, self.version),
                    config: Arc::clone(&self.config),
                    binding: Arc::clone(&self.binding),
                    sizes: warm_up.later.clone(),
                    file_size,
                    intra_op_threads: placement.intra_op_threads,
                    slot: Arc::downgrade(&slot),
                    begins,
                });
            }
            for _ in 0..placement.instances {
                let index = instances.len();
                // A device keeps memory for each stream, a processor for all.
                let later = match placement.device {
                    Device::Cpu => Arc::clone(&shared),
                    Device::Cuda(_) | Device::AsSaved => Arc::new(Later::new(&warm_up.later)),
                };
                instances.push(spawn(InstanceSettings {
                    label: format!("{name}/{}.{index}", self.version),
                    slot: Arc::clone(&slot),
                    device: placement.device,
                    faults: self.faults.clone(),
                    intra_op_threads: placement.intra_op_threads,
                    queue: Arc::clone(&self.queue),
                    binding: Arc::clone(&self.binding),
                    metrics: Arc::clone(&self.metrics),
                    batched: self.config.max_batch_size > 0,
                    padding: self.batching.padding.clone(),
                    warm_up: Arc::clone(warm_up),
                    later,
                })?);
            }
        }
        instances.iter().try_for_each(Instance::wait_ready)?;
        Ok(improvement)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
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

    /// Its configuration in protobuf's JSON: what the file says, and what is
    /// in effect where the file leaves it open.
    #[must_use]
    pub fn config_json(&self) -> &Bytes {
        &self.config_json
    }

    /// The same as a message.
    #[must_use]
    pub fn config_message(&self) -> crate::model_config::proto::ModelConfig {
        let groups: Vec<InstanceGroup> = self.placements.iter().map(Placement::group).collect();
        self.config.in_effect(&groups)
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
    pub fn input_datatype(&self, name: &str) -> Option<crate::protocol::Datatype> {
        let bound = self.binding.inputs.iter().find(|input| input.name == name)?;
        bound.spec.as_ref().map(|spec| spec.datatype)
    }

    /// The name of its input, where it has just one.
    #[must_use]
    pub fn only_input(&self) -> Option<&str> {
        match self.binding.inputs.as_slice() {
            [only] => Some(&only.name),
            _ => None,
        }
    }

    /// The name of the input that an image fills.
    #[must_use]
    pub fn image_input(&self) -> Option<&str> {
        let declared = self.transforms.as_ref()?.image.as_ref()?.input();
        declared.or_else(|| self.binding.inputs.first().map(|input| input.name.as_str()))
    }

    /// Whether the input that an image fills has a dimension for the batch,
    /// though the model doesn't batch: 4 dimensions, where they are known.
    #[must_use]
    pub fn image_has_batch(&self) -> bool {
        let spec = self.binding.inputs.first().and_then(|input| input.spec.as_ref());
        spec.is_none_or(|spec| spec.dims.len() == 4)
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
            platform: PLATFORM.to_owned(),
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
        self.placements.iter().find_map(|placement| self.faults.of(placement.device))
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

/// That a version's code may become another while it serves.
#[derive(Debug, Clone, Copy)]
struct Improvable {
    /// Of its file, in bytes.
    file_size: u64,
}

/// Loads a version's file, prepared in this way; a device that has failed is
/// latched.
pub(super) fn load_once(
    backend: &dyn Backend,
    source: &ModelSource,
    device: Device,
    resources: &Resources,
    preparation: &Preparation,
) -> std::result::Result<Arc<dyn Model>, BackendError> {
    let loaded = backend.load(&LoadRequest {
        path: &source.file,
        device,
        parameters: &source.config.parameters,
        overlapped: resources.overlapped,
        preparation,
    });
    loaded.inspect_err(|error| resources.faults.notice(device, error))
}

/// Loads a file once for each device, when it is first asked for.
struct ModelsByDevice<'a> {
    backend: &'a dyn Backend,
    source: &'a ModelSource,
    resources: &'a Resources,
    preparation: Preparation,
    loaded: BTreeMap<Device, Arc<dyn Model>>,
}

impl ModelsByDevice<'_> {
    fn on(&mut self, device: Device) -> std::result::Result<Arc<dyn Model>, BackendError> {
        if let Some(model) = self.loaded.get(&device) {
            return Ok(Arc::clone(model));
        }
        let model = load_once(self.backend, self.source, device, self.resources, &self.preparation)?;
        self.keep(device, Arc::clone(&model));
        Ok(model)
    }

    /// Says what an operator should know of the file on this device.
    fn keep(&mut self, device: Device, model: Arc<dyn Model>) {
        for note in &model.signature().notes {
            tracing::warn!(model = self.source.config.name, version = self.source.version, "{note}");
        }
        self.loaded.insert(device, model);
    }
}
