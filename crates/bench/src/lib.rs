//! The load generator: `cresset bench`.
//!
//! A `plan` says what is measured, one stage after another. A `load` says how
//! the requests of a stage are paced, and a `schedule` when each of them is
//! due. `inputs` and `payload` make the requests before the load begins. A
//! `generator` is one thread with its own runtime. Its `worker` puts schedule,
//! requests and `client`s together and records into a `tally`. The `conductor`
//! starts the threads, listens to them and merges their counts. The [`Outcome`]
//! is what a person or a program reads.
//!
//! It speaks plain HTTP/1.1 or gRPC to any server and needs no model runtime.
//! At the rates at which a model answers, it uses a fraction of a processor,
//! and reports it.

mod args;
mod beside;
mod client;
mod conductor;
mod cpu;
mod expected;
mod generator;
mod inputs;
mod load;
mod metadata;
mod objective;
mod payload;
mod plan;
mod prepare;
mod progress;
mod random;
mod report;
mod requests;
mod schedule;
mod search;
mod series;
mod site;
mod statistics;
mod tally;
mod timer;
mod worker;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

pub use args::{Args, BoundsArgs, InputArgs, LoadArgs, Percent, Protocol, Ramp, ReportArgs};
pub use inputs::{Declared, Filling, InputFile, Shape};
pub use load::{Arrivals, Range, WholeRange};
pub use objective::{Condition, Objective};
pub use payload::Format;
pub use report::{Bucket, Environment, ErrorCount, Lag, Latency, LevelOutcome, Outcome, write};
pub use series::Point;
pub use site::Header;
pub use statistics::ServerTimes;

use conductor::Stand;
use generator::StageOrder;
use load::Part;
use plan::{Bounds, Plan, Stable};
use progress::Progress;
use search::Search;
use statistics::Statistician;

/// The range of a search if no range is given, in requests a second.
const SEARCHED: (f64, f64) = (10.0, 1e6);

/// Generates the load and measures the answers.
///
/// Blocks until all is measured, or until SIGINT: then the outcome holds what
/// was measured so far. Prints nothing but the progress line, and only if
/// standard error is a terminal.
///
/// # Errors
/// If nothing can be measured: a URL, a file or a shape that can't be used, or
/// a server that doesn't answer or doesn't know the model. An error while
/// measuring is counted in the [`Outcome`] instead.
pub fn run(args: &Args) -> Result<Outcome> {
    let plan = plan(args)?;
    let site = Arc::new(prepare::site(args)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the generator's runtime")?;
    LocalSet::new().block_on(&runtime, async {
        // One listener for all stages: a SIGINT between two of them is not lost.
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let prepared = prepare::prepare(args, &site).await?;
        let requests = Arc::new(prepared.requests);
        let mut outcome = Outcome::new(args, &site, &requests, prepared.server);
        let statistician = args.model.clone().map(|model| Statistician { site: Arc::clone(&site), model });
        let mut progress = Progress::new(args.report.quiet, plan.len());
        let mut stand = Stand {
            threads: args.load.threads.get(),
            statistician: statistician.as_ref(),
            interrupt: &mut interrupt,
            progress: &mut progress,
        };
        let mut plan = plan;
        let mut number = 0;
        while let Some(stage) = plan.stage(number) {
            number += 1;
            let order = StageOrder {
                stage: stage.clone(),
                site: Arc::clone(&site),
                requests: Arc::clone(&requests),
                timeout: args.bounds.timeout,
                // A different sequence for each stage, the same in each run.
                seed: args.load.seed.wrapping_add(number as u64),
                limit: args.report.slo.as_ref().map(Objective::limit),
                max_connections: args.load.max_connections,
            };
            stand.progress.next_stage();
            let measured = conductor::run(order, &mut stand).await;
            stand.progress.clear();
            let measured = measured?;
            outcome.add(&stage, &measured, args.report.slo.as_ref());
            if measured.interrupted {
                break;
            }
            plan.learn(outcome.levels.last().and_then(|level| level.objective_held));
        }
        if let Plan::Search(search) = &plan {
            outcome.found_rate = search.best();
        }
        Ok(outcome)
    })
}

fn plan(args: &Args) -> Result<Plan> {
    let (load, bounds) = (&args.load, &args.bounds);
    let warm_up = bounds.warm_up;
    let stable = bounds.until_stable.map(|Percent(tolerance)| Stable { window: bounds.window, tolerance });
    let bounds = Bounds::new(bounds.duration, bounds.requests, stable);
    if load.search {
        let range = match load.rate.as_slice() {
            [] => SEARCHED,
            [range] => {
                let (first, last) = range.ends();
                if first < last { (first, last) } else { (first, SEARCHED.1) }
            }
            _ => bail!("--search takes one --rate A..B, the range that it searches"),
        };
        return Ok(Plan::Search(Search::new(range, load.arrivals, warm_up, bounds)));
    }
    let values = |ranges: &[Range]| ranges.iter().flat_map(Range::values).collect::<Vec<_>>();
    if let Some(Ramp { from, to }) = load.ramp {
        with_length(bounds, "--ramp")?;
        return Ok(Plan::parts(vec![Part { from, to }], load.arrivals, warm_up, bounds));
    }
    if !load.step.is_empty() {
        with_length(bounds, "--step")?;
        let parts = values(&load.step).into_iter().map(|rate| Part { from: rate, to: rate }).collect();
        return Ok(Plan::parts(parts, load.arrivals, warm_up, bounds));
    }
    if !load.rate.is_empty() {
        return Ok(Plan::open(values(&load.rate), load.arrivals, warm_up, bounds));
    }
    if load.concurrency.is_empty() {
        return Ok(Plan::closed([std::num::NonZeroUsize::MIN], warm_up, bounds));
    }
    Ok(Plan::closed(load.concurrency.iter().flat_map(WholeRange::values), warm_up, bounds))
}

/// Checks that there is a duration: a rate that changes with time needs one.
fn with_length(bounds: Bounds, flag: &str) -> Result<()> {
    match bounds.duration {
        Some(_) => Ok(()),
        None => bail!("{flag} needs --duration: how long each of its parts is"),
    }
}
