//! Two forms of a model on the same inputs, on the same thread, one after the
//! other, so that what else the machine does falls on both.

use std::time::Duration;

use super::trial::whole;
use super::warm_up::RUNS_UNTIL_STEADY;
use crate::trial::TrialInput;
use crate::trial::run::{apart, run_here};
use cresset_backend::{BackendError, BatchOutput, Model, ModelInstance};

/// How often both are timed: at least and at most.
const ROUNDS: std::ops::RangeInclusive<usize> = 2..=7;

/// And at least where neighbours disturb them, as they do whoever's threads wait
/// for each other.
const ROUNDS_OF_SEVERAL: usize = 5;

/// Further rounds are left out where the timed runs of a size have cost this.
const ENOUGH: Duration = Duration::from_millis(150);

/// What the sizes may cost that are run once.
const WARM_UP: Duration = Duration::from_millis(1500);

/// What came of one size.
#[derive(Debug)]
pub(super) struct Lap {
    pub(super) base: Run,
    pub(super) other: Run,
}

/// A form's part of a lap.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The shortest of its times.
    pub(super) took: Duration,
    pub(super) answers: Vec<BatchOutput>,
}

/// Runs both on each of `sizes` with so many intra-op threads each. `time` is
/// the processor time of the calling thread where it is the only one.
pub(super) fn race(
    base: &dyn Model,
    other: &dyn Model,
    sizes: &[Vec<TrialInput>],
    threads: usize,
    time: fn() -> Duration,
) -> Result<Vec<Lap>, BackendError> {
    apart(|| {
        let (mut base, mut other) = (base.instance(threads)?, other.instance(threads)?);
        let least = if threads > 1 { ROUNDS_OF_SEVERAL } else { *ROUNDS.start() };
        sizes.iter().map(|inputs| lap(base.as_mut(), other.as_mut(), inputs, least, time)).collect()
    })
}

fn lap(
    base: &mut dyn ModelInstance,
    other: &mut dyn ModelInstance,
    inputs: &[TrialInput],
    least: usize,
    time: fn() -> Duration,
) -> Result<Lap, BackendError> {
    for _ in 0..RUNS_UNTIL_STEADY {
        run_here(other, inputs)?;
    }
    run_here(base, inputs)?;
    let mut lap = Lap { base: Run::default(), other: Run::default() };
    let began = time();
    for round in 1..=*ROUNDS.end() {
        timed(base, &mut lap.base, inputs, time)?;
        timed(other, &mut lap.other, inputs, time)?;
        if round >= least && time().saturating_sub(began) >= ENOUGH {
            break;
        }
    }
    Ok(lap)
}

fn timed(
    instance: &mut dyn ModelInstance,
    run: &mut Run,
    inputs: &[TrialInput],
    time: fn() -> Duration,
) -> Result<(), BackendError> {
    let began = time();
    run.answers = run_here(instance, inputs)?;
    let took = time().saturating_sub(began);
    run.took = if run.took.is_zero() { took } else { run.took.min(took) };
    Ok(())
}

/// Runs each of these sizes once with so many threads, in this order, as long as
/// that is cheap.
pub(super) fn warm(
    model: &dyn Model,
    sizes: &[Vec<TrialInput>],
    threads: usize,
    time: fn() -> Duration,
) -> Result<(), BackendError> {
    apart(|| {
        let mut instance = model.instance(threads)?;
        let began = time();
        for size in sizes {
            let left = WARM_UP.saturating_sub(time().saturating_sub(began));
            let start = time();
            run_here(instance.as_mut(), &whole(size))?;
            // The next one is about twice as large.
            if time().saturating_sub(start) * 2 > left {
                break;
            }
        }
        Ok(())
    })
}
