//! How the processors are shared out among a version's instances: measured
//! before it is ready.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::layout::{Measurement, ThreadLayout, choose, layouts};
use super::throughput::{Load, measure};
use crate::model::placement::Placement;
use crate::model_config::InstanceGroup;
use crate::trial::compare::two_digits;
use crate::trial::experiment::{Experiment, RUNS_UNTIL_STEADY};
use crate::trial::run::apart;
use crate::trial::{TrialInput, in_memory};
use cresset_backend::{BackendError, Device, Model};
use cresset_clock as clock;
use cresset_scheduler::SHARE_OF_TARGET;

/// The inputs that are measured take one thread no longer than this, if there is
/// a choice.
const LONGEST: Duration = Duration::from_millis(15);

/// A model whose runs take one thread longer than this isn't calibrated: it would
/// be ready much later. Nor one whose first run takes ten times as long, which
/// compiles and reads the weights.
const TOO_LONG: Duration = Duration::from_millis(500);

/// A calibration that has cost this ends, and changes nothing.
const MOST: Duration = Duration::from_secs(3);

/// All layouts are measured at most so often. Other load on the machine makes a
/// layout slower, never faster, so the best of its times counts.
const ROUNDS: u32 = 4;

/// And at least so often before the static plan is left.
const ROUNDS_TO_CHANGE: u32 = 2;

/// No further round begins if the rounds before have cost this.
const ENOUGH: Duration = Duration::from_millis(60);

/// A version to calibrate: what its configuration fixes, and the inputs to run.
pub(in crate::model) struct TuningInput<'a> {
    /// As configured.
    pub(in crate::model) groups: &'a [InstanceGroup],
    /// Whether it keeps state, and so has one instance.
    pub(in crate::model) stateful: bool,
    /// Whether dimension 0 is a batch.
    pub(in crate::model) batched: bool,
    /// How many processors there are.
    pub(in crate::model) processors: usize,
    /// How soon its requests are to be answered.
    pub(in crate::model) target: Option<Duration>,
    /// Inputs to measure with, from small to large; it has run on the first.
    pub(in crate::model) sizes: Vec<&'a [TrialInput]>,
}

impl TuningInput<'_> {
    /// Whether the number of instances isn't to be changed.
    fn has_fixed_count(&self) -> bool {
        self.stateful || self.groups.iter().any(|group| group.count.is_some())
    }
}

/// What came of [`calibrate`].
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) struct Calibrated {
    /// What was measured: `rows/s at warm-up: 2x1 114, 1x2 98`; or why nothing
    /// was.
    pub(in crate::model) reason: String,
    /// Whether the model has reached its steady speed meanwhile.
    pub(in crate::model) steady: bool,
}

/// Replaces a static plan by the layout that is the fastest on this model, if
/// nothing fixes one. `None` if there was nothing to choose between. `alone` is
/// held while the model runs.
pub(in crate::model) fn calibrate(
    model: &dyn Model,
    placements: &mut [Placement],
    input: &TuningInput<'_>,
    alone: &Mutex<()>,
) -> Option<Calibrated> {
    let [placement] = placements else { return None };
    if placement.device != Device::Cpu {
        return None;
    }
    if let Some(threads) = model.intra_op_threads() {
        placement.intra_op_threads = threads;
        if !input.has_fixed_count() {
            placement.instances = (input.processors / threads.max(1)).max(1);
        }
        return None;
    }
    let layouts = layouts(input.processors, input.has_fixed_count().then_some(placement.instances));
    if layouts.len() < 2 {
        return None;
    }
    let not = |reason: &str| Some(Calibrated { reason: format!("not calibrated: {reason}"), steady: false });
    let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
    let planned = ThreadLayout { instances: placement.instances, threads: placement.intra_op_threads };
    if input.sizes.is_empty() {
        return not("no input is known on which it runs");
    }
    match compare(model, input, &layouts, planned) {
        Ok(Comparison::Done { measured, rows, chosen }) => {
            placement.instances = chosen.instances;
            placement.intra_op_threads = chosen.threads;
            let rows = if input.batched { rows } else { 1.0 };
            Some(Calibrated { reason: reason(&measured, rows, input.target), steady: true })
        }
        Ok(Comparison::TooLong(took)) => not(&format!("a run takes {} s", two_digits(took.as_secs_f64()))),
        Err(error) => {
            tracing::debug!(%error, "a trial of instances and threads failed");
            not("the model failed in the trial")
        }
    }
}

fn reason(measured: &[Measurement], rows: f64, target: Option<Duration>) -> String {
    let rate = |one: &Measurement| format!("{} {:.0}", one.layout, one.rate * rows);
    let all =
        |each: &dyn Fn(&Measurement) -> String| measured.iter().map(each).collect::<Vec<_>>().join(", ");
    let rates = format!("rows/s at warm-up: {}", all(&rate));
    let Some(target) = target else { return rates };
    let took = |one: &Measurement| format!("{} {:.1}", one.layout, one.took.as_secs_f64() * 1e3);
    let share = (target / SHARE_OF_TARGET).as_secs_f64() * 1e3;
    format!("{rates}; ms a row, of at most {share:.0} by the latency target: {}", all(&took))
}

/// What came of measuring layouts.
enum Comparison {
    /// What was measured of each layout, how many rows a run had, and what
    /// follows.
    Done { measured: Vec<Measurement>, rows: f64, chosen: ThreadLayout },
    /// One run took so long that nothing was compared.
    TooLong(Duration),
}

/// Runs the model as each of `layouts` would; `planned` is chosen if too little is
/// seen to leave it.
fn compare(
    model: &dyn Model,
    input: &TuningInput<'_>,
    layouts: &[ThreadLayout],
    planned: ThreadLayout,
) -> Result<Comparison, BackendError> {
    let TuningInput { sizes, target, .. } = input;
    let longest = target.map_or(LONGEST, |target| LONGEST.min(target / SHARE_OF_TARGET));
    let picked = match apart(|| pick(&mut Experiment::on(model), sizes, longest))? {
        Picked::Inputs(inputs) => inputs,
        Picked::TooLong(took) => return Ok(Comparison::TooLong(took)),
    };
    let single = target.and_then(|_| sizes.first().copied().map(in_memory));
    let load = Load { inputs: &picked, single: single.as_deref() };
    let unmeasured = |layout: &ThreadLayout| Measurement { layout: *layout, rate: 0.0, took: Duration::MAX };
    let mut measured: Vec<Measurement> = layouts.iter().map(unmeasured).collect();
    let began = clock::now();
    let mut chosen = planned;
    'rounds: for round in 1..=ROUNDS {
        for one in &mut measured {
            let again = measure(model, load, one.layout)?;
            one.rate = one.rate.max(again.rate);
            one.took = one.took.min(again.took);
            if clock::now() - began > MOST {
                break 'rounds;
            }
        }
        let best = choose(&measured, *target);
        if round >= ROUNDS_TO_CHANGE {
            chosen = best;
        }
        if best == chosen && clock::now() - began >= ENOUGH {
            break;
        }
    }
    // There was no time for the others.
    measured.retain(|one| one.rate > 0.0);
    let rows = picked.first().and_then(|input| input.shape.first()).map_or(1.0, |rows| *rows as f64);
    Ok(Comparison::Done { measured, rows, chosen })
}

/// What the layouts run.
enum Picked {
    Inputs(Vec<TrialInput>),
    /// Nothing: a run takes this long.
    TooLong(Duration),
}

/// Brings the model to its steady speed, and picks the largest inputs that take
/// one thread no longer than `longest`.
fn pick(
    experiment: &mut Experiment<'_>,
    sizes: &[&[TrialInput]],
    longest: Duration,
) -> Result<Picked, BackendError> {
    let size = |inputs: &[TrialInput]| inputs.iter().map(|input| input.bytes().len()).sum::<usize>().max(1);
    let mut time = |inputs: &[TrialInput]| experiment.run(inputs, 1).map(|timed| timed.took);
    let mut sizes = sizes.iter();
    let mut picked = sizes.next().copied().map_or_else(Vec::new, in_memory);
    let mut took = Duration::ZERO;
    for _ in 0..RUNS_UNTIL_STEADY {
        took = time(&picked)?;
        if took > 10 * TOO_LONG {
            return Ok(Picked::TooLong(took));
        }
    }
    if took > TOO_LONG {
        return Ok(Picked::TooLong(took));
    }
    for larger in sizes {
        let larger = in_memory(larger);
        let share = size(&larger) as f64 / size(&picked) as f64;
        if share <= 1.0 {
            continue;
        }
        if took.mul_f64(share) > longest {
            break;
        }
        // The first run of a size may have costs that occur once. If the model
        // fails on a size, the size isn't used.
        let Ok(again) = time(&larger).and_then(|_| time(&larger)) else { break };
        (took, picked) = (again, larger);
    }
    Ok(Picked::Inputs(picked))
}

#[cfg(test)]
mod tests;
