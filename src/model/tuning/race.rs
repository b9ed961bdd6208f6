//! Two forms of a model on the same inputs, on the same thread, one after the
//! other, so that other load on the machine slows both.

use std::time::Duration;

use crate::trial::experiment::{Experiment, RUNS_UNTIL_STEADY, Timed};
use crate::trial::run::apart;
use crate::trial::{TrialInput, in_memory};
use cresset_backend::{BackendError, Model};
use cresset_clock as clock;

/// How often both are timed: at least and at most.
const ROUNDS: std::ops::RangeInclusive<usize> = 2..=7;

/// How often both are timed at least if several threads compute, which wait for
/// each other and so suffer more from neighbours.
const ROUNDS_OF_SEVERAL: usize = 5;

/// Further rounds are left out if the timed runs of a size have cost this.
const ENOUGH: Duration = Duration::from_millis(150);

/// How long the sizes that are run once may take.
const WARM_UP: Duration = Duration::from_millis(1500);

/// What came of one size: of each form its last outputs, and the shortest of its
/// times.
#[derive(Debug, Default)]
pub(super) struct Lap {
    pub(super) base: Timed,
    pub(super) other: Timed,
}

/// Runs both forms on each of `sizes` with so many intra-op threads each.
///
/// # Errors
/// That a run failed.
pub(super) fn race(
    base: &dyn Model,
    other: &dyn Model,
    sizes: &[Vec<TrialInput>],
    threads: usize,
) -> Result<Vec<Lap>, BackendError> {
    apart(|| {
        let (mut base, mut other) = (experiment(base, threads), experiment(other, threads));
        sizes.iter().map(|inputs| lap(&mut base, &mut other, inputs, threads)).collect()
    })
}

/// Other load on the machine counts only if several threads compute: then it
/// can't be told apart.
fn experiment(model: &dyn Model, threads: usize) -> Experiment<'_> {
    Experiment::on(model).timed_by(if threads > 1 { clock::monotonic } else { clock::thread_time })
}

fn lap(
    base: &mut Experiment<'_>,
    other: &mut Experiment<'_>,
    inputs: &[TrialInput],
    threads: usize,
) -> Result<Lap, BackendError> {
    for _ in 0..RUNS_UNTIL_STEADY {
        other.run(inputs, threads)?;
    }
    base.run(inputs, threads)?;
    let least = if threads > 1 { ROUNDS_OF_SEVERAL } else { *ROUNDS.start() };
    let (mut lap, mut spent) = (Lap::default(), Duration::ZERO);
    for round in 1..=*ROUNDS.end() {
        spent += keep_shortest(&mut lap.base, base.run(inputs, threads)?);
        spent += keep_shortest(&mut lap.other, other.run(inputs, threads)?);
        if round >= least && spent >= ENOUGH {
            break;
        }
    }
    Ok(lap)
}

/// Returns what the latest run took.
fn keep_shortest(kept: &mut Timed, latest: Timed) -> Duration {
    let took = latest.took;
    let shortest = if kept.took.is_zero() { took } else { kept.took.min(took) };
    *kept = Timed { took: shortest, ..latest };
    took
}

/// Runs each of these sizes once with so many threads, in this order, as long as
/// that is cheap.
///
/// # Errors
/// That a run failed.
pub(super) fn warm(model: &dyn Model, sizes: &[Vec<TrialInput>], threads: usize) -> Result<(), BackendError> {
    apart(|| {
        let mut experiment = experiment(model, threads);
        let mut left = WARM_UP;
        for size in sizes {
            let took = experiment.run(&in_memory(size), threads)?.took;
            // The next one is about twice as large.
            if took * 2 > left {
                break;
            }
            left = left.saturating_sub(took);
        }
        Ok(())
    })
}
