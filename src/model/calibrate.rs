//! How the processors are shared out among a version's instances: measured
//! before it is ready, decided by a pure function.

use std::fmt;
use std::time::{Duration, Instant};

use super::plan::Placement;
use super::trial::{apart, run_here};
use crate::backend::{BackendError, Device, Model, ModelInstance};
use crate::clock;
use crate::instance::WarmUpInput;
use crate::model_config::InstanceGroup;

/// libtorch optimises on the first two runs.
const RUNS_UNTIL_STEADY: usize = 3;

/// The inputs that are tried take one thread no longer than this, where there
/// is a choice.
const LONGEST: Duration = Duration::from_millis(15);

/// How long a split is timed at least, where its runs are short.
const WINDOW: Duration = Duration::from_millis(5);

/// How often all splits are timed: at least and at most. What else the machine
/// does makes a split slower, never faster, so the best of its times counts.
const ROUNDS: std::ops::RangeInclusive<u32> = 1..=4;

/// No further round begins where those before have cost this.
const ENOUGH: Duration = Duration::from_millis(60);

/// More threads for an instance must bring this much: threads that wait for
/// each other inside an operation suffer most from a busy neighbour.
const WORTH_IT: f64 = 1.1;

/// The share of a latency target that one batch may take, as the scheduler has
/// it.
const SHARE_OF_TARGET: u32 = 2;

/// So many instances, each with so many intra-op threads: `2x1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Split {
    instances: usize,
    threads: usize,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.instances, self.threads)
    }
}

/// What a split was seen to do.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    split: Split,
    /// Runs a second of all its instances together.
    rate: f64,
    /// How long one of them took.
    took: Duration,
}

/// What a version asks of its plan.
pub(super) struct Asked<'a> {
    /// As configured.
    pub(super) groups: &'a [InstanceGroup],
    /// Whether it keeps state, and so has one instance.
    pub(super) stateful: bool,
    /// Whether dimension 0 is a batch.
    pub(super) batched: bool,
    /// How many processors there are.
    pub(super) processors: usize,
    /// How soon its requests are to be answered.
    pub(super) target: Option<Duration>,
    /// What it may be tried with, the cheapest first.
    pub(super) inputs: Vec<&'a [WarmUpInput]>,
}

/// Replaces a static plan by the split of the processors that is the fastest
/// on this model, where nothing fixes one; with the reason for the plan, in
/// words: `rows/s at warm-up: 2x1 114, 1x2 98`.
pub(super) fn calibrate(model: &dyn Model, placements: &mut [Placement], asked: &Asked<'_>) -> String {
    let [placement] = placements else { return "several groups share the processors".to_owned() };
    if placement.device != Device::Cpu {
        return "its device computes".to_owned();
    }
    if let Some(threads) = model.intra_op_threads() {
        placement.intra_op_threads = threads;
        return "as configured".to_owned();
    }
    let splits = splits(asked, placement.instances);
    if splits.len() < 2 {
        let count = asked.groups.iter().any(|group| group.count.is_some());
        let reason = if count { "as configured" } else { "as many as there are processors" };
        return reason.to_owned();
    }
    if asked.inputs.is_empty() {
        return "not calibrated: no inputs are declared to try others with".to_owned();
    }
    let longest = asked.target.map_or(LONGEST, |target| LONGEST.min(target / SHARE_OF_TARGET));
    match measure(model, &asked.inputs, &splits, longest) {
        Ok((seen, rows)) => {
            let chosen = choose(&seen, asked.target);
            let rows = if asked.batched { rows } else { 1.0 };
            placement.instances = chosen.instances;
            placement.intra_op_threads = chosen.threads;
            reason(&seen, rows, asked.target)
        }
        Err(error) => {
            tracing::debug!(%error, "a trial of instances and threads failed");
            "not calibrated: the model fails on zeros".to_owned()
        }
    }
}

/// What may be tried, the fewest threads for an instance first. `instances` is
/// how many there are where that is fixed.
fn splits(asked: &Asked<'_>, instances: usize) -> Vec<Split> {
    let fixed = asked.stateful || asked.groups.iter().any(|group| group.count.is_some());
    let most = if fixed { asked.processors / instances.max(1) } else { asked.processors };
    let powers = std::iter::successors(Some(1), |threads: &usize| threads.checked_mul(2));
    let mut threads: Vec<usize> = powers.take_while(|threads| *threads < most).collect();
    threads.push(most.max(1));
    let of =
        |threads| Split { instances: if fixed { instances } else { asked.processors / threads }, threads };
    threads.into_iter().map(of).collect()
}

/// The one with the most runs a second, of those that are quick enough for the
/// target; of those that are about as good the one with the fewest threads. The
/// quickest where none is quick enough.
fn choose(seen: &[Seen], target: Option<Duration>) -> Split {
    let quick = |seen: &&Seen| target.is_none_or(|target| seen.took <= target / SHARE_OF_TARGET);
    let best = seen.iter().filter(quick).map(|seen| seen.rate).fold(0.0, f64::max);
    let good = seen.iter().filter(quick).find(|seen| seen.rate * WORTH_IT >= best);
    let quickest = || seen.iter().min_by_key(|seen| seen.took);
    good.or_else(quickest).map_or(Split { instances: 1, threads: 1 }, |seen| seen.split)
}

fn reason(seen: &[Seen], rows: f64, target: Option<Duration>) -> String {
    let rate = |seen: &Seen| format!("{} {:.0}", seen.split, seen.rate * rows);
    let all = |each: &dyn Fn(&Seen) -> String| seen.iter().map(each).collect::<Vec<_>>().join(", ");
    let rates = format!("rows/s at warm-up: {}", all(&rate));
    let Some(target) = target else { return rates };
    let took = |seen: &Seen| format!("{} {:.1}", seen.split, seen.took.as_secs_f64() * 1e3);
    let share = (target / SHARE_OF_TARGET).as_secs_f64() * 1e3;
    format!("{rates}; ms a run, of at most {share:.0} by the latency target: {}", all(&took))
}

/// Runs the model as each of `splits` would, on zeros, and says how many rows a
/// run had.
fn measure(
    model: &dyn Model,
    inputs: &[&[WarmUpInput]],
    splits: &[Split],
    longest: Duration,
) -> Result<(Vec<Seen>, f64), BackendError> {
    let inputs = apart(|| {
        let mut instance = model.instance(1)?;
        pick(instance.as_mut(), inputs, longest)
    })?;
    let mut seen: Vec<Seen> =
        splits.iter().map(|split| Seen { split: *split, rate: 0.0, took: Duration::MAX }).collect();
    let began = clock::now();
    for round in 1..=*ROUNDS.end() {
        for one in &mut seen {
            let (rate, took) = lap(model, &inputs, one.split)?;
            one.rate = one.rate.max(rate);
            one.took = one.took.min(took);
        }
        if round >= *ROUNDS.start() && clock::now() - began >= ENOUGH {
            break;
        }
    }
    let rows = inputs.first().and_then(|(input, _)| input.shape.first()).map_or(1.0, |rows| *rows as f64);
    Ok((seen, rows))
}

type Inputs = Vec<(WarmUpInput, Vec<u8>)>;

/// Brings the model to its steady speed, and picks the largest inputs that take
/// no longer than they may.
fn pick(
    instance: &mut dyn ModelInstance,
    inputs: &[&[WarmUpInput]],
    longest: Duration,
) -> Result<Inputs, BackendError> {
    let of = |inputs: &[WarmUpInput]| -> Inputs {
        inputs.iter().map(|input| (input.clone(), input.bytes().to_vec())).collect()
    };
    let size = |inputs: &Inputs| inputs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>().max(1) as f64;
    let mut inputs = inputs.iter();
    let mut picked = inputs.next().copied().map_or_else(Vec::new, of);
    let mut took = Duration::ZERO;
    for _ in 0..RUNS_UNTIL_STEADY {
        took = timed(instance, &picked)?;
    }
    for larger in inputs {
        let larger = of(larger);
        if took.mul_f64(size(&larger) / size(&picked)) > longest {
            break;
        }
        // The first run of a size may cost what is only paid once.
        timed(instance, &larger)?;
        took = timed(instance, &larger)?;
        picked = larger;
    }
    Ok(picked)
}

fn timed(instance: &mut dyn ModelInstance, inputs: &Inputs) -> Result<Duration, BackendError> {
    let began = clock::now();
    run_here(instance, inputs)?;
    Ok(clock::now() - began)
}

/// Runs a second of all instances of a split together, and how long the
/// shortest run took. They begin together because each has one run before it is
/// timed.
fn lap(model: &dyn Model, inputs: &Inputs, split: Split) -> Result<(f64, Duration), BackendError> {
    let failed = |message: String| BackendError::Execute { detail: message.clone(), message };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..split.instances {
            let run = || runs(model, inputs, split.threads);
            let thread = std::thread::Builder::new().name("calibrate".to_owned());
            threads.push(thread.spawn_scoped(scope, run));
        }
        let (mut rate, mut shortest) = (0.0, Duration::MAX);
        for thread in threads {
            let thread = thread.map_err(|error| failed(format!("no thread for a trial: {error}")))?;
            let ended = thread.join().unwrap_or_else(|_| Err(failed("a trial ended in a panic".to_owned())));
            let (runs, began, ended, took) = ended?;
            rate += f64::from(runs) / (ended - began).as_secs_f64().max(1e-9);
            shortest = shortest.min(took);
        }
        Ok((rate, shortest))
    })
}

/// How many runs one instance made in its window, from when until when, and
/// the shortest.
fn runs(
    model: &dyn Model,
    inputs: &Inputs,
    threads: usize,
) -> Result<(u32, Instant, Instant, Duration), BackendError> {
    let mut instance = model.instance(threads)?;
    run_here(instance.as_mut(), inputs)?;
    let began = clock::now();
    let (mut count, mut shortest, mut ended) = (0, Duration::MAX, began);
    while count == 0 || ended - began < WINDOW {
        shortest = shortest.min(timed(instance.as_mut(), inputs)?);
        count += 1;
        ended = clock::now();
    }
    Ok((count, began, ended, shortest))
}

#[cfg(test)]
mod tests;
