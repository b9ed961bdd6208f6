//! Quantiles of latencies over about the last minute, as Triton offers them. They
//! are off by default: they cost time on every request and, unlike histograms,
//! can't be summed over servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prometheus::proto::{Metric, MetricFamily, MetricType, Quantile, Summary};

use super::outcome::Durations;
use super::register::pair;

/// Latencies as summaries, if they are asked for: from arrival to answer, and its
/// parts.
const SUMMARIES: [(&str, &str); 5] = [
    ("nv_inference_request_summary_us", "from arrival to answer: the last minute, in microseconds"),
    ("nv_inference_queue_summary_us", "from arrival until the batch left: the last minute, in microseconds"),
    (
        "nv_inference_compute_input_summary_us",
        "collecting a batch's inputs: the last minute, in microseconds",
    ),
    ("nv_inference_compute_infer_summary_us", "the model's forward: the last minute, in microseconds"),
    (
        "nv_inference_compute_output_summary_us",
        "cutting outputs into responses: the last minute, in microseconds",
    ),
];

/// The quantiles of each latency; the same as Triton's.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

/// How many slots of time there are. The oldest is emptied when a new one begins,
/// so quantiles cover the last 48 to 60 s.
const SLOTS: usize = 5;
const SLOT: Duration = Duration::from_secs(12);

/// Longer latencies count as this, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Within a hundredth.
const DIGITS: u8 = 2;

/// The summaries of all versions.
#[derive(Default)]
pub(super) struct Summaries {
    shown: AtomicBool,
    versions: Mutex<BTreeMap<(String, String), Arc<Latencies>>>,
}

/// The summaries of one version, in the order of the table.
#[derive(Debug)]
pub(super) struct Latencies([Mutex<Window>; SUMMARIES.len()]);

impl Summaries {
    /// Turns them on for versions that are loaded from now on.
    pub(super) fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    /// The summaries of a version, if they are turned on.
    pub(super) fn of(&self, model: &str, version: &str, now: Instant) -> Option<Arc<Latencies>> {
        if !self.shown.load(Ordering::Relaxed) {
            return None;
        }
        let mut versions = self.lock();
        let entry = versions.entry((model.to_owned(), version.to_owned()));
        Some(Arc::clone(entry.or_insert_with(|| Arc::new(Latencies::new(now)))))
    }

    pub(super) fn remove(&self, model: &str, version: &str) {
        self.lock().remove(&(model.to_owned(), version.to_owned()));
    }

    /// A family for each latency, if there are versions.
    pub(super) fn gather(&self, now: Instant) -> Vec<MetricFamily> {
        let versions = self.lock();
        if versions.is_empty() {
            return Vec::new();
        }
        let family = |(index, (name, help)): (usize, &(&str, &str))| {
            let metrics = versions.iter().map(|((model, version), latencies)| {
                let mut metric = Metric::from_label(vec![pair("model", model), pair("version", version)]);
                metric.set_summary(lock(&latencies.0[index]).read(now));
                metric
            });
            let mut family = MetricFamily::default();
            family.set_name((*name).to_owned());
            family.set_help((*help).to_owned());
            family.set_field_type(MetricType::SUMMARY);
            family.set_metric(metrics.collect());
            family
        };
        SUMMARIES.iter().enumerate().map(family).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<Latencies>>> {
        lock(&self.versions)
    }
}

impl Latencies {
    fn new(now: Instant) -> Self {
        Self(std::array::from_fn(|_| Mutex::new(Window::new(now))))
    }

    /// A request was answered.
    pub(super) fn record(&self, durations: &Durations, now: Instant) {
        let Durations { queue, input, infer, output } = *durations;
        for (window, latency) in self.0.iter().zip([durations.total(), queue, input, infer, output]) {
            lock(window).record(latency, now);
        }
    }
}

/// The values under these locks are consistent between any two statements, so a
/// poisoned lock does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One latency, in microseconds.
#[derive(Debug)]
struct Window {
    slots: [Histogram<u32>; SLOTS],
    began: Instant,
    /// How many slots began before the present slot.
    slot: u64,
    /// Since the version was loaded, as counters.
    count: u64,
    sum: u64,
}

impl Window {
    /// `expect` can't fail: the precision is a valid constant.
    #[allow(clippy::expect_used)]
    fn new(now: Instant) -> Self {
        let slot = || Histogram::new(DIGITS).expect("a precision of 0 to 5 digits");
        Self { slots: std::array::from_fn(|_| slot()), began: now, slot: 0, count: 0, sum: 0 }
    }

    fn record(&mut self, latency: Duration, now: Instant) {
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.sum = self.sum.saturating_add(latency);
        // Not `saturating_record`: it doesn't grow the histogram.
        let _ = self.advance(now).record(latency.min(LONGEST));
    }

    /// Empties outdated slots, and returns the present one.
    fn advance(&mut self, now: Instant) -> &mut Histogram<u32> {
        let place = |slot: u64| usize::try_from(slot % SLOTS as u64).unwrap_or_default();
        let slot = now.saturating_duration_since(self.began).as_secs() / SLOT.as_secs();
        let begun = slot.saturating_sub(self.slot).min(SLOTS as u64);
        for slot in (slot - begun + 1)..=slot {
            self.slots[place(slot)].reset();
        }
        self.slot = self.slot.max(slot);
        &mut self.slots[place(self.slot)]
    }

    fn read(&mut self, now: Instant) -> Summary {
        let mut all = self.advance(now).clone();
        for (place, slot) in self.slots.iter().enumerate() {
            if place as u64 != self.slot % SLOTS as u64 {
                // It grows as far as it must.
                let _ = all.add(slot);
            }
        }
        let quantile = |at: f64| {
            let mut quantile = Quantile::default();
            quantile.set_quantile(at);
            // No request came, so there is no quantile.
            quantile.set_value(if all.is_empty() { f64::NAN } else { float(all.value_at_quantile(at)) });
            quantile
        };
        let mut summary = Summary::default();
        summary.set_sample_count(self.count);
        summary.set_sample_sum(float(self.sum));
        summary.set_quantile(QUANTILES.map(quantile).to_vec());
        summary
    }
}

/// Exact up to 285 years.
#[allow(clippy::cast_precision_loss)]
fn float(microseconds: u64) -> f64 {
    microseconds as f64
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;
    use cresset_clock as clock;

    fn told(summaries: &Summaries, now: Instant) -> Vec<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&summaries.gather(now), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| line.starts_with("nv_inference_queue_")).map(str::to_owned).collect()
    }

    #[test]
    fn latencies_of_every_length_keep_theirs() {
        let now = clock::now();
        let mut window = Window::new(now);
        for (latency, told) in
            [(300, 300), (70_000, 70_143), (8_000_000, 8_028_159), (u64::MAX, 3_607_101_439)]
        {
            window.record(Duration::from_micros(latency), now);
            let summary = window.read(now);
            let largest = summary.get_quantile()[4].value();
            assert!((largest - float(told)).abs() <= float(told) / 100.0, "{latency}: {largest}");
        }
    }

    #[test]
    fn quantiles_are_of_the_last_minute_and_counts_of_all_time() {
        let now = clock::now();
        let summaries = Summaries::default();
        assert!(summaries.of("m", "1", now).is_none(), "not asked for");
        assert_eq!(told(&summaries, now), [""; 0]);

        summaries.show();
        let version = summaries.of("m", "1", now).unwrap();
        let line = |what: &str, value: &str| {
            let (name, quantile) = what.split_once('=').unwrap_or((what, ""));
            let quantile =
                if quantile.is_empty() { String::new() } else { format!(",quantile=\"{quantile}\"") };
            format!("nv_inference_queue_summary_us{name}{{model=\"m\",version=\"1\"{quantile}}} {value}")
        };
        for queue in 1..=100 {
            let queue = Duration::from_micros(queue);
            version.record(&Durations { queue, ..Durations::default() }, now);
        }
        let expected = [
            line("=0.5", "50"),
            line("=0.9", "90"),
            line("=0.95", "95"),
            line("=0.99", "99"),
            line("=0.999", "100"),
            line("_sum", "5050"),
            line("_count", "100"),
        ];
        assert_eq!(told(&summaries, now), expected);
        assert_eq!(told(&summaries, now + Duration::from_secs(47)), expected);

        let later = now + Duration::from_secs(50);
        version.record(&Durations { queue: Duration::from_micros(7), ..Durations::default() }, later);
        assert_eq!(told(&summaries, later)[0], line("=0.5", "50"));
        // Only the last of them is left, and then nothing is.
        let after = told(&summaries, now + Duration::from_secs(61));
        assert_eq!(after[4..], [line("=0.999", "7"), line("_sum", "5057"), line("_count", "101")]);
        let silent = told(&summaries, now + Duration::from_secs(3600));
        assert_eq!(silent[4..], [line("=0.999", "NaN"), line("_sum", "5057"), line("_count", "101")]);

        summaries.remove("m", "1");
        assert_eq!(told(&summaries, now), [""; 0]);
    }
}
