//! Priority levels and what each says of the requests that wait in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model_config::{DynamicBatching, QueuePolicy};

/// The levels of a queue. Level 1 is served first; without levels everything
/// is of level 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Levels {
    /// How many there are; zero for none.
    pub count: u64,
    /// That of a request that names none, or one that isn't there.
    pub default_level: u64,
    /// The policy of a level that has none of its own.
    pub default_policy: QueuePolicy,
    /// By level.
    pub policies: BTreeMap<u64, QueuePolicy>,
}

impl Levels {
    /// Those of a configuration. Where nothing is batched no policy is
    /// configured either: a request's own time is all that bounds its waiting.
    #[must_use]
    pub fn new(batching: Option<&DynamicBatching>) -> Self {
        let Some(batching) = batching else {
            let default_policy = QueuePolicy { allow_timeout_override: true, ..QueuePolicy::default() };
            return Self { default_policy, ..Self::default() };
        };
        Self {
            count: batching.priority_levels,
            default_level: batching.default_priority_level,
            default_policy: batching.default_queue_policy,
            policies: batching.priority_queue_policy.clone(),
        }
    }

    /// The level of a request that asks for this one; zero asks for none.
    /// (Triton's rule: one that isn't there is none.)
    #[must_use]
    pub fn level(&self, asked: u64) -> u64 {
        if (1..=self.count).contains(&asked) { asked } else { self.default_level }
    }

    /// A level's policy.
    #[must_use]
    pub fn policy(&self, level: u64) -> &QueuePolicy {
        self.policies.get(&level).unwrap_or(&self.default_policy)
    }
}

/// When the time of a request is over that came at `arrival`; `asked` is its
/// own time. A request may shorten its level's time where that allows it, and
/// never lengthen it. `None` where it may wait for ever, or as good as.
pub(super) fn deadline(policy: &QueuePolicy, arrival: Instant, asked: Option<Duration>) -> Option<Instant> {
    let own = asked.filter(|_| policy.allow_timeout_override);
    let time = match (policy.default_timeout, own) {
        (Some(default), Some(own)) => default.min(own),
        (default, own) => default.or(own)?,
    };
    arrival.checked_add(time)
}
