//! A version's way into service: its file loaded, joined with its
//! configuration, tried, planned onto the processors, and its instances warm.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::batching::Batching;
use super::calibrate::{Asked, Calibrated, calibrate};
use super::example::example;
use super::fit::check_transforms;
use super::improve::{Begins, Improvement, file_size, is_open};
use super::plan::{Placement, Resources, plan};
use super::prepare::{Prepared, prepare};
use super::rehearse::{Rehearsal, Rehearsed};
use super::samples::samples;
use super::served::{LoadError, ModelSource, ServedModel};
use super::warm_up::warm_up;
use crate::instance::{
    Instance, InstanceSettings, Later, ModelSlot, RowState, WarmUp, WarmUpSampleRun, spawn,
};
use crate::metrics::ModelMetrics;
use crate::model_config::{Binding, InstanceGroup, ModelConfig};
use crate::scheduler::{Levels, Policy, Queue};
use crate::trial::rows::RowRule;
use cresset_backend::{Backend, BackendError, Device, LoadRequest, Model, Preparation, Signature};
use cresset_clock as clock;

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
    ) -> Result<Self, LoadError> {
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
    ) -> Result<(Self, Option<Improvement>), LoadError> {
        let started = clock::now();
        source.op_libraries.iter().try_for_each(|library| backend.open_operators(library))?;
        // The first placement's device tells what the file is; whether it
        // keeps state decides the rest of the plan.
        let (first, _) = plan(&source.config.instance_groups, false, resources)?;
        let device = first.first().map_or(Device::Cpu, |placement| placement.device);
        let Prepared { model, preparation, note } = prepare(backend, source, device, resources)?;
        let mut models = ModelsByDevice { backend, source, resources, preparation, loaded: BTreeMap::new() };
        models.keep(device, Arc::clone(&model));
        let loading = Loading { source, resources, device, model };
        let bound = loading.bind()?;
        let tried = loading.rehearse(bound, &models.preparation)?;
        let planned = loading.plan(&tried)?;
        let (served, runs) = loading.assemble(tried, planned, queue_capacity)?;
        let served = ServedModel { precision_note: note, ..served };
        let improvable = loading.improvable(&models.preparation, &served.placements);
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
    ) -> Result<Option<Improvement>, LoadError> {
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
                    label: format!("{}/{}", self.name, self.version()),
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
                    label: format!("{name}/{}.{index}", self.version()),
                    slot: Arc::clone(&slot),
                    device: placement.device,
                    faults: self.faults.clone(),
                    intra_op_threads: placement.intra_op_threads,
                    queue: Arc::clone(&self.queue),
                    binding: Arc::clone(&self.binding),
                    metrics: Arc::clone(&self.metrics),
                    batched: self.config.max_batch_size > 0,
                    rows: Arc::clone(&self.rows),
                    padding: self.batching.padding.clone(),
                    warm_up: Arc::clone(warm_up),
                    later,
                })?);
            }
        }
        instances.iter().try_for_each(Instance::wait_ready)?;
        Ok(improvement)
    }
}

/// A version whose file is loaded.
struct Loading<'a> {
    source: &'a ModelSource,
    resources: &'a Resources,
    /// The first that it is placed on.
    device: Device,
    model: Arc<dyn Model>,
}

/// A configuration that fits its file.
struct Bound {
    /// As it is in effect: without batches across callers where there mustn't
    /// be any.
    config: Arc<ModelConfig>,
    /// Why there mustn't, where that is so.
    apart: Option<String>,
    binding: Arc<Binding>,
    batching: Batching,
    samples: Vec<WarmUpSampleRun>,
}

/// The same, and how the model behaves.
struct Tried {
    bound: Bound,
    rehearsed: Rehearsed,
    /// How far a row may be from what it is alone.
    rounding: f64,
}

/// Where its instances are.
struct Planned {
    placements: Vec<Placement>,
    /// What a trial of others showed, or why there was none.
    reason: Option<String>,
    runs: WarmUp,
}

impl Loading<'_> {
    fn signature(&self) -> &Signature {
        self.model.signature()
    }

    fn is_stateful(&self) -> bool {
        self.signature().stateful.is_some()
    }

    fn bind(&self) -> Result<Bound, LoadError> {
        let ModelSource { config, batching, directory, transforms, .. } = self.source;
        let binding = Arc::new(Binding::new(config, self.signature())?);
        if let Some(warning) = binding.warning() {
            tracing::warn!(model = config.name, "{warning}");
        }
        if let Some(reason) = &self.signature().stateful {
            tracing::warn!(
                model = config.name,
                reason,
                "the model keeps state, which all callers share: a request changes what those after it get, whoever \
                 sends them"
            );
        }
        let apart = self.signature().stateful.clone().or_else(|| {
            // Nothing says that two callers' dictionaries have the same keys.
            let open = "forward takes a list or a dictionary whose values aren't configured";
            binding.open.then(|| open.to_owned())
        });
        let config = match &apart {
            Some(reason) => kept_apart(config, reason),
            None => Arc::clone(config),
        };
        if let Some(transforms) = transforms {
            check_transforms(transforms, &config, &binding).map_err(LoadError::Transform)?;
        }
        let batching = Batching::new(batching, &config, &binding, apart.as_deref())?;
        let samples = samples(&config, &binding, directory.as_deref()).map_err(LoadError::WarmUp)?;
        Ok(Bound { config, apart, binding, batching, samples })
    }

    /// Tries the model, and takes it out of batches where its outputs aren't
    /// rows.
    fn rehearse(&self, bound: Bound, preparation: &Preparation) -> Result<Tried, LoadError> {
        let rehearsal = Rehearsal {
            model: self.model.as_ref(),
            config: &bound.config,
            binding: &bound.binding,
            batching: &bound.batching,
            samples: &bound.samples,
            device: self.device,
            preparation,
        };
        let rehearsed = rehearsal.run().inspect_err(|error| {
            if let LoadError::Backend(error) = error {
                self.resources.faults.notice(self.device, error);
            }
        })?;
        let rounding = rehearsal.rounding();
        let model = &bound.config.name;
        if let Some(error) = &rehearsed.fails {
            tracing::warn!(
                model,
                "the model fails on every input that was tried, and may fail on requests: {error}"
            );
        }
        if bound.config.dynamic_batching.is_none() {
            return Ok(Tried { bound, rehearsed, rounding });
        }
        match &rehearsed.rule {
            RowRule::ByRow => Ok(Tried { bound, rehearsed, rounding }),
            RowRule::Unknown(reason) => {
                tracing::warn!(
                    model,
                    "each request runs by itself until it is proved on requests that answers are theirs alone: {reason}"
                );
                Ok(Tried { bound, rehearsed, rounding })
            }
            RowRule::Whole(reason) => {
                let config = kept_apart(&bound.config, reason);
                let batching = Batching::new(&self.source.batching, &config, &bound.binding, Some(reason))?;
                let bound = Bound { config, apart: Some(reason.clone()), batching, ..bound };
                Ok(Tried { bound, rehearsed, rounding })
            }
        }
    }

    fn plan(&self, tried: &Tried) -> Result<Planned, LoadError> {
        let Tried { bound: Bound { config, binding, batching, .. }, rehearsed, .. } = tried;
        let (mut placements, notes) = plan(&config.instance_groups, self.is_stateful(), self.resources)?;
        for note in &notes {
            tracing::warn!(model = config.name, "{note}");
        }
        let mut runs = warm_up(config, binding, batching);
        if batching.padding.is_none()
            && let Some(ran) = rehearsed.ran.first()
        {
            // What is known to run, in the place of zeros.
            runs.first.iter_mut().for_each(|inputs| inputs.clone_from(&ran.inputs));
        }
        let Some(trials) = &self.resources.trials else {
            return Ok(Planned { placements, reason: None, runs });
        };
        let ran = rehearsed.ran.iter().take(1).map(|request| request.inputs.as_slice());
        let asked = Asked {
            groups: &config.instance_groups,
            stateful: self.is_stateful(),
            batched: config.max_batch_size > 0,
            processors: self.resources.processors,
            target: self.source.objective.latency_target,
            sizes: ran.chain(runs.later.iter().map(Vec::as_slice)).collect(),
        };
        let calibrated = calibrate(self.model.as_ref(), &mut placements, &asked, trials);
        if !rehearsed.ran.is_empty() || calibrated.as_ref().is_some_and(|calibrated| calibrated.steady) {
            // What is left is what each instance's thread has by itself: the second
            // run tells how long one takes.
            runs.first.truncate(2);
        }
        let reason = calibrated.map(|Calibrated { reason, .. }| reason);
        Ok(Planned { placements, reason, runs })
    }

    fn assemble(
        &self,
        tried: Tried,
        planned: Planned,
        queue_capacity: usize,
    ) -> Result<(ServedModel, WarmUp), LoadError> {
        let Tried { bound, rehearsed: Rehearsed { rule, ran, fails }, rounding } = tried;
        let Bound { config, apart, binding, batching, samples } = bound;
        let Planned { placements, reason: plan_reason, mut runs } = planned;
        if self.is_stateful() {
            // A run would change its state: only what is asked for.
            runs = WarmUp::default();
        }
        let rule = match (&config.dynamic_batching, apart) {
            (Some(_), _) => rule,
            (None, apart) => RowRule::Whole(apart.unwrap_or_default()),
        };
        if matches!(rule, RowRule::Unknown(_)) {
            runs.later.clear();
        }
        runs.samples = samples;
        // What is asked for the waiting holds for requests that run alone too.
        let asked = self.source.config.dynamic_batching.as_ref();
        let mut policy = Policy::new(config.max_batch_size, config.dynamic_batching.as_ref(), queue_capacity);
        policy.levels = Levels::new(asked);
        batching.complete(&mut policy);
        policy.instances = placements.iter().map(|placement| placement.instances).sum();
        policy.latency_target = self.source.objective.latency_target;
        policy.lookout = self.resources.lookout;
        let ordered = asked.is_some_and(|batching| batching.preserve_ordering);
        let queue = Arc::new(Queue::new(policy));
        let metrics = Arc::new(ModelMetrics::new(&config.name, self.source.version));
        crate::metrics::tag(&config.name, self.source.version, &config.metric_tags);
        let groups: Vec<InstanceGroup> = placements.iter().map(Placement::group).collect();
        let label = format!("{}/{}", config.name, self.source.version);
        let (rows_of, in_queue) = (Arc::clone(&binding), Arc::clone(&queue));
        let rows = RowState::new(label, rows_of, in_queue, config.max_batch_size, rounding, rule);
        let example = example(&ran, &binding);
        let rows = rows.with_requests(ran);
        if runs.later.is_empty() {
            rows.forget_requests();
        }
        let served = ServedModel {
            config_json: Bytes::from(config.to_json(&groups)?),
            name: Arc::from(config.name.as_str()),
            version: self.source.version,
            config,
            binding,
            batching,
            rows: Arc::new(rows),
            asked_to_batch: asked.is_some(),
            fails,
            example,
            transforms: self.source.transforms.clone(),
            non_finite: self.source.non_finite,
            placements,
            plan_reason,
            precision_note: None,
            load_time: Duration::ZERO,
            queue,
            order: ordered.then(Arc::default),
            metrics,
            faults: self.resources.faults.clone(),
            instances: Mutex::default(),
        };
        Ok((served, runs))
    }

    /// Whether its code may become another while it serves.
    fn improvable(&self, preparation: &Preparation, placements: &[Placement]) -> Option<Improvable> {
        let open = !self.is_stateful()
            && !self.resources.overlapped
            && placements.len() == 1
            && is_open(preparation, self.device, &self.source.file);
        file_size(&self.source.file).filter(|_| open).map(|file_size| Improvable { file_size })
    }
}

/// The configuration with each request by itself, which the log tells where it
/// asked for batches.
fn kept_apart(config: &Arc<ModelConfig>, reason: &str) -> Arc<ModelConfig> {
    if config.dynamic_batching.is_none() {
        return Arc::clone(config);
    }
    tracing::warn!(model = config.name, reason, "requests of different callers aren't batched together");
    let mut apart = (**config).clone();
    apart.dynamic_batching = None;
    Arc::new(apart)
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
) -> Result<Arc<dyn Model>, BackendError> {
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
    fn on(&mut self, device: Device) -> Result<Arc<dyn Model>, BackendError> {
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
