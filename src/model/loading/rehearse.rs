//! A version tried before a client asks: whether it runs, whether it gives what
//! its configuration declares, and whether its outputs are rows of its inputs.

use std::time::Duration;

use super::error::LoadError;
use crate::instance::{OutputLayout, Unfit, WarmUpSampleRun, name_outputs};
use crate::model::answering::batching::Batching;
use crate::model::tuning::candidates::{CandidateInputs, candidates};
use crate::model_config::{Binding, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::experiment::{Experiment, Timed};
use crate::trial::rows::{Alone, Judge, ROUNDING, ROUNDING_REDUCED, ROUNDING_TF32, RowRule, wanted};
use crate::trial::run::apart;
use cresset_backend::{BackendError, Device, LoadOptions, Model};
use cresset_clock as clock;

/// No further inputs are tried if earlier ones took this long in total.
const MOST: Duration = Duration::from_secs(3);

/// The largest batch is tried if it is expected to take no longer.
const QUICK: Duration = Duration::from_millis(100);

/// The intra-op threads of a rehearsal.
const THREADS: usize = 1;

/// What a rehearsal needs to know of a version.
pub(super) struct Rehearsal<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) config: &'a ModelConfig,
    pub(super) binding: &'a Binding,
    pub(super) batching: &'a Batching,
    /// The configured warm-up samples, each of which must run.
    pub(super) samples: &'a [WarmUpSampleRun],
    pub(super) device: Device,
    pub(super) options: &'a LoadOptions,
}

/// What it showed.
#[derive(Debug, Clone)]
pub(super) struct Rehearsed {
    /// Whether requests may share batches.
    pub(super) rule: RowRule,
    /// Requests of one row each on which the model ran, with its answers.
    pub(super) ran: Vec<Alone>,
    /// The error of a model that fails on everything that was tried.
    pub(super) fails: Option<String>,
}

/// What came of one candidate.
enum Attempt {
    /// The model fails on it.
    Failed(String),
    /// It ran; the requests, and what was found.
    Ran(Vec<Alone>, RowRule),
}

impl Rehearsal<'_> {
    /// Runs the model on one input after the other until it is known whether
    /// its outputs are rows. It runs on an instance of its own.
    ///
    /// # Errors
    /// An output that can't come as it is declared, or a device that failed.
    pub(super) fn run(&self) -> Result<Rehearsed, LoadError> {
        let Self { config, binding, device, .. } = *self;
        let candidates = candidates(config, binding, Some(self.batching), self.samples, device);
        if candidates.is_empty() {
            let rule = RowRule::Unknown("config.pbtxt doesn't declare its inputs".to_owned());
            return Ok(Rehearsed { rule, ran: Vec::new(), fails: None });
        }
        apart(|| {
            let mut experiment = Experiment::on(self.model);
            // Want of memory here is no failure on an input.
            experiment.prepare(1)?;
            Ok(self.try_all(&mut experiment, &candidates))
        })?
    }

    fn try_all(
        &self,
        experiment: &mut Experiment<'_>,
        candidates: &[CandidateInputs],
    ) -> Result<Rehearsed, LoadError> {
        let began = clock::now();
        let (mut failed, mut ran) = (None, None);
        for candidate in candidates {
            match self.attempt(experiment, candidate)? {
                Attempt::Failed(message) => _ = failed.get_or_insert(message),
                Attempt::Ran(requests, rule @ RowRule::Unknown(_)) => _ = ran.get_or_insert((requests, rule)),
                Attempt::Ran(ran, rule) => return Ok(Rehearsed { rule, ran, fails: None }),
            }
            if clock::now() - began > MOST {
                break;
            }
        }
        Ok(match (ran, failed) {
            (Some((ran, rule)), _) => Rehearsed { rule, ran, fails: None },
            (None, fails) => {
                let error = fails.clone().unwrap_or_default();
                let rule = RowRule::Unknown(format!("the model fails on inputs that were made up: {error}"));
                Rehearsed { rule, ran: Vec::new(), fails }
            }
        })
    }

    fn attempt(
        &self,
        experiment: &mut Experiment<'_>,
        candidate: &CandidateInputs,
    ) -> Result<Attempt, LoadError> {
        let mut requests = Vec::new();
        let mut wrong_shapes = Vec::new();
        let (mut count, mut shortest) = (1, Duration::MAX);
        while requests.len() < count {
            let inputs = candidate.row(requests.len() as u64);
            let Timed { outputs, took } = match experiment.run(&inputs, THREADS) {
                Ok(timed) => timed,
                Err(error) => return failed(error),
            };
            match name_outputs(&outputs, self.binding, self.layout()) {
                Ok(_) => {}
                Err(Unfit::Never(reason)) => return Err(LoadError::Declared(reason)),
                Err(Unfit::Shape(reason) | Unfit::NotRows(reason)) => wrong_shapes.push(reason),
            }
            shortest = shortest.min(took);
            requests.push(Alone { inputs, outputs });
            if let [first] = requests.as_slice() {
                count = self.wanted(first);
            }
        }
        if wrong_shapes.len() == requests.len()
            && let Some(reason) = wrong_shapes.pop()
            && self.has_fixed_inputs()
        {
            return Err(LoadError::Declared(reason));
        }
        if self.config.dynamic_batching.is_none() {
            let rule = RowRule::Whole("config.pbtxt has no dynamic_batching".to_owned());
            return Ok(Attempt::Ran(requests, rule));
        }
        let rule = self.judge_all(experiment, &requests, shortest)?;
        Ok(Attempt::Ran(requests, rule))
    }

    /// Runs the requests together, in the largest batch too if that is quick:
    /// `took` is what one took by itself. Else the larger sizes are held to what
    /// the requests gave when they are warmed up.
    fn judge_all(
        &self,
        experiment: &mut Experiment<'_>,
        requests: &[Alone],
        took: Duration,
    ) -> Result<RowRule, BackendError> {
        let mut run = |inputs: &[TrialInput]| experiment.run(inputs, THREADS).map(|timed| timed.outputs);
        let rule = self.judge().judge(requests, &mut run)?;
        let largest = requests.first().map_or(1, |first| self.most(&first.inputs));
        if rule != RowRule::ByRow || took * largest > QUICK {
            return Ok(rule);
        }
        match self.judge().hold(requests, largest as usize, &mut run)? {
            whole @ RowRule::Whole(_) => Ok(whole),
            // There may be too little memory for so many.
            RowRule::ByRow | RowRule::Unknown(_) => Ok(RowRule::ByRow),
        }
    }

    /// How many requests like this one are to run by themselves.
    fn wanted(&self, first: &Alone) -> usize {
        /// For a model without batches: enough to tell whether a shape is
        /// always wrong.
        const SEVERAL: usize = 3;
        match self.config.dynamic_batching {
            Some(_) => wanted(first, self.most(&first.inputs)).max(1),
            None if self.model.signature().stateful.is_some() => 1,
            None => SEVERAL,
        }
    }

    fn layout(&self) -> OutputLayout {
        if self.config.max_batch_size > 0 { OutputLayout::Alone(1) } else { OutputLayout::Whole }
    }

    /// The most rows like this one in a batch.
    fn most(&self, row: &[TrialInput]) -> u32 {
        let largest = row.iter().map(TrialInput::elements).max().unwrap_or(1).max(1) as u64;
        let by_elements = self.batching.max_elements.map_or(u64::MAX, |most| most / largest);
        self.config.max_batch_size.min(u32::try_from(by_elements).unwrap_or(u32::MAX))
    }

    /// Whether nothing about the inputs' shapes was made up.
    fn has_fixed_inputs(&self) -> bool {
        let specs = self.binding.inputs.iter().filter_map(|input| input.spec.as_ref());
        specs.flat_map(|spec| &spec.dims).all(|size| *size >= 0)
    }

    fn judge(&self) -> Judge<'_> {
        Judge { binding: self.binding, most: self.config.max_batch_size, rounding: self.rounding() }
    }

    /// How far a row may be from what it is alone, by what computes it.
    pub(super) fn rounding(&self) -> f64 {
        let precision = self.options.precision;
        if precision.weights.is_some() || precision.autocast.is_some() {
            ROUNDING_REDUCED
        } else if self.device.is_host() {
            ROUNDING
        } else {
            ROUNDING_TF32
        }
    }
}

/// What a failed run means: either the model doesn't take such inputs, or the
/// rehearsal ends.
fn failed(error: BackendError) -> Result<Attempt, LoadError> {
    match error {
        BackendError::Execute { message, .. } | BackendError::OutOfMemory { message, .. } => {
            Ok(Attempt::Failed(message))
        }
        BackendError::Load { .. } | BackendError::Device { .. } | BackendError::Gone { .. } => {
            Err(error.into())
        }
    }
}
