//! What a configuration asks of the scheduler, as the scheduler's own policies.

use std::time::Duration;

use super::bound::BoundModel;
use super::planned::PlannedModel;
use crate::model_config::DynamicBatching;
use cresset_scheduler::ablation::{Heuristic, off};
use cresset_scheduler::{Policy, QueuePolicy, TimingPolicy};

/// What bounds a model's queue if its configuration doesn't say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// How many requests may wait.
    pub requests: usize,
    /// How long a request may be expected to wait; `None` for any time. The
    /// configuration may say less.
    pub wait: Option<Duration>,
}

impl QueueBounds {
    /// So many requests, which may wait for any time.
    #[must_use]
    pub fn of_requests(requests: usize) -> Self {
        Self { requests, wait: None }
    }
}

/// The policies of a planned model.
pub(super) fn policy(planned: &PlannedModel<'_>, bounds: QueueBounds) -> Policy {
    let BoundModel { config, batching, loaded, .. } = &planned.rehearsed.bound;
    let source = loaded.file.source;
    let dynamic = config.dynamic_batching.as_ref().filter(|_| config.max_batch_size > 0);
    let spin = loaded.file.resources.spin_before_park;
    Policy {
        // The queue's settings hold for requests that run alone, too.
        queue: queue_policy(source.config.dynamic_batching.as_ref(), bounds),
        batching: batching.policy(config.max_batch_size, dynamic),
        timing: TimingPolicy {
            max_queue_delay: dynamic.map_or(Duration::ZERO, |dynamic| dynamic.max_queue_delay),
            latency_target: source.objective.latency_target,
        },
        instances: planned.placements.iter().map(|placement| placement.instances).sum(),
        spin_before_park: if off(Heuristic::SpinBeforePark) { Duration::ZERO } else { spin },
    }
}

/// Which requests may wait and which go first.
fn queue_policy(dynamic: Option<&DynamicBatching>, bounds: QueueBounds) -> QueuePolicy {
    let QueueBounds { requests: capacity, wait: max_wait } = bounds;
    match dynamic {
        None => QueuePolicy { max_wait, ..QueuePolicy::unconfigured(capacity) },
        Some(dynamic) => QueuePolicy {
            capacity,
            max_wait,
            levels: dynamic.priority_levels,
            default_level: dynamic.default_priority_level,
            default_policy: dynamic.default_queue_policy,
            policies: dynamic.priority_queue_policy.clone(),
        },
    }
}
