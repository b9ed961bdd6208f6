//! What a configuration asks of the scheduler, as the scheduler's own policies.

use std::time::Duration;

use super::bound::BoundModel;
use super::planned::PlannedModel;
use crate::model_config::DynamicBatching;
use cresset_scheduler::ablation::{Heuristic, off};
use cresset_scheduler::{Policy, QueuePolicy, TimingPolicy};

/// The policies of a planned model; `queue_capacity` bounds its queue if the
/// configuration doesn't.
pub(super) fn policy(planned: &PlannedModel<'_>, queue_capacity: usize) -> Policy {
    let BoundModel { config, batching, loaded, .. } = &planned.rehearsed.bound;
    let source = loaded.file.source;
    let dynamic = config.dynamic_batching.as_ref().filter(|_| config.max_batch_size > 0);
    let spin = loaded.file.resources.spin_before_park;
    Policy {
        // The queue's settings hold for requests that run alone, too.
        queue: queue_policy(source.config.dynamic_batching.as_ref(), queue_capacity),
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
fn queue_policy(dynamic: Option<&DynamicBatching>, capacity: usize) -> QueuePolicy {
    match dynamic {
        None => QueuePolicy::unconfigured(capacity),
        Some(dynamic) => QueuePolicy {
            capacity,
            levels: dynamic.priority_levels,
            default_level: dynamic.default_priority_level,
            default_policy: dynamic.default_queue_policy,
            policies: dynamic.priority_queue_policy.clone(),
        },
    }
}
