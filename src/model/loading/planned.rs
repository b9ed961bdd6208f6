//! From a model that has run to one whose instances have their places.

use super::error::LoadError;
use super::plan::plan;
use super::rehearsed::RehearsedModel;
use super::warm_up::warm_up;
use crate::instance::WarmUp;
use crate::model::placement::Placement;
use crate::model::tuning::calibrate::{Calibrated, TuningInput, calibrate};
use crate::trial::rows::RowRule;
use cresset_scheduler::ablation::{Heuristic, off};

/// A model with a plan of its instances and of their warm-up runs.
pub(super) struct PlannedModel<'a> {
    pub(super) rehearsed: RehearsedModel<'a>,
    pub(super) placements: Vec<Placement>,
    /// What a calibration showed, or why there was none.
    pub(super) reason: Option<String>,
    pub(super) warm_up: WarmUp,
}

impl<'a> PlannedModel<'a> {
    /// Places the instances: by the configuration, and by what a calibration shows
    /// if the configuration leaves it open.
    ///
    /// # Errors
    /// A configuration that this machine can't satisfy.
    pub(super) fn plan(rehearsed: RehearsedModel<'a>) -> Result<Self, LoadError> {
        let (bound, loaded) = (&rehearsed.bound, &rehearsed.bound.loaded);
        let (config, resources) = (&bound.config, loaded.file.resources);
        let (placements, notes) = plan(&config.instance_groups, loaded.is_stateful(), resources)?;
        for note in &notes {
            tracing::warn!(model = config.name, "{note}");
        }
        let mut warm_up = warm_up(config, &bound.binding, &bound.batching);
        if bound.batching.padding.is_none()
            && let Some(ran) = rehearsed.ran.first()
        {
            // These inputs are known to run, so they replace zeros.
            warm_up.first.iter_mut().for_each(|inputs| inputs.clone_from(&ran.inputs));
        }
        let mut planned = Self { placements, reason: None, warm_up, rehearsed };
        planned.calibrate();
        planned.complete_warm_up();
        Ok(planned)
    }

    /// Changes the placements to the layout that is the fastest, if calibrations
    /// are to be made.
    fn calibrate(&mut self) {
        let Self { rehearsed, placements, warm_up, .. } = self;
        let (bound, ran) = (&rehearsed.bound, &rehearsed.ran);
        let loaded = &bound.loaded;
        let trials = loaded.file.resources.trials.as_ref().filter(|_| !off(Heuristic::Calibrate));
        let Some(trials) = trials else { return };
        let known = ran.iter().take(1).map(|request| request.inputs.as_slice());
        let input = TuningInput {
            groups: &bound.config.instance_groups,
            stateful: loaded.is_stateful(),
            batched: bound.config.max_batch_size > 0,
            processors: loaded.file.resources.processors,
            target: loaded.file.source.objective.latency_target,
            sizes: known.chain(warm_up.later.iter().map(Vec::as_slice)).collect(),
        };
        let calibrated = calibrate(loaded.model.as_ref(), placements, &input, trials);
        if !ran.is_empty() || calibrated.as_ref().is_some_and(|calibrated| calibrated.steady) {
            // The remaining costs are each thread's own. The second run tells
            // how long one takes.
            warm_up.first.truncate(2);
        }
        self.reason = calibrated.map(|Calibrated { reason, .. }| reason);
    }

    /// Removes runs that this model mustn't have, and adds the configured ones.
    fn complete_warm_up(&mut self) {
        let Self { rehearsed, warm_up, .. } = self;
        if rehearsed.bound.loaded.is_stateful() {
            // A run would change its state, so only configured samples run.
            *warm_up = WarmUp::default();
        }
        if matches!(rehearsed.rule, RowRule::Unknown(_)) {
            warm_up.later.clear();
        }
        warm_up.samples.clone_from(&rehearsed.bound.samples);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::bound::BoundModel;
    use super::super::loaded::LoadedModel;
    use super::super::testing::{ROWS, Step};
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};

    fn planned(step: &Step) -> PlannedModel<'_> {
        let bound = BoundModel::bind(LoadedModel::load(step.file()).unwrap()).unwrap();
        PlannedModel::plan(RehearsedModel::rehearse(bound).unwrap()).unwrap()
    }

    fn shown(planned: &PlannedModel<'_>) -> Vec<String> {
        planned.placements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_processor_has_an_instance_and_each_size_is_warmed() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), ROWS);
        let planned = planned(&step);
        assert_eq!(shown(&planned), ["cpu, 2 instances x 1 thread"]);
        assert_eq!((planned.reason.as_deref(), planned.warm_up.first.len()), (None, 3));
        let rows: Vec<i64> = planned.warm_up.later.iter().map(|inputs| inputs[0].shape[0]).collect();
        assert_eq!(rows, [2, 4]);
    }

    #[test]
    fn a_calibration_says_what_it_measured_and_leaves_fewer_runs() {
        let mut step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]), ROWS);
        step.resources.trials = Some(Arc::default());
        let planned = planned(&step);
        let reason = planned.reason.as_deref().unwrap();
        assert!(reason.starts_with("rows/s at warm-up: 2x1 "), "{reason}");
        assert_eq!(planned.warm_up.first.len(), 2);
    }

    #[test]
    fn a_model_that_keeps_state_has_one_instance_and_no_runs() {
        let step = Step::new(MockBackend::new(Behaviour::Identity, &["x"]).stateful(), ROWS);
        let planned = planned(&step);
        assert_eq!(shown(&planned), ["cpu, 1 instance x 2 threads"]);
        assert_eq!(planned.warm_up, WarmUp::default());
    }
}
