//! How fast a layout is: all its instances run at once, each on a thread of its
//! own, as they will when the version serves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::layout::{Measurement, ThreadLayout};
use crate::trial::TrialInput;
use crate::trial::experiment::Experiment;
use crate::trial::run::failed;
use cresset_backend::{BackendError, Model};
use cresset_clock as clock;

/// The least time that a layout is timed for, if its runs are short.
const WINDOW: Duration = Duration::from_millis(5);

/// What the instances of a layout run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    /// Over and over.
    pub(super) inputs: &'a [TrialInput],
    /// A single row, if its time is asked for.
    pub(super) single: Option<&'a [TrialInput]>,
}

/// Opens when all of so many have come.
struct Gate(AtomicUsize);

/// One of the threads that a [`Gate`] waits for. It comes when this is dropped, so
/// that a thread that fails or was never started isn't waited for.
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
struct InstanceRate {
    /// How many runs a second.
    rate: f64,
    /// How long the shorter of two runs of a single row took; zero if that isn't
    /// asked for.
    single: Duration,
}

/// Runs a second of all instances of a layout together, and how long a single row
/// takes the slowest of them. They begin together, and none ends before all
/// others have been timed beside it.
///
/// # Errors
/// That a run failed, or that there was no thread.
pub(super) fn measure(
    model: &dyn Model,
    load: Load<'_>,
    layout: ThreadLayout,
) -> Result<Measurement, BackendError> {
    let [begin, end] = [(); 2].map(|()| Gate::of(layout.instances));
    let ended: Vec<Result<InstanceRate, BackendError>> = std::thread::scope(|scope| {
        let start = |_| {
            let passes = [Pass(&begin), Pass(&end)];
            let run = move || measure_one(model, load, layout.threads, passes);
            std::thread::Builder::new().name("calibrate".to_owned()).spawn_scoped(scope, run)
        };
        let threads: Vec<_> = (0..layout.instances).map(start).collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| {
            let thread = thread.map_err(|error| failed(format!("no thread for a trial: {error}")))?;
            thread.join().unwrap_or_else(|_| Err(failed("a trial ended in a panic")))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Measurement { layout, rate: 0.0, took: Duration::ZERO };
    for one in ended {
        let InstanceRate { rate, single } = one?;
        all.rate += rate;
        all.took = all.took.max(single);
    }
    Ok(all)
}

fn measure_one(
    model: &dyn Model,
    Load { inputs, single }: Load<'_>,
    threads: usize,
    [begin, end]: [Pass<'_>; 2],
) -> Result<InstanceRate, BackendError> {
    let mut experiment = Experiment::on(model);
    experiment.run(inputs, threads)?;
    let (all_ready, all_timed) = (begin.0, end.0);
    drop(begin);
    while !all_ready.is_open() {
        std::thread::yield_now();
    }
    let mut time = |inputs: &[TrialInput]| experiment.run(inputs, threads).map(|timed| timed.took);
    let single = match single {
        Some(single) => time(single)?.min(time(single)?),
        None => Duration::ZERO,
    };
    let began = clock::now();
    let (mut count, mut took) = (0_u32, Duration::ZERO);
    while count == 0 || took < WINDOW {
        time(inputs)?;
        count += 1;
        took = clock::now() - began;
    }
    drop(end);
    while !all_timed.is_open() {
        time(inputs)?;
    }
    Ok(InstanceRate { rate: f64::from(count) / took.as_secs_f64().max(1e-9), single })
}
