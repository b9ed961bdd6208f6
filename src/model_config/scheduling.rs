//! `dynamic_batching` and `instance_group`: how requests meet instances.

use std::time::Duration;

use super::proto::{self, model_instance_group::Kind};
use super::{ConfigError, DynamicBatching, InstanceGroup, InstanceKind};

/// Longer than anyone waits for company, and short enough to be added to any
/// moment of the clock.
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
    Ok(DynamicBatching {
        preferred_batch_sizes: preferred_batch_sizes(config.preferred_batch_size, max_batch_size)?,
        max_queue_delay: delay,
        max_queue_size: config.default_queue_policy.map_or(0, |policy| policy.max_queue_size),
    })
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

/// Reads all groups. Whether the devices are there is the server's to find out.
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
            return Err(ConfigError::value(format!("{field}.gpus"), "numbers of CUDA devices", gpu));
        };
        gpus.push(number);
    }
    Ok(InstanceGroup {
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
