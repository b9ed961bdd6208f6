//! Queue policy: which requests may wait, for how long, and which goes first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The configured rules of a queue, and of its priority levels. Level 1 is
/// served first; without levels every request has level 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueuePolicy {
    /// How many requests may wait, if their level's policy doesn't say.
    pub capacity: usize,
    /// How long a request may be expected to wait when it comes; `None` for any
    /// time.
    pub max_wait: Option<Duration>,
    /// How many levels there are; zero for none.
    pub levels: u64,
    /// The level of a request that names no level, or an unknown one.
    pub default_level: u64,
    /// The policy of a level without its own policy.
    pub default_policy: LevelPolicy,
    /// By level.
    pub policies: BTreeMap<u64, LevelPolicy>,
}

/// The rules for the requests of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelPolicy {
    /// What happens to a request whose time is over.
    pub timeout_action: TimeoutAction,
    /// How long a request may wait, from its arrival; `None` for no limit.
    pub default_timeout: Option<Duration>,
    /// Whether a request may name a shorter time.
    pub allow_timeout_override: bool,
    /// How many requests may wait; zero for the queue's capacity.
    pub max_queue_size: u32,
}

/// What happens to a request whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeoutAction {
    /// It is answered with an error.
    #[default]
    Reject,
    /// It runs behind the requests of its level that are in time.
    Delay,
}

impl QueuePolicy {
    /// A policy with `capacity` and without levels. A request's own time limit
    /// bounds its waiting, because no level says otherwise.
    #[must_use]
    pub fn unconfigured(capacity: usize) -> Self {
        let default_policy = LevelPolicy { allow_timeout_override: true, ..LevelPolicy::default() };
        Self { capacity, default_policy, ..Self::default() }
    }

    /// The level of a request that asks for `asked`; zero stands for none.
    /// (Triton's rule: an unknown level counts as none.)
    #[must_use]
    pub fn level(&self, asked: u64) -> u64 {
        if (1..=self.levels).contains(&asked) { asked } else { self.default_level }
    }

    /// The level that goes first.
    pub(crate) fn first_level(&self) -> u64 {
        self.levels.min(1)
    }

    /// Whether no request of any level may wait in addition to `waiting` others.
    pub(crate) fn is_full(&self, waiting: usize) -> bool {
        let own = |policy: &LevelPolicy| policy.max_queue_size > 0;
        match self.levels {
            0 => !self.has_room(self.default_level, waiting, waiting),
            _ => waiting >= self.capacity && !own(&self.default_policy) && !self.policies.values().any(own),
        }
    }

    /// A level's policy.
    #[must_use]
    pub fn policy(&self, level: u64) -> &LevelPolicy {
        self.policies.get(&level).unwrap_or(&self.default_policy)
    }

    /// Whether a request of this level may wait in addition to `waiting`
    /// others, of which `of_level` have the same level.
    pub(crate) fn has_room(&self, level: u64, waiting: usize, of_level: usize) -> bool {
        match self.policy(level).max_queue_size {
            0 => waiting < self.capacity,
            most => of_level < most as usize,
        }
    }
}

impl LevelPolicy {
    /// The deadline of a request that came at `arrival` and asks for `asked`. A
    /// request may shorten its level's time if that allows it, but never
    /// lengthen it. `None` if it may wait practically for ever.
    pub(crate) fn deadline(&self, arrival: Instant, asked: Option<Duration>) -> Option<Instant> {
        let own = asked.filter(|_| self.allow_timeout_override);
        let time = match (self.default_timeout, own) {
            (Some(default), Some(own)) => default.min(own),
            (default, own) => default.or(own)?,
        };
        arrival.checked_add(time)
    }

    /// Whether a request whose time is over is refused.
    pub(crate) fn refuses(&self) -> bool {
        self.timeout_action == TimeoutAction::Reject
    }

    /// The [`LevelPolicy::deadline`] of a request that is refused by then.
    pub(crate) fn refused_at(&self, arrival: Instant, asked: Option<Duration>) -> Option<Instant> {
        self.deadline(arrival, asked).filter(|_| self.refuses())
    }
}
