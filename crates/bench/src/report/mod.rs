//! The outcome, for people and for programs.

mod chart;
mod csv;
mod environment;
mod latency;
mod level;
mod outcome;
mod page;
mod table;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::args::ReportArgs;
pub use environment::Environment;
pub use latency::{Bucket, Lag, Latency};
pub use level::{ErrorCount, LevelOutcome};
pub use outcome::Outcome;

/// Writes the reports that were asked for, and returns the exit code. A closed
/// standard output is no error.
///
/// # Errors
/// If a file can't be written.
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
        // On standard output it would break the JSON.
        let _ = writeln!(std::io::stderr(), "failed: {condition} at {}", level.load);
    }
    Ok(outcome.exit_code(&args.fail_if))
}

/// Values for the reports' own tests.
#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use hdrhistogram::Histogram;

    use super::latency::buckets;
    use super::*;
    use crate::series::Point;

    pub(super) fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000, 3).unwrap();
        for &value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    pub(crate) fn level(concurrency: usize) -> LevelOutcome {
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
            refusal_latency: None,
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
}
