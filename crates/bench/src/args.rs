//! The command line of `cresset bench`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::inputs::{Declared, Filling, InputFile, Shape};
use super::load::{Arrivals, Range, WholeRange};
use super::objective::{Condition, Objective};
use super::payload::Format;
use super::site::Header;

/// Printed after `cresset bench --help`.
const EXAMPLES: &str = "\
Examples:
  cresset bench http://localhost:8000 --model simple --concurrency 1,2,4..64
  cresset bench http://localhost:8000 --model simple --rate 100..2000:100 --slo 'p99<50ms' --html report.html
  cresset bench grpc://localhost:8001 --model bert --shape input_ids:1,16..128 --concurrency 16 --duration 30s
  cresset bench http://localhost:8000 --model simple --search --slo 'p99<50ms'
  cresset bench http://localhost:8000 --body photographs/ --rate 50 --fail-if 'p99>200ms' --fail-if 'errors>0'

Exit codes: 0 success; 1 nothing could be measured, or requests failed;
3 a condition of --fail-if is met. With --fail-if only its conditions decide.";

/// Load a server with requests and measure its answers
///
/// Works with any server that speaks the Open Inference Protocol over HTTP or
/// gRPC, TorchServe's protocol or KServe's first one, or that takes a file by
/// POST (--body). Latency is measured for good answers (status 200, or OK),
/// until the last byte is read. Every other result is an error, counted by its
/// cause. SIGINT (Ctrl-C) ends the run and shows what was measured so far.
///
/// A closed loop (--concurrency) sends the next request when the last one was
/// answered. It slows down with the server and measures the server's
/// throughput. An open loop (--rate) sends each request when it is due, as
/// users do, however slow the server is. Latency counts from that time, so a
/// stalled server can't hide it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The server: `http://localhost:8000`, or `grpc://localhost:8001`
    ///
    /// A path in the URL is put before every request's path. TLS is not
    /// supported.
    #[arg(env = "CRESSET_BENCH_URL", value_name = "URL")]
    pub url: String,

    /// The model to load
    ///
    /// The server's metadata declares the inputs, unless --input does.
    #[arg(long, short, env = "CRESSET_BENCH_MODEL", required_unless_present_any = ["body", "input"])]
    pub model: Option<String>,

    /// The protocol [default: oip, or grpc if the URL says so]
    #[arg(long, env = "CRESSET_BENCH_PROTOCOL", value_enum)]
    pub protocol: Option<Protocol>,

    /// A header sent with every request; repeatable
    #[arg(long, env = "CRESSET_BENCH_HEADER", value_name = "NAME: VALUE")]
    pub header: Vec<Header>,

    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,

    /// When it ends.
    #[command(flatten)]
    pub bounds: BoundsArgs,

    /// The requests.
    #[command(flatten)]
    pub inputs: InputArgs,

    /// Objectives, conditions and outputs.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// How requests are paced.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Closed loop: the number of requests under way at any time [default: 1]
    ///
    /// One number or several, measured one after another. A..B doubles from A
    /// to B; A..B:STEP steps. Each client keeps its own connection alive.
    #[arg(
        long,
        short,
        env = "CRESSET_BENCH_CONCURRENCY",
        value_name = "N[,N…]",
        value_delimiter = ',',
        conflicts_with_all = ["rate", "ramp", "step", "search"]
    )]
    pub concurrency: Vec<WholeRange>,

    /// Open loop: requests a second, one number or several like --concurrency
    #[arg(long, short, env = "CRESSET_BENCH_RATE", value_name = "R[,R…]", value_delimiter = ',')]
    pub rate: Vec<Range>,

    /// Open loop with a rate that changes linearly from A to B during
    /// --duration
    #[arg(long, env = "CRESSET_BENCH_RAMP", value_name = "A..B", conflicts_with_all = ["rate", "step", "search"])]
    pub ramp: Option<Ramp>,

    /// Open loop with rate steps without a pause, each held for --duration
    ///
    /// `100,1000,100` goes into overload and back. The server's backlog at the
    /// end of a step is still there in the next, so the last step shows the
    /// recovery.
    #[arg(
        long,
        env = "CRESSET_BENCH_STEP",
        value_name = "R,R[,R…]",
        value_delimiter = ',',
        conflicts_with_all = ["rate", "search"]
    )]
    pub step: Vec<Range>,

    /// Find the highest rate at which --slo holds
    ///
    /// Doubles from 10 a second (or within --rate A..B), then halves the
    /// interval, to within 5 %. Each step is measured like a --rate.
    #[arg(long, env = "CRESSET_BENCH_SEARCH", requires = "slo")]
    pub search: bool,

    /// How the requests of an open loop are spread in time
    #[arg(long, env = "CRESSET_BENCH_ARRIVALS", value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,

    /// The maximum number of connections of an open loop
    ///
    /// A new connection is made if all others are busy. At the maximum,
    /// requests wait for a connection, and the wait counts as latency.
    #[arg(long, env = "CRESSET_BENCH_MAX_CONNECTIONS", value_name = "N", default_value = "1000")]
    pub max_connections: NonZeroUsize,

    /// The number of threads that generate the load
    ///
    /// One is enough for tens of thousands of small requests a second. The
    /// report says if it wasn't.
    #[arg(long, env = "CRESSET_BENCH_THREADS", value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,

    /// The seed of arrivals and values; the same seed gives the same load
    #[arg(long, env = "CRESSET_BENCH_SEED", value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// When a measurement ends.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub struct BoundsArgs {
    /// How long each level is measured [default: 10s, if no other bound is set]
    ///
    /// A level ends at the first bound that is reached. Requests under way at
    /// the end are waited for, so that a stalled server shows.
    #[arg(long, short, env = "CRESSET_BENCH_DURATION", value_parser = above_zero)]
    pub duration: Option<Duration>,

    /// The number of requests measured at each level
    #[arg(long, short = 'n', env = "CRESSET_BENCH_REQUESTS", value_name = "N")]
    pub requests: Option<NonZeroU64>,

    /// End a level when three windows in a row agree
    ///
    /// They agree if the rate and the mean latency of each lie within this
    /// percentage of their mean. The level ends after --duration in any case (a
    /// minute if it isn't given), and the report says so.
    #[arg(
        long,
        env = "CRESSET_BENCH_UNTIL_STABLE",
        value_name = "PERCENT",
        num_args = 0..=1,
        default_missing_value = "10%",
        conflicts_with_all = ["ramp", "step"]
    )]
    pub until_stable: Option<Percent>,

    /// How long each of those windows is
    #[arg(long, env = "CRESSET_BENCH_WINDOW", value_name = "DURATION", default_value = "2s", value_parser = above_zero)]
    pub window: Duration,

    /// How long the same load runs before the measurement begins
    #[arg(
        long,
        env = "CRESSET_BENCH_WARM_UP",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = humantime::parse_duration
    )]
    pub warm_up: Duration,

    /// The time limit of an answer; a later one is an error
    #[arg(
        long,
        env = "CRESSET_BENCH_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = above_zero
    )]
    pub timeout: Duration,
}

/// The content of requests.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Requests")]
pub struct InputArgs {
    /// Post this file as it is, or the files of a folder in turn; metadata
    /// isn't asked for
    ///
    /// The Content-Type follows from the name (.json, .jpg, .jpeg, .png, .txt),
    /// else it is application/octet-stream; --header 'content-type: …'
    /// overrides it. A file of the same name plus `.expected.json` holds the
    /// expected answer; the answer may have more fields, and longer lists. With
    /// `.expected.fp32`, or another datatype, the expected answer is raw
    /// little-endian elements.
    #[arg(long, env = "CRESSET_BENCH_BODY", value_name = "FILE|FOLDER")]
    pub body: Vec<PathBuf>,

    /// The path of requests [default: the protocol's; for --body alone the
    /// URL's own path, else /predict]
    #[arg(long, env = "CRESSET_BENCH_PATH", value_name = "PATH")]
    pub path: Option<String>,

    /// How the tensors of the Open Inference Protocol are written over HTTP
    #[arg(long, env = "CRESSET_BENCH_FORMAT", value_enum, default_value_t = Format::Binary, conflicts_with = "body")]
    pub format: Format,

    /// Declare an input, in place of the server's metadata; repeatable
    #[arg(long, env = "CRESSET_BENCH_INPUT", value_name = "NAME:DATATYPE:N[,N…]", conflicts_with = "body")]
    pub input: Vec<Declared>,

    /// The whole shape of one input, its batch dimension included; repeatable
    ///
    /// Needed for an input with a variable dimension other than the first:
    /// `--shape input_ids:1,128`. A range is drawn for each request:
    /// `input_ids:1,16..128`. Equal ranges are drawn once, so that inputs that
    /// belong together have the same length.
    #[arg(long, env = "CRESSET_BENCH_SHAPE", value_name = "NAME:N[,N…]", conflicts_with = "body")]
    pub shape: Vec<Shape>,

    /// The size of the inputs' variable first dimension [default: 1]
    #[arg(long, short, env = "CRESSET_BENCH_BATCH", value_name = "N", conflicts_with = "body")]
    pub batch: Option<NonZeroUsize>,

    /// The values of inputs without a file
    #[arg(long, env = "CRESSET_BENCH_FILL", value_enum, default_value_t = Filling::Random, conflicts_with = "body")]
    pub fill: Filling,

    /// The number of different requests if shapes are drawn
    #[arg(
        long,
        env = "CRESSET_BENCH_VARIANTS",
        value_name = "N",
        default_value = "200",
        conflicts_with = "body"
    )]
    pub variants: NonZeroUsize,

    /// One input from a file: .npy, or raw little-endian elements; repeatable
    #[arg(long, env = "CRESSET_BENCH_INPUT_FILE", value_name = "NAME=FILE", conflicts_with = "body")]
    pub input_file: Vec<InputFile>,

    /// Real data with expected answers, in perf_analyzer's JSON
    ///
    /// `{"data": [{"x": [1, 2]}], "validation_data": [{"y": [3]}]}`. Requests
    /// take turns. An answer that is off by more than --tolerance is an error.
    #[arg(
        long,
        env = "CRESSET_BENCH_INPUT_DATA",
        value_name = "FILE",
        conflicts_with_all = ["body", "shape", "input_file", "batch"]
    )]
    pub input_data: Option<PathBuf>,

    /// How far a number may be from the expected one, as a part of the largest
    #[arg(long, env = "CRESSET_BENCH_TOLERANCE", value_name = "PART", default_value_t = 1e-4)]
    pub tolerance: f64,
}

/// Objectives, conditions and outputs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// The objective: answers within its limit are goodput
    ///
    /// It holds if this percentage of all requests, refused and failed ones
    /// included, is answered in time.
    #[arg(long, env = "CRESSET_BENCH_SLO", value_name = "pN<DURATION")]
    pub slo: Option<Objective>,

    /// Exit with 3 if this is true of any level; repeatable
    ///
    /// mean, p50, p90, p95, p99, p99.9, p99.99, max with a duration; errors,
    /// refused, rate, goodput with a number, or a part in %.
    #[arg(long, env = "CRESSET_BENCH_FAIL_IF", value_name = "METRIC>BOUND")]
    pub fail_if: Vec<Condition>,

    /// Print the outcome as JSON instead of a table
    #[arg(long, env = "CRESSET_BENCH_JSON")]
    pub json: bool,

    /// Write a line for each level to this file
    #[arg(long, env = "CRESSET_BENCH_CSV", value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Write one self-contained page to this file
    #[arg(long, env = "CRESSET_BENCH_HTML", value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short, env = "CRESSET_BENCH_QUIET")]
    pub quiet: bool,
}

/// The protocol of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Open Inference Protocol over HTTP: `/v2/models/MODEL/infer`
    Oip,
    /// Open Inference Protocol over gRPC
    Grpc,
    /// TorchServe: `/predictions/MODEL`
    Torchserve,
    /// KServe's first protocol: `/v1/models/MODEL:predict`
    KserveV1,
    /// JSON by input name, to the path of --path
    Plain,
}

/// Both ends of a ramp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected A..B, both from 0 and one of them above, got '{text}'");
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0);
        let ramp = Self { from: number(from).ok_or_else(wrong)?, to: number(to).ok_or_else(wrong)? };
        if ramp.from + ramp.to > 0.0 { Ok(ramp) } else { Err(wrong()) }
    }
}

/// A percentage, with or without its sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub(super) f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim().trim_end_matches('%').parse().ok().filter(|n: &f64| *n > 0.0 && *n <= 100.0);
        number.map(|n| Self(n / 100.0)).ok_or_else(|| format!("expected a percentage, got '{text}'"))
    }
}

fn above_zero(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("expected more than nothing".to_owned()) } else { Ok(duration) }
}
