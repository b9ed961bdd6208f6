//! The load generator: `cresset bench`.
//!
//! A `plan` says how the load is made and when it ends, as a value; a
//! `payload` is what each request carries; a `client` is one connection;
//! a `worker` is the one loop that puts the three together and records into
//! a `tally`; the [`Outcome`] is what a person or a program reads.
//!
//! It speaks plain HTTP/1.1 to any server and needs no model runtime. All of
//! it runs on one thread: at the rates at which a model answers, the generator
//! then costs a fraction of a processor, and says which.

mod client;
mod cpu;
mod metadata;
mod payload;
mod plan;
mod report;
mod site;
mod tally;
mod values;
mod worker;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use client::Client;
use payload::Payload;
use plan::{Bounds, Plan};
use site::Site;

pub use report::{ErrorCount, Latency, LevelOutcome, Outcome};
pub use values::Shape;

/// What stands under `cresset bench --help`.
const EXAMPLES: &str = "\
Examples:
  cresset bench http://localhost:8000 --model simple --concurrency 1,8,32
  cresset bench http://localhost:8000 --model bert --shape input_ids:1,128 --duration 30s
  cresset bench http://localhost:8000 --body cat.jpg --requests 1000 --json";

/// Load a server with requests and measure its answers
///
/// Works on any server that speaks the Open Inference Protocol over HTTP
/// (--model), and on any that takes a file by POST (--body). Latency is of
/// answers with status 200, from the first byte sent to the last byte read;
/// everything else is an error, counted by its cause. Requests a second are the
/// answers with status 200 that came while the time ran. SIGINT (Ctrl-C) ends
/// it and shows what was measured until then.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The server: `http://localhost:8000`
    ///
    /// A path behind it stands before every path that is asked for. Only plain
    /// HTTP is spoken.
    #[arg(env = "CRESSET_BENCH_URL", value_name = "URL")]
    pub url: String,

    /// The model to load
    ///
    /// The server's metadata (`GET /v2/models/MODEL`) says what it takes; the
    /// inputs are random: floating point from 0 to 1, integers from 0 to 99.
    #[arg(long, short, env = "CRESSET_BENCH_MODEL", required_unless_present = "body")]
    pub model: Option<String>,

    /// How many requests are under way at any time: one number or several
    ///
    /// Each client has a connection of its own, kept alive, and sends its next
    /// request when its last is answered (a closed loop). Several numbers are
    /// measured one after another.
    #[arg(
        long,
        short,
        env = "CRESSET_BENCH_CONCURRENCY",
        value_name = "N[,N…]",
        value_delimiter = ',',
        default_value = "1"
    )]
    pub concurrency: Vec<NonZeroUsize>,

    /// How long each concurrency is measured [default: 10s, or as --requests says]
    ///
    /// With --requests too, whichever comes first ends it. Requests under way
    /// at the end are waited for, so that a stalled server shows.
    #[arg(long, short, env = "CRESSET_BENCH_DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// How many requests are measured at each concurrency
    #[arg(long, short = 'n', env = "CRESSET_BENCH_REQUESTS", value_name = "N")]
    pub requests: Option<NonZeroU64>,

    /// How long the same load runs before anything is counted
    #[arg(
        long,
        env = "CRESSET_BENCH_WARM_UP",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = humantime::parse_duration
    )]
    pub warm_up: Duration,

    /// How long an answer may take; a later one is an error
    #[arg(
        long,
        env = "CRESSET_BENCH_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,

    /// Post this file as it is; no metadata is asked for
    ///
    /// Its Content-Type follows from its name (.json, .jpg, .jpeg, .png,
    /// .txt), else it is application/octet-stream.
    #[arg(long, env = "CRESSET_BENCH_BODY", value_name = "FILE")]
    pub body: Option<PathBuf>,

    /// Where --body goes [default: /predictions/MODEL with --model, else the
    /// URL's own path, else /predict]
    #[arg(long, env = "CRESSET_BENCH_PATH", value_name = "PATH", requires = "body")]
    pub path: Option<String>,

    /// How the tensors are written
    #[arg(
        long,
        env = "CRESSET_BENCH_FORMAT",
        value_enum,
        default_value_t = Format::Binary,
        conflicts_with = "body"
    )]
    pub format: Format,

    /// The whole shape of one input, its batch dimension included; repeatable
    ///
    /// Needed for an input with a variable dimension other than the first:
    /// `--shape input_ids:1,128`.
    #[arg(long, env = "CRESSET_BENCH_SHAPE", value_name = "NAME:N[,N…]", conflicts_with = "body")]
    pub shape: Vec<Shape>,

    /// The size of the inputs' variable first dimension [default: 1]
    #[arg(long, short, env = "CRESSET_BENCH_BATCH", value_name = "N", conflicts_with = "body")]
    pub batch: Option<NonZeroUsize>,

    /// Makes the random values; the same seed, the same values
    #[arg(long, env = "CRESSET_BENCH_SEED", value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Print the outcome as JSON instead of a table
    #[arg(long, env = "CRESSET_BENCH_JSON")]
    pub json: bool,
}

/// How tensors are written in an inference request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The binary tensor extension: raw bytes behind a short JSON header, and
    /// outputs asked for in the same form
    Binary,
    /// JSON numbers
    Json,
}

/// Makes the load and measures what came back.
///
/// Blocks until all is measured, or until SIGINT: then the outcome holds what
/// was measured so far. Prints nothing.
///
/// # Errors
/// When nothing can be measured: a URL, a file or a shape that can't be used,
/// a server that isn't there or doesn't know the model. An error while
/// measuring is counted in the [`Outcome`] instead.
pub fn run(args: &Args) -> Result<Outcome> {
    let plan = Plan::closed(&args.concurrency, args.warm_up, Bounds::new(args.duration, args.requests));
    let site = Rc::new(Site::resolve(&args.url)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the generator's runtime")?;
    LocalSet::new().block_on(&runtime, measure(args, &plan, site))
}

async fn measure(args: &Args, plan: &Plan, site: Rc<Site>) -> Result<Outcome> {
    let payload = Rc::new(prepare(args, &site).await?);
    let mut outcome = Outcome::new(&site, &payload, plan);
    // One listener for all stages: a SIGINT between two of them is not lost.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    for stage in plan.stages() {
        let measured = worker::run(stage, &site, &payload, args.timeout, &mut interrupt).await?;
        outcome.add(stage, &measured);
        if measured.interrupted {
            break;
        }
    }
    Ok(outcome)
}

async fn prepare(args: &Args, site: &Rc<Site>) -> Result<Payload> {
    if let Some(file) = &args.body {
        let path = site.body_path(args.path.as_deref(), args.model.as_deref());
        return Payload::file(file, site, &path);
    }
    let model = args.model.as_deref().context("--model or --body is needed")?;
    let mut client = Client::connect(Rc::clone(site), args.timeout).await?;
    let metadata = metadata::fetch(&mut client, site, model).await?;
    let tensors = values::random(&metadata.inputs, &args.shape, args.batch, args.seed)
        .with_context(|| format!("cannot make inputs for model '{model}'"))?;
    Payload::infer(&tensors, args.format, site, model)
}
