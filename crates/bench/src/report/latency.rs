//! Latencies as they are reported: percentiles, and the counts behind them.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Buckets of the histogram for each factor of ten.
const BUCKETS: f64 = 20.0;

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

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
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
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile| milliseconds(histogram.value_at_percentile(percentile) as f64);
        Some(Self { p50_ms: at(50.0), p99_ms: at(99.0), max_ms: milliseconds(histogram.max() as f64) })
    }
}

/// The counts by latency, in steps of an equal ratio.
pub(super) fn buckets(histogram: &Histogram<u64>) -> Vec<Bucket> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::histogram;
    use super::*;

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
}
