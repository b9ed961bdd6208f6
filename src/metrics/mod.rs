//! Every metric, by name, in one table, and the handles that count.
//!
//! `nv_inference_*` have Triton's names and meanings, so that its dashboards work.
//! Metrics that Triton lacks are `cresset_*`. The registry is a global.

mod devices;
mod outcome;
mod processors;
mod register;
mod series;
mod statistics;
mod summary;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use once_cell::sync::Lazy;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Histogram, IntCounter, IntGauge, TextEncoder};

use cresset_clock as clock;
use cresset_protocol::ModelStatistics;
use cresset_scheduler::CloseReason;
use devices::Watcher;
use register::pair;
use series::Series;
use statistics::Recorder;
use summary::Latencies;
use table::TABLE;

pub use devices::{AllocatorReading, DeviceReadings, GpuReading};
pub use outcome::{Durations, FailureReason};

/// One version's metrics, with its labels resolved once. When the last handle of a
/// version is dropped, its series are removed.
#[derive(Debug)]
pub struct ModelMetrics {
    success: IntCounter,
    failure: HashMap<FailureReason, IntCounter>,
    inferences: IntCounter,
    executions: IntCounter,
    pending: IntGauge,
    request: Timer,
    queue: Timer,
    input: Timer,
    infer: Timer,
    output: Timer,
    /// If the operator asks for summaries.
    summaries: Option<Arc<Latencies>>,
    batch_size: Histogram,
    closed: HashMap<CloseReason, IntCounter>,
    statistics: Recorder,
    /// Dropped after the handles above.
    _series: Series,
}

/// A sum in microseconds, as Triton counts, beside a histogram.
#[derive(Debug)]
struct Timer {
    sum: IntCounter,
    histogram: Histogram,
}

impl Timer {
    fn record(&self, duration: Duration) {
        let microseconds = duration.as_micros();
        self.sum.inc_by(u64::try_from(microseconds).unwrap_or(u64::MAX));
        self.histogram.observe(duration.as_secs_f64() * 1e6);
    }
}

impl ModelMetrics {
    /// The handles of one model's version.
    #[must_use]
    pub fn new(model: &str, version: u64) -> Self {
        // Before the handles, so that the series aren't removed meanwhile.
        let series = Series::of(model, version);
        let version = version.to_string();
        let labels = [model, version.as_str()];
        let timer = |name: &table::TimerFamily| Timer {
            sum: name.sum.with_label_values(&labels),
            histogram: name.histogram.with_label_values(&labels),
        };
        Self {
            success: TABLE.success.with_label_values(&labels),
            failure: FailureReason::ALL
                .map(|r| (r, TABLE.failure.with_label_values(&[model, &version, r.name()])))
                .into(),
            inferences: TABLE.inferences.with_label_values(&labels),
            executions: TABLE.executions.with_label_values(&labels),
            pending: TABLE.pending.with_label_values(&labels),
            request: timer(&TABLE.request),
            queue: timer(&TABLE.queue),
            input: timer(&TABLE.input),
            infer: timer(&TABLE.infer),
            output: timer(&TABLE.output),
            summaries: TABLE.summaries.of(model, &version, clock::now()),
            batch_size: TABLE.batch_size.with_label_values(&labels),
            closed: CloseReason::ALL
                .map(|r| (r, TABLE.closed.with_label_values(&[model, &version, r.name()])))
                .into(),
            statistics: Recorder::default(),
            _series: series,
        }
    }

    /// Counts a waiting request, until the returned value is dropped.
    #[must_use]
    pub fn pending(&self) -> PendingGuard {
        self.pending.inc();
        PendingGuard(self.pending.clone())
    }

    /// A batch ran. A retry counts as an execution, but not as a batch: its rows were
    /// counted with the batch that failed.
    pub fn executed(&self, rows: u32, reason: CloseReason) {
        self.executions.inc();
        self.statistics.executed();
        if reason != CloseReason::Retry {
            self.batch_size.observe(f64::from(rows));
        }
        if let Some(counter) = self.closed.get(&reason) {
            counter.inc();
        }
    }

    /// A batch of `rows` rows gave its outputs. The time in the queue is recorded
    /// with its requests.
    pub fn computed(&self, rows: u32, durations: &Durations) {
        self.statistics.computed(rows, durations);
    }

    /// A request of `rows` rows was answered.
    pub fn succeeded(&self, rows: u32, durations: &Durations) {
        self.statistics.succeeded(rows, durations, clock::unix_millis());
        self.success.inc();
        self.inferences.inc_by(u64::from(rows));
        self.request.record(durations.total());
        self.queue.record(durations.queue);
        self.input.record(durations.input);
        self.infer.record(durations.infer);
        self.output.record(durations.output);
        if let Some(summaries) = &self.summaries {
            summaries.record(durations, clock::now());
        }
    }

    /// A request failed, so long after its arrival.
    pub fn failed(&self, reason: FailureReason, after: Duration) {
        self.statistics.failed(after);
        if let Some(counter) = self.failure.get(&reason) {
            counter.inc();
        }
    }

    /// The statistics since the version was loaded.
    #[must_use]
    pub fn statistics(&self, model: &str, version: u64) -> ModelStatistics {
        self.statistics.read(model, version)
    }
}

/// A waiting request in `nv_inference_pending_request_count`.
#[derive(Debug)]
pub struct PendingGuard(IntGauge);

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts an answer of the HTTP surface by its status.
pub fn http_response(status: u16) {
    // Nearly all answers have this status. Its counter is looked up once, not under
    // the family's lock each time.
    static OK: Lazy<IntCounter> = Lazy::new(|| TABLE.http_responses.with_label_values(&["200"]));
    match status {
        200 => OK.inc(),
        other => TABLE.http_responses.with_label_values(&[itoa::Buffer::new().format(other)]).inc(),
    }
}

/// Counts the end of a gRPC call by its code.
pub fn grpc_response(code: i32) {
    TABLE.grpc_responses.with_label_values(&[itoa::Buffer::new().format(code)]).inc();
}

/// The gauge of request bodies held in memory, in bytes.
pub fn request_bytes() -> &'static IntGauge {
    &TABLE.request_bytes
}

/// Turns on quantiles of latencies for versions that are loaded from now on.
pub fn show_summaries() {
    TABLE.summaries.show();
}

/// Records how long a version of a model took to load.
pub fn loaded(model: &str, version: u64, took: Duration) {
    TABLE.load_duration.with_label_values(&[model, &version.to_string()]).set(took.as_secs_f64());
}

/// From now on every scrape shows the readings of `source`, which is called at
/// most once a second.
pub fn watch_devices(source: impl Fn() -> DeviceReadings + Send + 'static) {
    TABLE.devices.watch(Watcher::new(source));
}

/// All metrics in Prometheus' text format.
#[must_use]
pub fn render() -> Vec<u8> {
    TABLE.devices.refresh(clock::now());
    TABLE.processors.refresh();
    let mut text = Vec::with_capacity(16 * 1024);
    let mut families = TABLE.registry.gather();
    families.extend(TABLE.summaries.gather(clock::now()));
    add_tags(&mut families);
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::error!(%error, "metrics can't be rendered");
    }
    text
}

/// Sets the labels that `metric_tags` adds to the metrics of a model's version.
pub fn tag(model: &str, version: u64, tags: &BTreeMap<String, String>) {
    let key = (model.to_owned(), version.to_string());
    let mut tagged = TABLE.tags.lock().unwrap_or_else(PoisonError::into_inner);
    if tags.is_empty() {
        tagged.remove(&key);
    } else {
        tagged.insert(key, tags.iter().map(|(name, value)| pair(name, value)).collect());
    }
}

/// Adds the labels of single models when the metrics are read: a family in the
/// registry has the same labels for every model.
fn add_tags(families: &mut [MetricFamily]) {
    let tagged = TABLE.tags.lock().unwrap_or_else(PoisonError::into_inner);
    if tagged.is_empty() {
        return;
    }
    for metric in families.iter_mut().flat_map(|family| family.mut_metric().iter_mut()) {
        let label = |name: &str| {
            let found = metric.get_label().iter().find(|label| label.name() == name);
            found.map(|label| label.value().to_owned())
        };
        if let (Some(model), Some(version)) = (label("model"), label("version"))
            && let Some(tags) = tagged.get(&(model, version))
        {
            let mut labels = metric.take_label();
            labels.extend(tags.iter().cloned());
            metric.set_label(labels);
        }
    }
}

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
