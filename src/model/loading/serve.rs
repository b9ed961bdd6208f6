//! From a planned model to a version whose instances answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::bound::BoundModel;
use super::error::LoadError;
use super::example::example;
use super::loaded::LoadedModel;
use super::planned::PlannedModel;
use super::policy::{QueueBounds, policy};
use super::rehearsed::RehearsedModel;
use crate::instance::{Instance, InstanceSettings, ModelSlot, RowState, WarmUp, WarmUpQueue, spawn};
use crate::metrics::ModelMetrics;
use crate::model::answering::served::ServedModel;
use crate::model::placement::Placement;
use crate::model::tuning::improve::{HeldWarmUp, Improvement, is_improvable};
use crate::model_config::InstanceGroup;
use cresset_backend::Model;
use cresset_scheduler::Queue;
use cresset_scheduler::ablation::{Heuristic, off};

/// A version that serves.
pub struct LoadOutcome {
    /// The version, warm.
    pub model: ServedModel,
    /// What could make it faster, if its settings leave that open.
    pub improvement: Option<Improvement>,
}

/// Starts the instances of a version and waits until all are warm.
///
/// # Errors
/// That an instance can't be made or isn't ready; then none is left running.
pub(super) fn serve(planned: PlannedModel<'_>, bounds: QueueBounds) -> Result<LoadOutcome, LoadError> {
    let improvable = improvable(&planned);
    let (model, loaded, warm_up) = assemble(planned, bounds)?;
    let mut start = Start { served: &model, loaded, warm_up: Arc::new(warm_up), improvable };
    match start.all() {
        Ok(improvement) => Ok(LoadOutcome { model, improvement }),
        Err(error) => {
            model.stop();
            Err(error)
        }
    }
}

/// Whether its code may become another while it serves.
fn improvable(planned: &PlannedModel<'_>) -> bool {
    let loaded = &planned.rehearsed.bound.loaded;
    let allows = loaded.model.format().allows;
    if off(Heuristic::Improve) || !allows.rewrite || !allows.share {
        return false;
    }
    if loaded.is_stateful() || loaded.file.resources.overlapped || planned.placements.len() != 1 {
        return false;
    }
    is_improvable(&loaded.options, loaded.device, &loaded.file.source.file)
}

/// A version without instances yet, and what their start needs.
fn assemble<'a>(
    planned: PlannedModel<'a>,
    bounds: QueueBounds,
) -> Result<(ServedModel, LoadedModel<'a>, WarmUp), LoadError> {
    let queue = Arc::new(Queue::new(policy(&planned, bounds)));
    let PlannedModel { rehearsed, placements, reason: plan_reason, warm_up } = planned;
    let RehearsedModel { bound, rule, ran, fails, rounding } = rehearsed;
    let BoundModel { loaded, config, binding, batching, .. } = bound;
    let source = loaded.file.source;
    // The queue's settings hold for requests that run alone, too.
    let asked = source.config.dynamic_batching.as_ref();
    let ordered = asked.is_some_and(|batching| batching.preserve_ordering);
    let metrics = Arc::new(ModelMetrics::new(&config.name, source.version));
    crate::metrics::tag(&config.name, source.version, &config.metric_tags);
    let groups: Vec<InstanceGroup> = placements.iter().map(Placement::group).collect();
    let label = format!("{}/{}", config.name, source.version);
    let (rows_of, in_queue) = (Arc::clone(&binding), Arc::clone(&queue));
    let rows = RowState::new(label, rows_of, in_queue, config.max_batch_size, rounding, rule);
    let example = example(&ran, &binding);
    let rows = rows.with_requests(ran);
    if warm_up.later.is_empty() {
        rows.forget_requests();
    }
    let served = ServedModel {
        config_json: Bytes::from(config.to_json(loaded.model.format(), &groups)?),
        name: Arc::from(config.name.as_str()),
        version: source.version,
        format: loaded.model.format(),
        config,
        binding,
        batching,
        rows: Arc::new(rows),
        asked_to_batch: asked.is_some(),
        fails,
        example,
        transforms: source.transforms.clone(),
        non_finite: source.non_finite,
        placements,
        plan_reason,
        precision_note: loaded.precision_note.clone(),
        load_time: Duration::ZERO,
        queue,
        order: ordered.then(Arc::default),
        metrics,
        health: loaded.file.resources.health.clone(),
        instances: Mutex::default(),
    };
    Ok((served, loaded, warm_up))
}

/// The start of a version's instances.
struct Start<'a> {
    served: &'a ServedModel,
    loaded: LoadedModel<'a>,
    warm_up: Arc<WarmUp>,
    improvable: bool,
}

/// What the instances of one placement share.
struct SharedByPlacement {
    slot: Arc<ModelSlot>,
    warm_up: Arc<WarmUpQueue>,
}

impl Start<'_> {
    fn all(&mut self) -> Result<Option<Improvement>, LoadError> {
        let served = self.served;
        let mut instances = served.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let mut improvement = None;
        for placement in &served.placements {
            let model = self.loaded.on(placement.device)?;
            let mut shared = self.share(model);
            if self.improvable {
                improvement = Some(self.improvement(placement, &shared));
            }
            for number in 0..placement.instances {
                if number > 0 && !served.format.allows.share {
                    shared.slot = Arc::new(ModelSlot::new(self.loaded.on(placement.device)?));
                }
                let settings = self.settings(placement, &shared, instances.len());
                instances.push(spawn(settings)?);
            }
        }
        instances.iter().try_for_each(Instance::wait_ready)?;
        Ok(improvement)
    }

    fn share(&self, model: Arc<dyn Model>) -> SharedByPlacement {
        SharedByPlacement {
            slot: Arc::new(ModelSlot::new(model)),
            warm_up: Arc::new(WarmUpQueue::new(&self.warm_up.later)),
        }
    }

    fn improvement(&self, placement: &Placement, shared: &SharedByPlacement) -> Improvement {
        let served = self.served;
        Improvement {
            label: format!("{}/{}", served.name, served.version),
            config: Arc::clone(&served.config),
            binding: Arc::clone(&served.binding),
            sizes: self.warm_up.later.clone(),
            intra_op_threads: placement.intra_op_threads,
            slot: Arc::downgrade(&shared.slot),
            held: HeldWarmUp::new(Arc::clone(&shared.warm_up), Arc::clone(&served.queue)),
        }
    }

    /// Of the instance of this number, in this placement.
    fn settings(&self, placement: &Placement, shared: &SharedByPlacement, number: usize) -> InstanceSettings {
        let served = self.served;
        let name = if placement.name.is_empty() { &*served.name } else { placement.name.as_str() };
        // A device keeps memory for each stream, a processor for all.
        let warm_up_queue = if placement.device.is_host() {
            Arc::clone(&shared.warm_up)
        } else {
            Arc::new(WarmUpQueue::new(&self.warm_up.later))
        };
        InstanceSettings {
            label: format!("{name}/{}.{number}", served.version),
            slot: Arc::clone(&shared.slot),
            device: placement.device,
            health: served.health.clone(),
            intra_op_threads: placement.intra_op_threads,
            queue: Arc::clone(&served.queue),
            binding: Arc::clone(&served.binding),
            metrics: Arc::clone(&served.metrics),
            batched: served.config.max_batch_size > 0,
            rows: Arc::clone(&served.rows),
            padding: served.batching.padding.clone(),
            warm_up: Arc::clone(&self.warm_up),
            warm_up_queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ROWS, Step};
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};

    fn served(step: &Step) -> Result<LoadOutcome, LoadError> {
        let bound = BoundModel::bind(LoadedModel::load(step.file())?)?;
        serve(PlannedModel::plan(RehearsedModel::rehearse(bound)?)?, QueueBounds::of_requests(10))
    }

    #[test]
    fn the_instances_of_the_plan_are_ready() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), ROWS);
        let LoadOutcome { model, improvement } = served(&step).unwrap();
        assert!(improvement.is_none(), "there is no file");
        assert_eq!(model.instances.lock().unwrap().len(), 2);
        assert!(model.rows.shares() && model.batches());
        model.stop();
        assert!(model.instances.lock().unwrap().is_empty());
    }

    #[test]
    fn warm_up_of_further_sizes_waits_for_the_improvement() {
        let directory = tempfile::tempdir().unwrap();
        let mut step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), ROWS);
        step.source.file = directory.path().join("model.pt");
        std::fs::write(&step.source.file, "x").unwrap();
        let LoadOutcome { model, improvement } = served(&step).unwrap();
        let ran = step.backend.control().batches().len();
        drop(improvement.unwrap());
        // Sizes 2 and 4, twice each.
        step.backend.control().wait_until_ran(ran + 4);
        model.stop();
    }

    #[test]
    fn a_sample_that_fails_leaves_no_instance() {
        let sample = r#"model_warmup [ { name: "s" batch_size: 1 count: 1
            inputs { key: "x" value { data_type: TYPE_UINT8 dims: [ 2 ] input_data_file: "bytes" } } } ]"#;
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("warmup")).unwrap();
        std::fs::write(directory.path().join("warmup/bytes"), [255, 255]).unwrap();
        let config = format!("{ROWS} {sample}");
        let mut step = Step::new(MockBackend::new(Behaviour::FailsOn255, &["x"]), &config);
        step.source.directory = Some(directory.path().to_owned());
        let error = served(&step).err().unwrap().to_string();
        assert!(error.contains("failed to run warmup sample 's': PyTorch execute failure: 255"), "{error}");
    }
}
