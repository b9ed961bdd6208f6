//! The measurement of one load.

use serde::Serialize;

use super::latency::{Bucket, Lag, Latency, buckets};
use crate::conductor::{Measured, MeasuredPart};
use crate::load::{Load, Part};
use crate::objective::Objective;
use crate::plan::Stage;
use crate::series::Point;
use crate::statistics::ServerTimes;

/// Above this part of a processor, a generator thread may be the bottleneck.
const BUSY: f64 = 0.9;
/// A lag above this part of the latency, and above this many milliseconds,
/// distorts the measured latency.
const LAGGING: (f64, f64) = (0.1, 1.0);
/// The measurement of one load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelOutcome {
    /// The load: `concurrency 8`, `rate 100/s`.
    pub load: String,
    /// Loads that ran without a pause between them have the same number.
    pub stage: usize,
    /// How many requests were under way at any time; `None` for an open loop.
    pub concurrency: Option<usize>,
    /// Requests due a second, on average; `None` for a closed loop.
    pub offered_rate: Option<f64>,
    /// The rate at the beginning and at the end.
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
    /// `None` if there was none.
    pub latency: Option<Latency>,
    /// The same latencies as a histogram.
    pub histogram: Vec<Bucket>,
    /// Of refusals because of overload, in the same way; `None` if there was none.
    pub refusal_latency: Option<Latency>,
    /// Requests without a good answer.
    pub errors: Vec<ErrorCount>,
    /// Body bytes of the answers that `requests_per_second` counts.
    pub body_bytes: u64,
    /// Connections made to replace connections that the server closed; of all
    /// loads of the stage.
    pub reconnects: u64,
    /// How late the generator sent, if not for lack of connections; of all
    /// loads of the stage, `None` for a closed loop.
    pub lag: Option<Lag>,
    /// Requests that had to wait for a connection; of all loads of the stage.
    pub held: u64,
    /// The server's own times; `None` if it has no statistics.
    pub server: Option<ServerTimes>,
    /// The part of one processor that the generator used, all its threads
    /// together.
    pub own_cpu: f64,
    /// The same for its busiest thread. Near 1 the generator is the bottleneck.
    pub own_cpu_busiest: f64,
    /// Whether three windows agreed; `None` if stability wasn't asked for.
    pub stable: Option<bool>,
    /// The course of the load over time.
    pub intervals: Vec<Point>,
}

/// Errors of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// `status 503`, `grpc UNAVAILABLE`, `timed out`, `connection lost`,
    /// `cannot connect`, `malformed` or `wrong answer`.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// Whether the server refused because of overload: 429, 503, UNAVAILABLE,
    /// RESOURCE_EXHAUSTED.
    pub refused: bool,
    /// The message of the first of them.
    pub first: String,
}

impl LevelOutcome {
    pub(super) fn new(
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
            refusal_latency: Latency::of(&tally.refusals),
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

    /// Whether the generator may have been the bottleneck.
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

    /// What a reader of the report should know of it.
    pub(super) fn remarks(&self) -> Vec<String> {
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

/// The points within one part of a stage. Points after the last part belong to
/// it, too.
pub(super) fn intervals(stage: &Stage, part: usize, measured: &Measured) -> Vec<Point> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::level;
    use super::*;

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
