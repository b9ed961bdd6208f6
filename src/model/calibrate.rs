//! How the processors are shared out among a version's instances: measured
//! before it is ready, decided by a pure function.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::plan::Placement;
use super::trial::whole;
use super::warm_up::RUNS_UNTIL_STEADY;
use crate::model_config::InstanceGroup;
use crate::scheduler::SHARE_OF_TARGET;
use crate::trial::TrialInput;
use crate::trial::compare::two_digits;
use crate::trial::run::{apart, failed, run_here};
use cresset_backend::{BackendError, Model, ModelInstance};
use cresset_clock as clock;

/// The inputs that are tried take one thread no longer than this, where there
/// is a choice.
const LONGEST: Duration = Duration::from_millis(15);

/// How long a split is timed at least, where its runs are short.
const WINDOW: Duration = Duration::from_millis(5);

/// A model whose runs take one thread longer than this isn't tried: it would be
/// ready much later. Nor one whose first takes ten times as long, which compiles
/// and reads the weights.
const TOO_LONG: Duration = Duration::from_millis(500);

/// A trial that has cost this ends, and changes nothing.
const MOST: Duration = Duration::from_secs(3);

/// How often all splits are timed at most. What else the machine does makes a
/// split slower, never faster, so the best of its times counts.
const ROUNDS: u32 = 4;

/// And at least, before the static plan is left.
const ROUNDS_TO_CHANGE: u32 = 2;

/// No further round begins where those before have cost this.
const ENOUGH: Duration = Duration::from_millis(60);

/// More threads for an instance must bring this much: threads that wait for
/// each other inside an operation suffer most from a busy neighbour.
const WORTH_IT: f64 = 1.1;

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
    /// How long one of a single row took, beside the others'; zero where nobody
    /// asked.
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
    /// What it may be tried with, from small to large; it has run on the first.
    pub(super) sizes: Vec<&'a [TrialInput]>,
}

/// What came of [`calibrate`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Calibrated {
    /// What was seen: `rows/s at warm-up: 2x1 114, 1x2 98`; or why nothing was.
    pub(super) reason: String,
    /// Whether the model has reached its steady speed meanwhile.
    pub(super) steady: bool,
}

/// Replaces a static plan by the split of the processors that is the fastest
/// on this model, where nothing fixes one. `None` where there was nothing to
/// try. `alone` is held while the model runs.
pub(super) fn calibrate(
    model: &dyn Model,
    placements: &mut [Placement],
    asked: &Asked<'_>,
    alone: &Mutex<()>,
) -> Option<Calibrated> {
    let [placement] = placements else { return None };
    if !placement.device.is_host() {
        return None;
    }
    if let Some(threads) = model.intra_op_threads() {
        placement.intra_op_threads = threads;
        if !asked.has_fixed_count() {
            placement.instances = (asked.processors / threads.max(1)).max(1);
        }
        return None;
    }
    let splits = splits(asked, placement.instances);
    if splits.len() < 2 {
        return None;
    }
    let not = |reason: &str| Some(Calibrated { reason: format!("not calibrated: {reason}"), steady: false });
    let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
    let planned = Split { instances: placement.instances, threads: placement.intra_op_threads };
    if asked.sizes.is_empty() {
        return not("no input is known on which it runs");
    }
    match measure(model, &asked.sizes, asked.target, &splits, planned) {
        Ok(Trial::Done { seen, rows, chosen }) => {
            placement.instances = chosen.instances;
            placement.intra_op_threads = chosen.threads;
            let rows = if asked.batched { rows } else { 1.0 };
            Some(Calibrated { reason: reason(&seen, rows, asked.target), steady: true })
        }
        Ok(Trial::TooLong(took)) => not(&format!("a run takes {} s", two_digits(took.as_secs_f64()))),
        Err(error) => {
            tracing::debug!(%error, "a trial of instances and threads failed");
            not("the model failed in the trial")
        }
    }
}

impl Asked<'_> {
    /// Whether the number of instances is no matter of trial.
    fn has_fixed_count(&self) -> bool {
        self.stateful || self.groups.iter().any(|group| group.count.is_some())
    }
}

/// What may be tried, the fewest threads for an instance first. `instances` is
/// how many there are where that is fixed.
fn splits(asked: &Asked<'_>, instances: usize) -> Vec<Split> {
    let fixed = asked.has_fixed_count();
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
    format!("{rates}; ms a row, of at most {share:.0} by the latency target: {}", all(&took))
}

/// What came of a trial.
enum Trial {
    /// What was seen of each split, how many rows a run had, and what follows.
    Done { seen: Vec<Seen>, rows: f64, chosen: Split },
    /// One run took so long.
    TooLong(Duration),
}

/// Runs the model as each of `splits` would, on zeros; `planned` is chosen where
/// too little is seen to leave it.
fn measure(
    model: &dyn Model,
    inputs: &[&[TrialInput]],
    target: Option<Duration>,
    splits: &[Split],
    planned: Split,
) -> Result<Trial, BackendError> {
    let longest = target.map_or(LONGEST, |target| LONGEST.min(target / SHARE_OF_TARGET));
    let picked = apart(|| pick(model.instance(1)?.as_mut(), inputs, longest))?;
    let picked = match picked {
        Picked::Inputs(inputs) => inputs,
        Picked::TooLong(took) => return Ok(Trial::TooLong(took)),
    };
    let single = target.and_then(|_| inputs.first().copied().map(whole));
    let mut seen: Vec<Seen> =
        splits.iter().map(|split| Seen { split: *split, rate: 0.0, took: Duration::MAX }).collect();
    let began = clock::now();
    let mut chosen = planned;
    'rounds: for round in 1..=ROUNDS {
        for one in &mut seen {
            let (rate, took) = lap(model, &picked, single.as_deref(), one.split)?;
            one.rate = one.rate.max(rate);
            one.took = one.took.min(took);
            if clock::now() - began > MOST {
                break 'rounds;
            }
        }
        let best = choose(&seen, target);
        if round >= ROUNDS_TO_CHANGE {
            chosen = best;
        }
        if best == chosen && clock::now() - began >= ENOUGH {
            break;
        }
    }
    // Those that weren't come to.
    seen.retain(|one| one.rate > 0.0);
    let rows = picked.first().and_then(|input| input.shape.first()).map_or(1.0, |rows| *rows as f64);
    Ok(Trial::Done { seen, rows, chosen })
}

/// What a trial runs.
enum Picked {
    Inputs(Vec<TrialInput>),
    TooLong(Duration),
}

/// Brings the model to its steady speed, and picks the largest inputs that take
/// no longer than they may.
fn pick(
    instance: &mut dyn ModelInstance,
    inputs: &[&[TrialInput]],
    longest: Duration,
) -> Result<Picked, BackendError> {
    let size = |inputs: &[TrialInput]| inputs.iter().map(|input| input.bytes().len()).sum::<usize>().max(1);
    let mut inputs = inputs.iter();
    let mut picked = inputs.next().copied().map_or_else(Vec::new, whole);
    let mut took = Duration::ZERO;
    for _ in 0..RUNS_UNTIL_STEADY {
        took = timed(instance, &picked)?;
        if took > 10 * TOO_LONG {
            return Ok(Picked::TooLong(took));
        }
    }
    if took > TOO_LONG {
        return Ok(Picked::TooLong(took));
    }
    for larger in inputs {
        let larger = whole(larger);
        let share = size(&larger) as f64 / size(&picked) as f64;
        if share <= 1.0 {
            continue;
        }
        if took.mul_f64(share) > longest {
            break;
        }
        // The first run of a size may cost what is only paid once. One that
        // fails is no size for this model.
        let Ok(again) = timed(instance, &larger).and_then(|_| timed(instance, &larger)) else { break };
        (took, picked) = (again, larger);
    }
    Ok(Picked::Inputs(picked))
}

fn timed(instance: &mut dyn ModelInstance, inputs: &[TrialInput]) -> Result<Duration, BackendError> {
    let began = clock::now();
    run_here(instance, inputs)?;
    Ok(clock::now() - began)
}

/// Opens when all of so many have come.
struct Gate(AtomicUsize);

/// One of those that a [`Gate`] waits for; comes when it is dropped, so that
/// whoever fails or was never started is waited for by nobody.
struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Gate {
    fn of(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// What one instance did in its window.
struct Runs {
    /// How many a second.
    rate: f64,
    /// How long the shorter of two of a single row took; zero where nobody asked.
    single: Duration,
}

/// Runs a second of all instances of a split together, and how long a single
/// row takes the slowest of them. They begin together, and none ends before
/// all others have been timed beside it.
fn lap(
    model: &dyn Model,
    inputs: &[TrialInput],
    single: Option<&[TrialInput]>,
    split: Split,
) -> Result<(f64, Duration), BackendError> {
    let [begin, end] = [(); 2].map(|()| Gate::of(split.instances));
    let ended: Vec<Result<Runs, BackendError>> = std::thread::scope(|scope| {
        let start = |_| {
            let passes = [Pass(&begin), Pass(&end)];
            let run = move || runs(model, inputs, single, split.threads, passes);
            std::thread::Builder::new().name("calibrate".to_owned()).spawn_scoped(scope, run)
        };
        let threads: Vec<_> = (0..split.instances).map(start).collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| {
            let thread = thread.map_err(|error| failed(format!("no thread for a trial: {error}")))?;
            thread.join().unwrap_or_else(|_| Err(failed("a trial ended in a panic")))
        };
        threads.into_iter().map(join).collect()
    });
    let (mut rate, mut slowest) = (0.0, Duration::ZERO);
    for runs in ended {
        let runs = runs?;
        rate += runs.rate;
        slowest = slowest.max(runs.single);
    }
    Ok((rate, slowest))
}

fn runs(
    model: &dyn Model,
    inputs: &[TrialInput],
    single: Option<&[TrialInput]>,
    threads: usize,
    [begin, end]: [Pass<'_>; 2],
) -> Result<Runs, BackendError> {
    let mut instance = model.instance(threads)?;
    let instance = instance.as_mut();
    run_here(instance, inputs)?;
    let (all, timed_all) = (begin.0, end.0);
    drop(begin);
    while !all.is_open() {
        std::thread::yield_now();
    }
    let single = match single {
        Some(single) => timed(instance, single)?.min(timed(instance, single)?),
        None => Duration::ZERO,
    };
    let began = clock::now();
    let (mut count, mut took) = (0_u32, Duration::ZERO);
    while count == 0 || took < WINDOW {
        run_here(instance, inputs)?;
        count += 1;
        took = clock::now() - began;
    }
    drop(end);
    while !timed_all.is_open() {
        run_here(instance, inputs)?;
    }
    Ok(Runs { rate: f64::from(count) / took.as_secs_f64().max(1e-9), single })
}

#[cfg(test)]
mod tests;
