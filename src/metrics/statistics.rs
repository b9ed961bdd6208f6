//! The same events as in the metrics, in the form of Triton's statistics: exact
//! sums for one version, read together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outcome::Durations;
use cresset_protocol::{BatchStatistics, InferenceStatistics, ModelStatistics};

/// The statistics of one version since it was loaded.
///
/// They are behind one lock, so that a reader never sees a request's count without
/// its time. The lock is held for a few additions only.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    last_inference: u64,
    inferences: u64,
    executions: u64,
    requests: InferenceStatistics,
    batches: BTreeMap<u32, BatchStatistics>,
}

impl Recorder {
    pub(super) fn executed(&self) {
        self.lock().executions += 1;
    }

    /// A batch of `rows` gave its outputs.
    pub(super) fn computed(&self, rows: u32, durations: &Durations) {
        let mut sums = self.lock();
        let batch = sums.batches.entry(rows).or_default();
        batch.batch_size = u64::from(rows);
        batch.compute_input.add(durations.input);
        batch.compute_infer.add(durations.infer);
        batch.compute_output.add(durations.output);
    }

    /// `now` in milliseconds since 1970.
    pub(super) fn succeeded(&self, rows: u32, durations: &Durations, now: u64) {
        let mut sums = self.lock();
        sums.last_inference = now;
        sums.inferences += u64::from(rows);
        let requests = &mut sums.requests;
        requests.success.add(durations.total());
        requests.queue.add(durations.queue);
        requests.compute_input.add(durations.input);
        requests.compute_infer.add(durations.infer);
        requests.compute_output.add(durations.output);
    }

    pub(super) fn failed(&self, after: Duration) {
        self.lock().requests.fail.add(after);
    }

    pub(super) fn read(&self, name: &str, version: u64) -> ModelStatistics {
        let sums = self.lock();
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_string(),
            last_inference: sums.last_inference,
            inference_count: sums.inferences,
            execution_count: sums.executions,
            inference_stats: sums.requests,
            batch_stats: sums.batches.values().copied().collect(),
        }
    }

    /// The sums are consistent between any two statements, so a poisoned lock does no
    /// harm.
    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_told_in_tritons_words() {
        let recorder = Recorder::default();
        let micros = Duration::from_micros;
        let durations = Durations { queue: micros(1), input: micros(2), infer: micros(3), output: micros(4) };
        recorder.executed();
        recorder.computed(3, &durations);
        recorder.succeeded(1, &durations, 1_000);
        recorder.succeeded(2, &durations, 2_000);
        recorder.executed();
        recorder.failed(micros(5));
        let told = |count: u64, ns: u64| json!({"count": count, "ns": ns});
        assert_eq!(
            serde_json::to_value(recorder.read("m", 7)).unwrap(),
            json!({
                "name": "m", "version": "7", "last_inference": 2000,
                "inference_count": 3, "execution_count": 2,
                "inference_stats": {
                    "success": told(2, 20_000), "fail": told(1, 5_000), "queue": told(2, 2_000),
                    "compute_input": told(2, 4_000), "compute_infer": told(2, 6_000),
                    "compute_output": told(2, 8_000), "cache_hit": told(0, 0), "cache_miss": told(0, 0)},
                "batch_stats": [{"batch_size": 3, "compute_input": told(1, 2_000),
                    "compute_infer": told(1, 3_000), "compute_output": told(1, 4_000)}]
            })
        );
    }
}
