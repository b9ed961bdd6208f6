//! Removes a version's series when its last handle is dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use once_cell::sync::Lazy;

use super::outcome::FailureReason;
use super::table::TABLE;
use cresset_scheduler::CloseReason;

/// How many handles each version has. A version that is being replaced has two for
/// a while: the old one finishes its requests while the new one serves.
static HANDLES: Lazy<Mutex<BTreeMap<(String, u64), usize>>> = Lazy::new(Mutex::default);

/// One handle of a version. Dropping the last one removes the series.
#[derive(Debug)]
pub(super) struct Series {
    model: String,
    version: u64,
}

impl Series {
    pub(super) fn of(model: &str, version: u64) -> Self {
        *handles().entry((model.to_owned(), version)).or_default() += 1;
        Self { model: model.to_owned(), version }
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        // Held until the series are removed, so that a handle that is made
        // meanwhile makes them anew.
        let mut handles = handles();
        let key = (std::mem::take(&mut self.model), self.version);
        match handles.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                handles.remove(&key);
                remove(&key.0, &key.1.to_string());
            }
        }
    }
}

fn remove(model: &str, version: &str) {
    let labels = [model, version];
    // An error only says that there is no such series.
    for family in [&TABLE.success, &TABLE.inferences, &TABLE.executions] {
        let _ = family.remove_label_values(&labels);
    }
    let _ = TABLE.pending.remove_label_values(&labels);
    let _ = TABLE.batch_size.remove_label_values(&labels);
    let _ = TABLE.load_duration.remove_label_values(&labels);
    TABLE.summaries.remove(model, version);
    for timer in [&TABLE.request, &TABLE.queue, &TABLE.input, &TABLE.infer, &TABLE.output] {
        let _ = timer.sum.remove_label_values(&labels);
        let _ = timer.histogram.remove_label_values(&labels);
    }
    for reason in FailureReason::ALL {
        let _ = TABLE.failure.remove_label_values(&[model, version, reason.name()]);
    }
    for reason in CloseReason::ALL {
        let _ = TABLE.closed.remove_label_values(&[model, version, reason.name()]);
    }
}

/// The counts are consistent between any two statements, so a poisoned lock does
/// no harm.
fn handles() -> MutexGuard<'static, BTreeMap<(String, u64), usize>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn told() -> Vec<String> {
        let text = String::from_utf8(render()).unwrap();
        text.lines().filter(|line| line.contains("\"series-test\"")).map(str::to_owned).collect()
    }

    #[test]
    fn series_go_with_the_last_that_counts_in_them() {
        let (old, other) = (ModelMetrics::new("series-test", 1), ModelMetrics::new("series-test", 2));
        old.failed(FailureReason::Backend, Duration::ZERO);
        let replacing = ModelMetrics::new("series-test", 1);
        drop(old);
        let failed = r#"nv_inference_request_failure{model="series-test",reason="BACKEND",version="1"} 1"#;
        assert!(told().iter().any(|line| line == failed), "{:?}", told());
        drop(replacing);
        let left = told();
        assert!(left.iter().all(|line| line.contains("version=\"2\"")), "{left:?}");
        assert!(left.len() > 100, "every series of the other: {}", left.len());
        drop(other);
        assert_eq!(told(), [""; 0]);
    }
}
