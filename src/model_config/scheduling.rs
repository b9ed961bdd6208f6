//! Reads `dynamic_batching` and `instance_group`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConfigError;
use cresset_backend::AcceleratorKind;
use cresset_protocol::messages::config::{
    self as proto, model_instance_group::Kind, model_queue_policy::TimeoutAction as Action,
};
use cresset_scheduler::{LevelPolicy, TimeoutAction};

/// `dynamic_batching { … }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DynamicBatching {
    /// Sizes at which a batch leaves without waiting for its delay, ascending.
    pub preferred_batch_sizes: Vec<u32>,
    /// How long the oldest request may wait for others, from its arrival.
    pub max_queue_delay: Duration,
    /// Whether answers leave in the order in which their requests came.
    pub preserve_ordering: bool,
    /// How many levels there are: 1 is served first. Zero for one queue.
    pub priority_levels: u64,
    /// The level of a request that names none, from 1; zero without levels.
    pub default_priority_level: u64,
    /// `default_queue_policy { … }`: for levels without a policy of their own.
    pub default_queue_policy: LevelPolicy,
    /// `priority_queue_policy`, by level.
    pub priority_queue_policy: BTreeMap<u64, LevelPolicy>,
}

/// `instance_group [ … ]`, one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceGroup {
    /// The name of its instances; empty for the model's name.
    pub name: String,
    /// How many instances on each device; `None` for the default.
    pub count: Option<u32>,
    /// What kind of device.
    pub kind: InstanceKind,
    /// Which GPUs, by number; empty for all of them.
    pub gpus: Vec<u32>,
}

/// `instance_group { kind }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceKind {
    /// A GPU if there is one, else the processors.
    Auto,
    /// A GPU.
    Gpu,
    /// The processors.
    Cpu,
    /// The model's file decides; its inputs stay on the host.
    Model,
}

/// Longer than any sensible delay, and short enough to be added to any time without
/// overflow.
const MAX_QUEUE_DELAY: Duration = Duration::from_secs(3600);

/// Reads `dynamic_batching` beside the model's `max_batch_size`.
pub(super) fn dynamic_batching(
    config: proto::ModelDynamicBatching,
    max_batch_size: u32,
) -> Result<DynamicBatching, ConfigError> {
    if max_batch_size == 0 {
        return Err(ConfigError::value("max_batch_size", "1 or more, as dynamic_batching is set", 0));
    }
    let delay = Duration::from_micros(config.max_queue_delay_microseconds);
    if delay > MAX_QUEUE_DELAY {
        return Err(ConfigError::value(
            "dynamic_batching.max_queue_delay_microseconds",
            format!("at most {}", MAX_QUEUE_DELAY.as_micros()),
            config.max_queue_delay_microseconds,
        ));
    }
    let default_queue_policy = match config.default_queue_policy {
        Some(policy) => queue_policy("dynamic_batching.default_queue_policy", policy)?,
        None => LevelPolicy::default(),
    };
    let priority_queue_policy = config
        .priority_queue_policy
        .into_iter()
        .map(|(level, policy)| {
            let field = format!("dynamic_batching.priority_queue_policy['{level}']");
            Ok((level, queue_policy(&field, policy)?))
        })
        .collect::<Result<_, ConfigError>>()?;
    let batching = DynamicBatching {
        preferred_batch_sizes: preferred_batch_sizes(config.preferred_batch_size, max_batch_size)?,
        max_queue_delay: delay,
        preserve_ordering: config.preserve_ordering,
        priority_levels: config.priority_levels,
        default_priority_level: config.default_priority_level,
        default_queue_policy,
        priority_queue_policy,
    };
    check_levels(&batching)?;
    check_order(&batching)?;
    Ok(batching)
}

fn queue_policy(field: &str, policy: proto::ModelQueuePolicy) -> Result<LevelPolicy, ConfigError> {
    let timeout_action = match Action::try_from(policy.timeout_action) {
        Ok(Action::Reject) => TimeoutAction::Reject,
        Ok(Action::Delay) => TimeoutAction::Delay,
        Err(_) => {
            let field = format!("{field}.timeout_action");
            return Err(ConfigError::value(field, "REJECT or DELAY", policy.timeout_action));
        }
    };
    let timeout = Duration::from_micros(policy.default_timeout_microseconds);
    Ok(LevelPolicy {
        timeout_action,
        default_timeout: (!timeout.is_zero()).then_some(timeout),
        allow_timeout_override: policy.allow_timeout_override,
        max_queue_size: policy.max_queue_size,
    })
}

/// Levels are counted from 1, and each level's policy must be for an existing
/// level. These are Triton's rules, except that Triton ignores such fields if there
/// are no levels, and here they are refused.
fn check_levels(batching: &DynamicBatching) -> Result<(), ConfigError> {
    let levels = batching.priority_levels;
    let named = batching.priority_queue_policy.keys();
    if levels == 0 {
        let policy = named.map(|level| ("priority_queue_policy", *level)).next();
        let default = batching.default_priority_level;
        let set = policy.or((default > 0).then_some(("default_priority_level", default)));
        return match set {
            None => Ok(()),
            Some((field, level)) => Err(ConfigError::value(
                "dynamic_batching.priority_levels",
                format!("1 or more, as {field} names level {level}"),
                0,
            )),
        };
    }
    let range = || format!("a level from 1 to priority_levels, {levels}");
    let default = batching.default_priority_level;
    if !(1..=levels).contains(&default) {
        return Err(ConfigError::value("dynamic_batching.default_priority_level", range(), default));
    }
    match named.into_iter().find(|level| !(1..=levels).contains(*level)) {
        None => Ok(()),
        Some(level) => Err(ConfigError::value("dynamic_batching.priority_queue_policy", range(), level)),
    }
}

/// Answers in the order of arrival exclude levels and delayed requests. (Triton's
/// rule.)
fn check_order(batching: &DynamicBatching) -> Result<(), ConfigError> {
    if !batching.preserve_ordering {
        return Ok(());
    }
    if batching.priority_levels > 1 {
        return Err(ConfigError::value(
            "dynamic_batching.priority_levels",
            "at most 1, as preserve_ordering is set",
            batching.priority_levels,
        ));
    }
    let mut policies =
        std::iter::once(&batching.default_queue_policy).chain(batching.priority_queue_policy.values());
    let delays = |policy: &LevelPolicy| {
        let times = policy.default_timeout.is_some() || policy.allow_timeout_override;
        times && policy.timeout_action == TimeoutAction::Delay
    };
    if policies.any(delays) {
        return Err(ConfigError::value(
            "dynamic_batching.default_queue_policy.timeout_action",
            "REJECT, as preserve_ordering is set",
            "DELAY",
        ));
    }
    Ok(())
}

fn preferred_batch_sizes(sizes: Vec<i32>, max_batch_size: u32) -> Result<Vec<u32>, ConfigError> {
    let mut preferred = Vec::with_capacity(sizes.len());
    for size in sizes {
        match u32::try_from(size) {
            Ok(size @ 1..) if size <= max_batch_size => preferred.push(size),
            _ => {
                return Err(ConfigError::value(
                    "dynamic_batching.preferred_batch_size",
                    format!("sizes from 1 to max_batch_size, {max_batch_size}"),
                    size,
                ));
            }
        }
    }
    preferred.sort_unstable();
    preferred.dedup();
    Ok(preferred)
}

/// Reads all groups. Whether the devices exist is checked later.
pub(super) fn instance_groups(
    groups: Vec<proto::ModelInstanceGroup>,
) -> Result<Vec<InstanceGroup>, ConfigError> {
    groups
        .into_iter()
        .enumerate()
        .map(|(index, group)| instance_group(&format!("instance_group[{index}]"), group))
        .collect()
}

fn instance_group(field: &str, group: proto::ModelInstanceGroup) -> Result<InstanceGroup, ConfigError> {
    // It becomes a number of threads.
    if group.name.contains('\0') {
        let got = format!("'{}'", group.name.escape_debug());
        return Err(ConfigError::value(format!("{field}.name"), "a name without a zero byte", got));
    }
    let Ok(kind) = Kind::try_from(group.kind) else {
        return Err(ConfigError::value(format!("{field}.kind"), "a kind of instance", group.kind));
    };
    let Ok(count) = u32::try_from(group.count) else {
        return Err(ConfigError::value(format!("{field}.count"), "0 or more", group.count));
    };
    if matches!(kind, Kind::Cpu | Kind::Model) && !group.gpus.is_empty() {
        let expected = format!("none, as its kind is {}", kind.as_str_name());
        return Err(ConfigError::value(format!("{field}.gpus"), expected, format!("{:?}", group.gpus)));
    }
    let mut gpus = Vec::with_capacity(group.gpus.len());
    for gpu in group.gpus {
        let Ok(number) = u32::try_from(gpu) else {
            let expected = format!("numbers of {} devices", AcceleratorKind::titles());
            return Err(ConfigError::value(format!("{field}.gpus"), expected, gpu));
        };
        gpus.push(number);
    }
    Ok(InstanceGroup {
        name: group.name,
        count: (count > 0).then_some(count),
        kind: match kind {
            Kind::Auto => InstanceKind::Auto,
            Kind::Gpu => InstanceKind::Gpu,
            Kind::Cpu => InstanceKind::Cpu,
            Kind::Model => InstanceKind::Model,
        },
        gpus,
    })
}
