//! The outcome, for a person and for a program.

mod chart;
mod csv;
mod environment;
mod page;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::{Args, ReportArgs};
use super::conductor::{Measured, MeasuredPart};
use super::load::{Arrivals, Load, Part};
use super::objective::{Condition, Objective};
use super::plan::Stage;
use super::requests::Requests;
use super::series::Point;
use super::site::Site;
use super::statistics::ServerTimes;
pub use environment::Environment;

/// Above this part of a processor a generator thread may be what was measured.
const BUSY: f64 = 0.9;
/// A lag above this part of the latency, and above this many milliseconds, is
/// no longer the server's latency.
const LAGGING: (f64, f64) = (0.1, 1.0);
/// Buckets of the histogram for each factor of ten.
const BUCKETS: f64 = 20.0;

/// What a whole run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The server, as it was named.
    pub server: String,
    /// What it says that it is; `None` where it doesn't.
    pub server_version: Option<String>,
    /// What was asked for: `POST http://localhost:8000/v2/models/simple/infer`.
    pub target: String,
    /// What each request held, or the first of several: `binary, INPUT0 INT32 [1, 16]`.
    pub content: String,
    /// How many different requests there were.
    pub different_requests: usize,
    /// The mean size of a request's body.
    pub request_bytes: usize,
    /// The sizes of the smallest and the largest.
    pub request_bytes_range: (usize, usize),
    /// How long the load ran before anything was counted.
    pub warm_up_seconds: f64,
    /// One for each load, in the order asked for.
    pub levels: Vec<LevelOutcome>,
    /// What was asked of the server.
    pub objective: Option<String>,
    /// Whether a highest rate was searched for.
    pub searched: bool,
    /// The highest rate at which the objective held, where it was searched for.
    pub found_rate: Option<f64>,
    /// Whether SIGINT ended it early: the last level is then cut short.
    pub interrupted: bool,
    /// The settings that made it, by name.
    pub settings: BTreeMap<&'static str, String>,
    /// Where the generator ran, and when.
    pub environment: Environment,
}

/// What one load measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelOutcome {
    /// What was run: `concurrency 8`, `rate 100/s`.
    pub load: String,
    /// Loads that ran without a pause have the same number.
    pub stage: usize,
    /// How many requests were under way at any time; `None` for an open loop.
    pub concurrency: Option<usize>,
    /// Requests due a second, on average; `None` for a closed loop.
    pub offered_rate: Option<f64>,
    /// The same at its beginning and at its end.
    pub offered: Option<(f64, f64)>,
    /// How long was measured, without the warm-up.
    pub seconds: f64,
    /// Requests that were due in that time, all waited for; each is either in
    /// `latency` or in `errors`.
    pub requests: u64,
    /// Good answers that came in that time, a second.
    pub requests_per_second: f64,
    /// Requests due in that time that were answered within the objective's
    /// limit, a second; `None` without an objective.
    pub goodput_per_second: Option<f64>,
    /// Whether the objective held.
    pub objective_held: Option<bool>,
    /// Of good answers, from when the request was due to the last byte read;
    /// `None` where there was none.
    pub latency: Option<Latency>,
    /// The same, counted.
    pub histogram: Vec<Bucket>,
    /// Requests without such an answer.
    pub errors: Vec<ErrorCount>,
    /// Body bytes of the answers that `requests_per_second` counts.
    pub body_bytes: u64,
    /// New connections in place of ones that the server had closed; of all
    /// loads of the stage.
    pub reconnects: u64,
    /// How late the generator sent, where no lack of connections held it up; of
    /// all loads of the stage, `None` for a closed loop.
    pub lag: Option<Lag>,
    /// Requests that had to wait for a connection; of all loads of the stage.
    pub held: u64,
    /// The server's own times; `None` where it has no statistics.
    pub server: Option<ServerTimes>,
    /// The part of one processor that the generator used, all its threads
    /// together.
    pub own_cpu: f64,
    /// The same of its busiest thread. Near 1 the generator is the bottleneck.
    pub own_cpu_busiest: f64,
    /// Whether three windows agreed, where that was asked for.
    pub stable: Option<bool>,
    /// How it went.
    pub intervals: Vec<Point>,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half are within this.
    pub p50_ms: f64,
    /// Nine in ten are within this.
    pub p90_ms: f64,
    /// All but one in twenty are within this.
    pub p95_ms: f64,
    /// All but one in a hundred are within this.
    pub p99_ms: f64,
    /// All but one in a thousand are within this.
    pub p99_9_ms: f64,
    /// All but one in ten thousand are within this.
    pub p99_99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// How much later than due requests were sent, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lag {
    /// Half are within this.
    pub p50_ms: f64,
    /// All but one in a hundred are within this.
    pub p99_ms: f64,
    /// The latest.
    pub max_ms: f64,
}

/// Latencies of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bucket {
    /// Above this, in milliseconds.
    pub from_ms: f64,
    /// Up to this.
    pub to_ms: f64,
    /// How many.
    pub count: u64,
}

/// Errors of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// `status 503`, `grpc UNAVAILABLE`, `timed out`, `connection lost`,
    /// `cannot connect`, `malformed` or `wrong answer`.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// Whether the server refused for having too much to do: 429, 503,
    /// UNAVAILABLE, RESOURCE_EXHAUSTED.
    pub refused: bool,
    /// What the first of them said.
    pub first: String,
}

/// Writes what was asked for, and gives the exit code. Who closed standard
/// output doesn't want to read it.
///
/// # Errors
/// A file that can't be written.
pub fn write(outcome: &Outcome, args: &ReportArgs, out: &mut impl Write) -> Result<u8> {
    let file = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("cannot write '{}'", path.display()))
    };
    if args.json {
        let _ = writeln!(out, "{}", serde_json::to_string(outcome)?);
    } else {
        let _ = write!(out, "{outcome}");
    }
    if let Some(path) = &args.csv {
        file(path, csv::lines(outcome))?;
    }
    if let Some(path) = &args.html {
        file(path, page::page(outcome))?;
    }
    for (condition, level) in outcome.met(&args.fail_if) {
        // On standard output it would be no JSON any more.
        let _ = writeln!(std::io::stderr(), "failed: {condition} at {}", level.load);
    }
    Ok(outcome.exit_code(&args.fail_if))
}

impl Outcome {
    pub(super) fn new(args: &Args, site: &Site, requests: &Requests, server_version: Option<String>) -> Self {
        let first = &requests.all[0].payload;
        Self {
            server: site.authority().to_owned(),
            server_version,
            target: format!("{} {}", first.method(), first.url()),
            content: first.content().to_owned(),
            different_requests: requests.all.len(),
            request_bytes: requests.mean_size(),
            request_bytes_range: requests.sizes(),
            warm_up_seconds: args.bounds.warm_up.as_secs_f64(),
            levels: Vec::new(),
            objective: args.report.slo.as_ref().map(Objective::to_string),
            searched: args.load.search,
            found_rate: None,
            interrupted: false,
            settings: settings(args),
            environment: Environment::here(),
        }
    }

    pub(super) fn add(&mut self, stage: &Stage, measured: &Measured, objective: Option<&Objective>) {
        self.interrupted |= measured.interrupted;
        let number = self.levels.last().map_or(0, |level| level.stage + 1);
        for (part, counts) in measured.parts.iter().enumerate() {
            let mut level = LevelOutcome::new(number, &stage.load, part, counts, measured, objective);
            level.intervals = intervals(stage, part, measured);
            self.levels.push(level);
        }
    }

    /// Whether any request failed, or none was measured; of a search, whether
    /// it found nothing.
    #[must_use]
    pub fn failed(&self) -> bool {
        if self.searched {
            return self.found_rate.is_none();
        }
        self.levels.is_empty()
            || self.levels.iter().any(|level| level.latency.is_none() || !level.errors.is_empty())
    }

    /// For a process: 0, 1 for a failure, 3 where a condition is met. With
    /// conditions nothing else decides.
    #[must_use]
    pub fn exit_code(&self, conditions: &[Condition]) -> u8 {
        if conditions.is_empty() {
            return u8::from(self.failed());
        }
        match (self.levels.is_empty(), self.met(conditions).next()) {
            (true, _) => 1,
            (false, Some(_)) => 3,
            (false, None) => 0,
        }
    }

    fn met<'a>(
        &'a self,
        conditions: &'a [Condition],
    ) -> impl Iterator<Item = (&'a Condition, &'a LevelOutcome)> {
        conditions.iter().flat_map(|condition| {
            self.levels.iter().filter(|level| condition.met(level)).map(move |level| (condition, level))
        })
    }

    /// What a reader should know of each level, and of the whole.
    fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.levels.iter().flat_map(LevelOutcome::remarks).collect();
        if let Some(objective) = &self.objective {
            match self.found_rate {
                Some(rate) => remarks.push(format!(
                    "{objective} holds up to {} requests a second",
                    (rate * 1e3).round() / 1e3
                )),
                None if self.searched => remarks.push(format!("{objective} didn't hold at any rate")),
                None => {}
            }
        }
        if self.interrupted {
            remarks.push("interrupted: this is what was measured until then".to_owned());
        }
        remarks
    }
}

impl LevelOutcome {
    fn new(
        stage: usize,
        load: &Load,
        number: usize,
        part: &MeasuredPart,
        measured: &Measured,
        objective: Option<&Objective>,
    ) -> Self {
        let tally = &part.tally;
        let seconds = part.open_for.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let errors = tally.errors.iter().map(|(cause, errors)| ErrorCount {
            cause: cause.clone(),
            count: errors.count,
            refused: errors.refused,
            first: errors.first.clone(),
        });
        let (name, concurrency, offered) = match load {
            Load::Closed { concurrency } => {
                (format!("concurrency {concurrency}"), Some(concurrency.get()), None)
            }
            Load::Open { parts, .. } => {
                let part = parts.get(number).copied().unwrap_or(Part { from: 0.0, to: 0.0 });
                (format!("rate {part}"), None, Some(part))
            }
        };
        Self {
            load: name,
            stage,
            concurrency,
            offered_rate: offered.map(|part| part.rate()),
            offered: offered.map(|part| (part.from, part.to)),
            seconds,
            requests: tally.requests,
            requests_per_second: rate(tally.answers),
            goodput_per_second: objective.map(|_| rate(tally.good)),
            objective_held: objective.map(|objective| objective.held(tally.good, tally.requests)),
            latency: Latency::of(&tally.latency),
            histogram: buckets(&tally.latency),
            errors: errors.collect(),
            body_bytes: tally.bytes,
            reconnects: measured.reconnects,
            lag: Lag::of(&measured.lag),
            held: measured.held,
            server: part.server,
            own_cpu: measured.own_cpu,
            own_cpu_busiest: measured.busiest,
            stable: measured.stable,
            intervals: Vec::new(),
        }
    }

    /// How many of its requests failed, refusals included.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.iter().map(|error| error.count).sum()
    }

    /// How many the server refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.errors.iter().filter(|error| error.refused).map(|error| error.count).sum()
    }

    /// Whether the generator may be what was measured.
    #[must_use]
    pub fn is_bottleneck(&self) -> bool {
        self.own_cpu_busiest > BUSY || self.is_late()
    }

    fn is_late(&self) -> bool {
        let (part, least) = LAGGING;
        match (&self.lag, &self.latency) {
            (Some(lag), Some(latency)) => lag.p99_ms > least && lag.p99_ms > part * latency.p99_ms,
            _ => false,
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for ErrorCount { cause, count, refused: _, first } in &self.errors {
            remarks.push(format!("{count} × {cause}: {first}"));
        }
        if self.reconnects > 0 {
            remarks.push(format!("connected anew {} times, their latency included", self.reconnects));
        }
        if self.held > 0 {
            remarks.push(format!(
                "{} requests waited for a connection, their latency included (--max-connections)",
                self.held
            ));
        }
        if self.stable == Some(false) {
            remarks.push("no three windows agreed: this is not a steady state".to_owned());
        }
        if self.own_cpu_busiest > BUSY {
            remarks.push(
                "the generator had no processor time left; the server may do more (--threads)".to_owned(),
            );
        }
        if self.is_late() {
            let late = self.lag.map_or(0.0, |lag| lag.p99_ms);
            remarks.push(format!(
                "the generator sent up to {late:.3} ms late (p99), which latency includes: the machine is too busy for it"
            ));
        }
        remarks.into_iter().map(|remark| format!("{}: {remark}", self.load)).collect()
    }
}

/// The points that lie in one part of a stage; what came after the last part is
/// its as well.
fn intervals(stage: &Stage, part: usize, measured: &Measured) -> Vec<Point> {
    let last = stage.load.parts().saturating_sub(1);
    let part_of = |point: &Point| match stage.bounds.duration {
        Some(length) if last > 0 => {
            let middle = point.at_seconds - point.seconds / 2.0;
            ((middle / length.as_secs_f64()) as usize).min(last)
        }
        Some(_) | None => 0,
    };
    measured.series.iter().filter(|point| part_of(point) == part).copied().collect()
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile| milliseconds(histogram.value_at_percentile(percentile) as f64);
        Some(Self {
            count: histogram.len(),
            mean_ms: milliseconds(histogram.mean()),
            p50_ms: at(50.0),
            p90_ms: at(90.0),
            p95_ms: at(95.0),
            p99_ms: at(99.0),
            p99_9_ms: at(99.9),
            p99_99_ms: at(99.99),
            max_ms: milliseconds(histogram.max() as f64),
        })
    }
}

impl Lag {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile| milliseconds(histogram.value_at_percentile(percentile) as f64);
        Some(Self { p50_ms: at(50.0), p99_ms: at(99.0), max_ms: milliseconds(histogram.max() as f64) })
    }
}

/// The counts by latency, in steps of an equal ratio.
fn buckets(histogram: &Histogram<u64>) -> Vec<Bucket> {
    let edge = |index: i32| 10_f64.powf(f64::from(index) / BUCKETS);
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for recorded in histogram.iter_recorded() {
        let ms = milliseconds(recorded.value_iterated_to() as f64).max(1e-6);
        *counts.entry((ms.log10() * BUCKETS).ceil() as i32).or_default() += recorded.count_at_value();
    }
    let bucket = |(index, count)| Bucket { from_ms: edge(index - 1), to_ms: edge(index), count };
    counts.into_iter().map(bucket).collect()
}

fn milliseconds(nanoseconds: f64) -> f64 {
    nanoseconds / 1e6
}

fn settings(args: &Args) -> BTreeMap<&'static str, String> {
    let duration = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut settings = BTreeMap::new();
    settings.insert("warm-up", duration(args.bounds.warm_up));
    settings.insert("timeout", duration(args.bounds.timeout));
    settings.insert("threads", args.load.threads.to_string());
    settings.insert("seed", args.load.seed.to_string());
    if let Some(length) = args.bounds.duration {
        settings.insert("duration", duration(length));
    }
    if let Some(requests) = args.bounds.requests {
        settings.insert("requests", requests.to_string());
    }
    if let Some(stable) = args.bounds.until_stable {
        let window = duration(args.bounds.window);
        settings
            .insert("until stable", format!("three windows of {window} within {:.0} %", stable.0 * 100.0));
    }
    if args.load.concurrency.is_empty() {
        let arrivals = match args.load.arrivals {
            Arrivals::Poisson => "poisson",
            Arrivals::Constant => "constant",
        };
        settings.insert("arrivals", arrivals.to_owned());
        settings.insert("max connections", args.load.max_connections.to_string());
    }
    if let Some(model) = &args.model {
        settings.insert("model", model.clone());
    }
    if let Some(objective) = &args.report.slo {
        settings.insert("objective", objective.to_string());
    }
    settings
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000, 3).unwrap();
        for &value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    pub(in crate::bench) fn level(concurrency: usize) -> LevelOutcome {
        let latencies = histogram(&[100_000, 200_000, 300_000]);
        let point = Point {
            at_seconds: 1.0,
            seconds: 1.0,
            answers_per_second: 12_000.0,
            errors: 1,
            under_way: 8,
            mean_ms: Some(0.2),
            p50_ms: Some(0.2),
            p99_ms: Some(0.3),
            max_ms: Some(0.3),
        };
        LevelOutcome {
            load: format!("concurrency {concurrency}"),
            stage: 0,
            concurrency: Some(concurrency),
            offered_rate: None,
            offered: None,
            seconds: 10.0,
            requests: 123_456,
            requests_per_second: 12_345.6,
            goodput_per_second: None,
            objective_held: None,
            latency: Latency::of(&latencies),
            histogram: buckets(&latencies),
            errors: Vec::new(),
            body_bytes: 1_234_567,
            reconnects: 0,
            lag: None,
            held: 0,
            server: None,
            own_cpu: 0.25,
            own_cpu_busiest: 0.25,
            stable: None,
            intervals: vec![point, Point { at_seconds: 2.0, ..point }],
        }
    }

    pub(super) fn outcome(levels: Vec<LevelOutcome>) -> Outcome {
        Outcome {
            server: "localhost:8000".to_owned(),
            server_version: Some("cresset 0.1.0".to_owned()),
            target: "POST http://localhost:8000/predict".to_owned(),
            content: "image/jpeg".to_owned(),
            different_requests: 1,
            request_bytes: 1000,
            request_bytes_range: (1000, 1000),
            warm_up_seconds: 1.0,
            levels,
            objective: None,
            searched: false,
            found_rate: None,
            interrupted: false,
            settings: BTreeMap::from([("threads", "1".to_owned())]),
            environment: Environment::here(),
        }
    }

    #[test]
    fn an_error_or_no_answer_is_a_failure() {
        assert!(!outcome(vec![level(1)]).failed());
        assert!(outcome(vec![]).failed());
        let mut silent = level(1);
        silent.latency = None;
        assert!(outcome(vec![level(1), silent]).failed());
        let mut refused = level(1);
        let late =
            ErrorCount { cause: "timed out".to_owned(), count: 1, refused: false, first: String::new() };
        refused.errors.push(late);
        let refused = outcome(vec![refused, level(1)]);
        assert_eq!((refused.failed(), refused.exit_code(&[])), (true, 1));
        let conditions = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(refused.exit_code(&conditions(&["p99>1s", "errors>1%"])), 0, "only what was asked counts");
        assert_eq!(refused.exit_code(&conditions(&["p99>1s", "errors>0"])), 3);
        assert_eq!(outcome(vec![]).exit_code(&conditions(&["errors>0"])), 1);
    }

    #[test]
    fn a_search_fails_where_it_finds_nothing() {
        let mut outcome = outcome(vec![level(1)]);
        outcome.searched = true;
        assert!(outcome.failed());
        outcome.found_rate = Some(100.0);
        assert!(!outcome.failed());
    }

    #[test]
    fn json_has_the_same_numbers() {
        let json = serde_json::to_value(outcome(vec![level(8)])).unwrap();
        let level = &json["levels"][0];
        assert_eq!(level["concurrency"], 8);
        assert_eq!(level["requests_per_second"], 12_345.6);
        assert_eq!(level["latency"]["count"], 3);
        assert!((level["latency"]["p99_9_ms"].as_f64().unwrap() - 0.3).abs() < 0.001);
        assert_eq!(level["errors"], serde_json::json!([]));
        assert_eq!(json["settings"]["threads"], "1");
    }

    #[test]
    fn every_latency_is_in_its_bucket() {
        let values: Vec<u64> = (1..2000).map(|n| n * n * 37).collect();
        let all = buckets(&histogram(&values));
        assert_eq!(all.iter().map(|bucket| bucket.count).sum::<u64>(), values.len() as u64);
        assert!(all.windows(2).all(|pair| pair[0].to_ms <= pair[1].from_ms * 1.000_001));
        let middle = &all[all.len() / 2];
        let inside = |ms: f64| ms > middle.from_ms && ms <= middle.to_ms;
        let exact = values.iter().filter(|value| inside(**value as f64 / 1e6)).count() as u64;
        assert!(exact.abs_diff(middle.count) <= 1, "{exact} {middle:?}");
    }

    #[test]
    fn a_generator_that_is_late_or_busy_is_the_bottleneck() {
        let mut level = level(1);
        assert!(!level.is_bottleneck());
        level.lag = Some(Lag { p50_ms: 0.1, p99_ms: 0.9, max_ms: 5.0 });
        assert!(!level.is_bottleneck(), "a lag of less than a millisecond");
        level.lag = Some(Lag { p50_ms: 0.1, p99_ms: 1.1, max_ms: 5.0 });
        assert!(level.is_bottleneck() && level.remarks()[0].contains("1.100 ms late"));
        (level.lag, level.own_cpu_busiest) = (None, 0.95);
        assert!(level.is_bottleneck() && level.remarks()[0].contains("no processor time left"));
    }
}
