//! The outcome, for a person and for a program.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::payload::Payload;
use super::plan::{Load, Plan, Stage};
use super::site::Site;
use super::worker::Measured;

/// Above this part of a processor the generator may be what was measured.
const BUSY: f64 = 0.9;

/// What a whole run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The server, as it was named.
    pub server: String,
    /// What was asked for: `POST http://localhost:8000/v2/models/simple/infer`.
    pub target: String,
    /// What each request held: `binary, INPUT0 INT32 [1, 16]`.
    pub content: String,
    /// The size of each request's body.
    pub request_bytes: usize,
    /// How long the load ran before anything was counted.
    pub warm_up_seconds: f64,
    /// One for each concurrency, in the order asked for.
    pub levels: Vec<LevelOutcome>,
    /// Whether SIGINT ended it early: the last level is then cut short.
    pub interrupted: bool,
}

/// What one concurrency measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelOutcome {
    /// How many requests were under way at any time.
    pub concurrency: usize,
    /// How long was measured, without the warm-up.
    pub seconds: f64,
    /// Requests that were started in that time, all waited for; each is either
    /// in `latency` or in `errors`.
    pub requests: u64,
    /// Answers of status 200 that came in that time, a second.
    pub requests_per_second: f64,
    /// Of the requests answered with status 200, from the first byte sent to
    /// the last byte read; `None` where there was none.
    pub latency: Option<Latency>,
    /// Requests without such an answer.
    pub errors: Vec<ErrorCount>,
    /// Body bytes of the answers that `requests_per_second` counts.
    pub body_bytes: u64,
    /// New connections in place of ones that the server had closed.
    pub reconnects: u64,
    /// The part of one processor that the generator used; `None` where the
    /// system doesn't tell. Near 1 the generator is the bottleneck.
    pub own_cpu: Option<f64>,
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
    /// All but one in a hundred are within this.
    pub p99_ms: f64,
    /// All but one in a thousand are within this.
    pub p99_9_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Errors of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// `status 503`, `timed out`, `connection lost`, `cannot connect` or
    /// `malformed`.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub first: String,
}

impl Outcome {
    pub(super) fn new(site: &Site, payload: &Payload, plan: &Plan) -> Self {
        let warm_up = plan.stages().first().map_or(Duration::ZERO, |stage| stage.warm_up);
        Self {
            server: site.authority().to_owned(),
            target: format!("{} {}", payload.method(), payload.url()),
            content: payload.content().to_owned(),
            request_bytes: payload.size(),
            warm_up_seconds: warm_up.as_secs_f64(),
            levels: Vec::new(),
            interrupted: false,
        }
    }

    pub(super) fn add(&mut self, stage: &Stage, measured: &Measured) {
        self.interrupted |= measured.interrupted;
        self.levels.push(LevelOutcome::new(stage.load, measured));
    }

    /// Whether any request failed, or none was measured: for an exit code.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.levels.is_empty()
            || self.levels.iter().any(|level| level.latency.is_none() || !level.errors.is_empty())
    }
}

impl LevelOutcome {
    fn new(load: Load, measured: &Measured) -> Self {
        let tally = &measured.tally;
        let seconds = measured.open_for.as_secs_f64();
        let errors = tally.errors.iter().map(|(cause, errors)| ErrorCount {
            cause: cause.clone(),
            count: errors.count,
            first: errors.first.clone(),
        });
        Self {
            concurrency: load.clients(),
            seconds,
            requests: tally.requests,
            requests_per_second: if seconds > 0.0 { tally.answers as f64 / seconds } else { 0.0 },
            latency: Latency::of(&tally.latency),
            errors: errors.collect(),
            body_bytes: tally.bytes,
            reconnects: tally.reconnects,
            own_cpu: measured.own_cpu,
        }
    }

    /// How many of its requests failed.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.iter().map(|error| error.count).sum()
    }
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
            p99_ms: at(99.0),
            p99_9_ms: at(99.9),
            max_ms: milliseconds(histogram.max() as f64),
        })
    }
}

fn milliseconds(nanoseconds: f64) -> f64 {
    nanoseconds / 1e6
}

/// The table's columns; each is as wide as its widest cell.
const COLUMNS: [&str; 11] = [
    "concurrency",
    "requests/s",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
    "requests",
    "errors",
    "body MB",
    "own CPU",
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.target)?;
        writeln!(f, "{} ({} bytes); closed loop", self.content, self.request_bytes)?;
        writeln!(f)?;
        write_table(f, &self.levels)?;
        for level in &self.levels {
            write_remarks(f, level)?;
        }
        if self.interrupted {
            writeln!(f, "interrupted: this is what was measured until then")?;
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, levels: &[LevelOutcome]) -> fmt::Result {
    let rows: Vec<_> = levels.iter().map(row).collect();
    let widths: Vec<_> = COLUMNS
        .iter()
        .enumerate()
        .map(|(column, title)| rows.iter().map(|row| row[column].len()).fold(title.len(), usize::max))
        .collect();
    let titles = COLUMNS.map(str::to_owned);
    for row in std::iter::once(&titles).chain(&rows) {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        writeln!(f, "{}", cells.join("  "))?;
    }
    Ok(())
}

fn row(level: &LevelOutcome) -> [String; COLUMNS.len()] {
    let latency = |pick: fn(&Latency) -> f64| {
        level.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| format!("{:.3}", pick(latency)))
    };
    [
        level.concurrency.to_string(),
        format!("{:.1}", level.requests_per_second),
        latency(|latency| latency.p50_ms),
        latency(|latency| latency.p90_ms),
        latency(|latency| latency.p99_ms),
        latency(|latency| latency.p99_9_ms),
        latency(|latency| latency.max_ms),
        level.requests.to_string(),
        level.error_count().to_string(),
        format!("{:.2}", level.body_bytes as f64 / 1e6),
        level.own_cpu.map_or_else(|| "-".to_owned(), |part| format!("{:.0}%", part * 100.0)),
    ]
}

fn write_remarks(f: &mut fmt::Formatter<'_>, level: &LevelOutcome) -> fmt::Result {
    let concurrency = level.concurrency;
    for ErrorCount { cause, count, first } in &level.errors {
        writeln!(f, "concurrency {concurrency}: {count} × {cause}: {first}")?;
    }
    if level.reconnects > 0 {
        writeln!(
            f,
            "concurrency {concurrency}: connected anew {} times, their latency included",
            level.reconnects
        )?;
    }
    if level.own_cpu.is_some_and(|part| part > BUSY) {
        writeln!(
            f,
            "concurrency {concurrency}: the generator had no processor time left; the server may do more"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(values: &[u64]) -> Option<Latency> {
        let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000, 3).unwrap();
        for &value in values {
            histogram.record(value).unwrap();
        }
        Latency::of(&histogram)
    }

    fn level(concurrency: usize) -> LevelOutcome {
        LevelOutcome {
            concurrency,
            seconds: 10.0,
            requests: 123_456,
            requests_per_second: 12_345.6,
            latency: latency(&[100_000, 200_000, 300_000]),
            errors: Vec::new(),
            body_bytes: 1_234_567,
            reconnects: 0,
            own_cpu: Some(0.25),
        }
    }

    fn outcome(levels: Vec<LevelOutcome>) -> Outcome {
        Outcome {
            server: "localhost:8000".to_owned(),
            target: "POST http://localhost:8000/predict".to_owned(),
            content: "image/jpeg".to_owned(),
            request_bytes: 1000,
            warm_up_seconds: 1.0,
            levels,
            interrupted: false,
        }
    }

    #[test]
    fn a_table_with_its_remarks() {
        let mut refused = level(64);
        let first = "queue is full".to_owned();
        refused.errors.push(ErrorCount { cause: "status 503".to_owned(), count: 12, first });
        refused.own_cpu = Some(0.99);
        let mut silent = level(128);
        (silent.latency, silent.own_cpu, silent.reconnects) = (None, None, 3);
        let expected = "\
POST http://localhost:8000/predict
image/jpeg (1000 bytes); closed loop

concurrency  requests/s  p50 ms  p90 ms  p99 ms  p99.9 ms  max ms  requests  errors  body MB  own CPU
          1     12345.6   0.200   0.300   0.300     0.300   0.300    123456       0     1.23      25%
         64     12345.6   0.200   0.300   0.300     0.300   0.300    123456      12     1.23      99%
        128     12345.6       -       -       -         -       -    123456       0     1.23        -
concurrency 64: 12 × status 503: queue is full
concurrency 64: the generator had no processor time left; the server may do more
concurrency 128: connected anew 3 times, their latency included
";
        assert_eq!(outcome(vec![level(1), refused, silent]).to_string(), expected);
    }

    #[test]
    fn an_error_or_no_answer_is_a_failure() {
        assert!(!outcome(vec![level(1)]).failed());
        assert!(outcome(vec![]).failed());
        let mut silent = level(1);
        silent.latency = None;
        assert!(outcome(vec![level(1), silent]).failed());
        let mut refused = level(1);
        refused.errors.push(ErrorCount { cause: "timed out".to_owned(), count: 1, first: String::new() });
        assert!(outcome(vec![refused, level(1)]).failed());
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
    }
}
