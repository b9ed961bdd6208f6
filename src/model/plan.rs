//! How many instances of a model run where, with how many threads: a pure
//! decision, printed at start.

use std::fmt;

use crate::backend::{Accelerators, Device};
use crate::faults::DeviceFaults;
use crate::model_config::{InstanceGroup, InstanceKind};

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DevicePreference {
    /// A GPU where there is one, else the processors.
    Auto,
    /// The processors, whatever the configuration says.
    Cpu,
    /// A GPU; without one the server doesn't start.
    Cuda,
}

/// What the machine lends.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Processors that this process may use: affinity and cgroup quota, not
    /// the machine's cores.
    pub processors: usize,
    /// GPUs, or why there is none.
    pub accelerators: Accelerators,
    /// What the operator asked for.
    pub preference: DevicePreference,
    /// Which devices have failed since the process began.
    pub faults: DeviceFaults,
    /// Whether models on processors are driven as on an accelerator:
    /// [`LoadRequest::overlapped`](crate::backend::LoadRequest).
    pub overlapped: bool,
}

impl Resources {
    /// The GPUs that models may be placed on.
    fn gpus(&self) -> u32 {
        match (self.preference, &self.accelerators) {
            (DevicePreference::Auto | DevicePreference::Cuda, Accelerators::Cuda(count)) => *count,
            (DevicePreference::Cpu, Accelerators::Cuda(_)) | (_, Accelerators::None(_)) => 0,
        }
    }
}

/// Instances of one model on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Where.
    pub device: Device,
    /// How many threads run the model.
    pub instances: usize,
    /// How many threads each of them uses inside one operation.
    pub intra_op_threads: usize,
}

impl Placement {
    /// The group of a configuration that would ask for just this.
    pub(super) fn group(&self) -> InstanceGroup {
        let (kind, gpus) = match self.device {
            Device::Cpu => (InstanceKind::Cpu, Vec::new()),
            Device::Cuda(gpu) => (InstanceKind::Gpu, vec![gpu]),
        };
        InstanceGroup { count: u32::try_from(self.instances).ok(), kind, gpus }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instances = if self.instances == 1 { "instance" } else { "instances" };
        let threads = if self.intra_op_threads == 1 { "thread" } else { "threads" };
        let (count, each) = (self.instances, self.intra_op_threads);
        write!(f, "{}, {count} {instances} x {each} {threads}", self.device)
    }
}

/// A configuration that this machine can't satisfy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `gpus` names a device that isn't there.
    #[error("instance_group names gpu {wanted}, but the GPUs here are 0 to {last}")]
    NoSuchGpu {
        /// As configured.
        wanted: u32,
        /// The highest number there is.
        last: u32,
    },
}

/// Places a model's instances.
///
/// On processors the default is one instance for each, with one intra-op
/// thread: for throughput that is the fastest, and two OpenMP threads that
/// meet one busy neighbour lose a factor of five. A model that keeps state has
/// one instance, whatever is configured: its answers would depend on which
/// one a request meets.
///
/// The second value says where the plan differs from what was asked for.
///
/// # Errors
/// A GPU that isn't there, on a machine that has some.
pub fn plan(
    groups: &[InstanceGroup],
    stateful: bool,
    resources: &Resources,
) -> Result<(Vec<Placement>, Vec<String>), PlanError> {
    let default = [InstanceGroup { count: None, kind: InstanceKind::Auto, gpus: Vec::new() }];
    let groups = if groups.is_empty() { &default } else { groups };
    let mut placements: Vec<Placement> = Vec::new();
    let mut notes = Vec::new();
    for group in groups {
        let gpus = match group.kind {
            InstanceKind::Auto | InstanceKind::Gpu => resources.gpus(),
            InstanceKind::Cpu | InstanceKind::Model => 0,
        };
        if gpus == 0 {
            if group.kind == InstanceKind::Gpu {
                notes.push(
                    "instance_group asks for KIND_GPU: no GPU is used here, it runs on the CPU".to_owned(),
                );
            }
            placements.push(on_processors(group.count, stateful, resources.processors));
            continue;
        }
        let chosen = if group.gpus.is_empty() { (0..gpus).collect() } else { group.gpus.clone() };
        for index in chosen {
            if index >= gpus {
                return Err(PlanError::NoSuchGpu { wanted: index, last: gpus - 1 });
            }
            let instances = group.count.unwrap_or(1).max(1) as usize;
            placements.push(Placement { device: Device::Cuda(index), instances, intra_op_threads: 1 });
        }
    }
    if stateful {
        let asked: usize = placements.iter().map(|placement| placement.instances).sum();
        placements.truncate(1);
        if let Some(only) = placements.first_mut()
            && asked > 1
        {
            only.instances = 1;
            notes.push(format!("{asked} instances are asked for, but the model keeps state: it has one"));
        }
    }
    Ok((placements, notes))
}

fn on_processors(count: Option<u32>, stateful: bool, processors: usize) -> Placement {
    let processors = processors.max(1);
    let instances = match count {
        Some(count) => (count as usize).max(1),
        None if stateful => 1,
        None => processors,
    };
    let intra_op_threads = (processors / instances).max(1);
    Placement { device: Device::Cpu, instances, intra_op_threads }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(processors: usize, gpus: u32, preference: DevicePreference) -> Resources {
        let accelerators = match gpus {
            0 => Accelerators::None("no driver".to_owned()),
            gpus => Accelerators::Cuda(gpus),
        };
        Resources { processors, accelerators, preference, faults: DeviceFaults::new(), overlapped: false }
    }

    fn group(kind: InstanceKind, count: Option<u32>, gpus: &[u32]) -> InstanceGroup {
        InstanceGroup { count, kind, gpus: gpus.to_vec() }
    }

    fn shown(groups: &[InstanceGroup], stateful: bool, resources: &Resources) -> Vec<String> {
        let (placements, _) = plan(groups, stateful, resources).unwrap();
        placements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn processors_are_shared_out_and_never_oversubscribed() {
        let four = machine(4, 0, DevicePreference::Auto);
        assert_eq!(shown(&[], false, &four), ["cpu, 4 instances x 1 thread"]);
        assert_eq!(shown(&[], true, &four), ["cpu, 1 instance x 4 threads"]);
        assert_eq!(
            shown(&[group(InstanceKind::Cpu, Some(2), &[])], false, &four),
            ["cpu, 2 instances x 2 threads"]
        );
        assert_eq!(
            shown(&[group(InstanceKind::Cpu, Some(9), &[])], false, &four),
            ["cpu, 9 instances x 1 thread"],
            "what is configured holds"
        );
        let (placements, notes) = plan(&[group(InstanceKind::Cpu, Some(3), &[])], true, &four).unwrap();
        assert_eq!(placements[0].instances, 1);
        assert_eq!(notes, ["3 instances are asked for, but the model keeps state: it has one"]);
    }

    #[test]
    fn gpus_are_taken_where_they_are_and_done_without_where_not() {
        let two = machine(8, 2, DevicePreference::Auto);
        assert_eq!(
            shown(&[], false, &two),
            ["cuda:0, 1 instance x 1 thread", "cuda:1, 1 instance x 1 thread"]
        );
        assert_eq!(
            shown(&[group(InstanceKind::Gpu, Some(2), &[1])], false, &two),
            ["cuda:1, 2 instances x 1 thread"]
        );
        assert_eq!(
            plan(&[group(InstanceKind::Gpu, None, &[2])], false, &two),
            Err(PlanError::NoSuchGpu { wanted: 2, last: 1 })
        );
        let none = machine(2, 0, DevicePreference::Auto);
        let (placements, notes) = plan(&[group(InstanceKind::Gpu, Some(1), &[3])], false, &none).unwrap();
        assert_eq!(placements[0].device, Device::Cpu);
        assert_eq!(notes.len(), 1);
        assert_eq!(shown(&[], false, &machine(2, 2, DevicePreference::Cpu)), ["cpu, 2 instances x 1 thread"]);
    }
}
