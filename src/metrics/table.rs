//! The table of metrics: the one place that names them.

use std::collections::HashMap;
use std::sync::Mutex;

use once_cell::sync::Lazy;
use prometheus::proto::LabelPair;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::devices::{DeviceFamilies, Devices};
use super::processors::ProcessorGauges;
use super::register::register;
use super::summary::Summaries;

const MODEL: [&str; 2] = ["model", "version"];
const MODEL_AND_REASON: [&str; 3] = ["model", "version", "reason"];

/// From 10 µs to 10 s, about three buckets to a decade.
const MICROSECONDS: [f64; 19] = [
    10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 2.5e6,
    5e6, 1e7,
];

const ROWS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0];

/// Every family, registered on first use.
pub(super) static TABLE: Lazy<Table> = Lazy::new(Table::new);

pub(super) struct Table {
    pub(super) registry: Registry,
    /// `metric_tags`, by model and version.
    pub(super) tags: Mutex<HashMap<(String, String), Vec<LabelPair>>>,
    pub(super) success: IntCounterVec,
    pub(super) failure: IntCounterVec,
    pub(super) inferences: IntCounterVec,
    pub(super) executions: IntCounterVec,
    pub(super) pending: IntGaugeVec,
    pub(super) request: TimerFamily,
    pub(super) queue: TimerFamily,
    pub(super) input: TimerFamily,
    pub(super) infer: TimerFamily,
    pub(super) output: TimerFamily,
    pub(super) summaries: Summaries,
    pub(super) load_duration: GaugeVec,
    pub(super) batch_size: HistogramVec,
    pub(super) closed: IntCounterVec,
    pub(super) http_responses: IntCounterVec,
    pub(super) grpc_responses: IntCounterVec,
    pub(super) request_bytes: IntGauge,
    pub(super) devices: Devices,
    pub(super) processors: ProcessorGauges,
}

pub(super) struct TimerFamily {
    pub(super) sum: IntCounterVec,
    pub(super) histogram: HistogramVec,
}

impl Table {
    fn new() -> Self {
        let r = Registry::new();
        Self {
            success: counters(&r, "nv_inference_request_success", "requests answered by the model", &MODEL),
            failure: counters(
                &r,
                "nv_inference_request_failure",
                "requests that failed, by reason",
                &MODEL_AND_REASON,
            ),
            inferences: counters(&r, "nv_inference_count", "rows computed for answered requests", &MODEL),
            executions: counters(&r, "nv_inference_exec_count", "batches run", &MODEL),
            pending: gauges(
                &r,
                "nv_inference_pending_request_count",
                "requests that wait for an instance",
                &MODEL,
            ),
            request: timers(&r, "request", "from arrival to answer"),
            queue: timers(&r, "queue", "from arrival until the batch left"),
            input: timers(&r, "compute_input", "collecting a batch's inputs"),
            infer: timers(&r, "compute_infer", "the model's forward"),
            output: timers(&r, "compute_output", "cutting outputs into responses"),
            summaries: Summaries::default(),
            load_duration: register(
                &r,
                GaugeVec::new(
                    Opts::new("nv_model_load_duration_secs", "how long the version took to load, in seconds"),
                    &MODEL,
                ),
            ),
            batch_size: histograms(&r, "cresset_batch_size", "rows in a batch", &MODEL, &ROWS),
            closed: counters(&r, "cresset_batch_close_total", "batches, by why they left", &MODEL_AND_REASON),
            http_responses: counters(
                &r,
                "cresset_http_responses_total",
                "HTTP answers, by status",
                &["status"],
            ),
            grpc_responses: counters(
                &r,
                "cresset_grpc_responses_total",
                "gRPC calls that ended, by the number of their code",
                &["code"],
            ),
            request_bytes: gauge(&r, "cresset_request_bytes", "bytes of request bodies held in memory"),
            devices: Devices::new(DeviceFamilies::new(&r)),
            processors: ProcessorGauges::new(&r),
            tags: Mutex::default(),
            registry: r,
        }
    }
}

fn timers(registry: &Registry, what: &str, help: &str) -> TimerFamily {
    TimerFamily {
        sum: counters(
            registry,
            &format!("nv_inference_{what}_duration_us"),
            &format!("{help}: sum, in microseconds"),
            &MODEL,
        ),
        histogram: histograms(
            registry,
            &format!("nv_inference_{what}_duration_histogram_us"),
            &format!("{help}, in microseconds"),
            &MODEL,
            &MICROSECONDS,
        ),
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    register(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn a_models_tags_are_labels_of_its_own_metrics() {
        let (tagged, plain) = (ModelMetrics::new("tags-test", 1), ModelMetrics::new("tags-test", 2));
        let tags = BTreeMap::from([("team".to_owned(), "vision \"x\"".to_owned())]);
        tag("tags-test", 1, &tags);
        tagged.executed(1, CloseReason::Full);
        plain.executed(1, CloseReason::Full);
        let text = String::from_utf8(render()).unwrap();
        for line in [
            r#"nv_inference_exec_count{model="tags-test",version="1",team="vision \"x\""} 1"#,
            r#"nv_inference_exec_count{model="tags-test",version="2"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        tag("tags-test", 1, &BTreeMap::new());
        assert!(!String::from_utf8(render()).unwrap().contains("team="));
    }

    #[test]
    fn every_family_is_rendered_under_its_name() {
        let metrics = ModelMetrics::new("table-test", 3);
        metrics.executed(4, CloseReason::Full);
        metrics.succeeded(4, &Durations { queue: Duration::from_micros(7), ..Durations::default() });
        metrics.failed(FailureReason::Backend, Duration::ZERO);
        let pending = metrics.pending();
        http_response(200);
        let text = String::from_utf8(render()).unwrap();
        for line in [
            r#"nv_inference_request_success{model="table-test",version="3"} 1"#,
            r#"nv_inference_request_failure{model="table-test",reason="BACKEND",version="3"} 1"#,
            r#"nv_inference_count{model="table-test",version="3"} 4"#,
            r#"nv_inference_exec_count{model="table-test",version="3"} 1"#,
            r#"nv_inference_pending_request_count{model="table-test",version="3"} 1"#,
            r#"nv_inference_queue_duration_us{model="table-test",version="3"} 7"#,
            r#"nv_inference_request_duration_us{model="table-test",version="3"} 7"#,
            r#"nv_inference_compute_infer_duration_histogram_us_count{model="table-test",version="3"} 1"#,
            r#"cresset_batch_size_sum{model="table-test",version="3"} 4"#,
            r#"cresset_batch_close_total{model="table-test",reason="full",version="3"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        drop(pending);
        let text = String::from_utf8(render()).unwrap();
        assert!(text.contains(r#"nv_inference_pending_request_count{model="table-test",version="3"} 0"#));
    }
}
