//! Objectives and conditions: `--slo p99<50ms`, `--fail-if 'errors>1%'`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::report::{Latency, LevelOutcome};

/// A percentage of requests must be answered within a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    percentile: f64,
    limit: Duration,
}

impl Objective {
    /// An answer within this limit is good.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether it held: refused and failed requests count as late.
    pub(super) fn held(&self, good: u64, requests: u64) -> bool {
        requests > 0 && good as f64 * 100.0 >= self.percentile * requests as f64
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}<{}", self.percentile, humantime::format_duration(self.limit))
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected a percentile and a limit, p99<50ms, got '{text}'");
        let (percentile, limit) = text.split_once('<').ok_or_else(wrong)?;
        let percentile = percentile.trim().strip_prefix('p').and_then(|number| number.parse().ok());
        let percentile = percentile.filter(|p: &f64| *p > 0.0 && *p <= 100.0).ok_or_else(wrong)?;
        let limit = humantime::parse_duration(limit.trim_start_matches('=').trim()).map_err(|_| wrong())?;
        Ok(Self { percentile, limit })
    }
}

/// A condition that fails the run: a metric beyond a bound.
#[derive(Debug, Clone)]
pub struct Condition {
    text: String,
    metric: Metric,
    above: bool,
    bound: f64,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    /// In milliseconds.
    Latency(Pick),
    /// Requests without a good answer.
    Errors(Unit),
    /// Errors that are refusals.
    Refused(Unit),
    /// Answers a second.
    Rate(Unit),
    /// Answers within the objective a second.
    Goodput(Unit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Absolute,
    /// Of requests, or of the offered rate.
    Percent,
}

/// One of the latencies.
type Pick = fn(&Latency) -> f64;

/// Percentiles by name.
const LATENCIES: [(&str, Pick); 8] = [
    ("mean", |latency| latency.mean_ms),
    ("p50", |latency| latency.p50_ms),
    ("p90", |latency| latency.p90_ms),
    ("p95", |latency| latency.p95_ms),
    ("p99", |latency| latency.p99_ms),
    ("p99.9", |latency| latency.p99_9_ms),
    ("p99.99", |latency| latency.p99_99_ms),
    ("max", |latency| latency.max_ms),
];

impl Condition {
    /// Whether a level is beyond the bound; also true if the level has no such
    /// number.
    pub(super) fn met(&self, level: &LevelOutcome) -> bool {
        match self.value(level) {
            Some(value) if self.above => value > self.bound,
            Some(value) => value < self.bound,
            None => true,
        }
    }

    fn value(&self, level: &LevelOutcome) -> Option<f64> {
        let part = |count: u64, unit| match unit {
            Unit::Absolute => Some(count as f64),
            Unit::Percent if level.requests == 0 => None,
            Unit::Percent => Some(count as f64 / level.requests as f64 * 100.0),
        };
        let rate = |rate: f64, unit| match unit {
            Unit::Absolute => Some(rate),
            Unit::Percent => level.offered_rate.map(|offered| rate / offered * 100.0),
        };
        match self.metric {
            Metric::Latency(pick) => level.latency.as_ref().map(pick),
            Metric::Errors(unit) => part(level.error_count(), unit),
            Metric::Refused(unit) => part(level.refused(), unit),
            Metric::Rate(unit) => rate(level.requests_per_second, unit),
            Metric::Goodput(unit) => rate(level.goodput_per_second?, unit),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "expected METRIC>BOUND or METRIC<BOUND with mean, p50, p90, p95, p99, p99.9, p99.99, max (a \
                 duration), errors, refused, rate, goodput (a number, or a part in %), got '{text}'"
            )
        };
        let above = text.contains('>');
        let (name, bound) = text.split_once(['<', '>']).ok_or_else(wrong)?;
        let (name, bound) = (name.trim(), bound.trim());
        if let Some((_, pick)) = LATENCIES.iter().find(|(known, _)| *known == name) {
            let bound = humantime::parse_duration(bound).map_err(|_| wrong())?.as_secs_f64() * 1e3;
            return Ok(Self { text: text.to_owned(), metric: Metric::Latency(*pick), above, bound });
        }
        let (number, unit) = match bound.strip_suffix('%') {
            Some(number) => (number, Unit::Percent),
            None => (bound, Unit::Absolute),
        };
        let metric = match name {
            "errors" => Metric::Errors(unit),
            "refused" => Metric::Refused(unit),
            "rate" => Metric::Rate(unit),
            "goodput" => Metric::Goodput(unit),
            _ => return Err(wrong()),
        };
        let bound = number.trim().parse().ok().filter(|bound: &f64| bound.is_finite()).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), metric, above, bound })
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::level;
    use super::*;

    #[test]
    fn an_objective_counts_what_failed_as_late() {
        let objective: Objective = "p99<50ms".parse().unwrap();
        assert_eq!(objective.limit(), Duration::from_millis(50));
        assert!(objective.held(990, 1000) && !objective.held(989, 1000) && !objective.held(0, 0));
        assert_eq!(objective.to_string(), "p99<50ms");
        for wrong in ["p99", "99<50ms", "p0<1s", "p101<1s", "p99<50", "p99>50ms"] {
            assert!(wrong.parse::<Objective>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_compare_either_way_and_in_parts() {
        // 123 456 requests, 12 345.6 a second, p50 0.2 ms, p99 0.3 ms.
        let mut level = level(1);
        level.offered_rate = Some(20_000.0);
        let met = |text: &str, level: &LevelOutcome| text.parse::<Condition>().unwrap().met(level);
        assert!(met("p99>200us", &level));
        assert!(!met("p99 > 1ms", &level));
        assert!(met("rate<13000", &level) && !met("rate<12000", &level));
        assert!(met("rate<70%", &level) && !met("rate<60%", &level));
        assert!(!met("errors>0", &level) && !met("errors>1%", &level));
        assert!(met("goodput<1", &level), "without an objective there is none");
        level.latency = None;
        assert!(met("p99>1h", &level), "nothing was answered");
        for wrong in ["p98>1ms", "p99>5", "errors>a", "errors", "rate=5"] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
