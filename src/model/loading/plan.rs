//! How many instances of a model run on which device, with how many threads: a
//! pure decision, which a calibration may change before it is printed at start.

use crate::model::placement::{DevicePreference, NoSuchKind, Placement, Resources};
use crate::model_config::{InstanceGroup, InstanceKind};
use cresset_backend::Device;

/// The most instances of one model: more threads than any machine computes on.
/// The process ends if there is no memory left for a thread's stack.
const MOST_INSTANCES: usize = 1024;

/// A configuration that this machine can't satisfy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `gpus` names a device that isn't there.
    #[error("instance_group names gpu {wanted}, but the GPUs here are 0 to {last}")]
    NoSuchGpu {
        /// As configured.
        wanted: u32,
        /// The highest number there is.
        last: usize,
    },
    /// More instances than threads can be made for.
    #[error(
        "instance_group asks for {wanted} instances, each of which is a thread with memory of its own: at most {most} \
         are started. Leave count out for as many as the processors bear"
    )]
    TooMany {
        /// As configured, in all.
        wanted: usize,
        /// As many as there may be.
        most: usize,
    },
    /// A GPU must be used, and there is none.
    #[error(transparent)]
    NoGpu(#[from] NoSuchKind),
}

/// Places a model's instances, by what Triton means by each kind:
///
/// - `KIND_GPU`: `count` instances (1 if it is left open) on each of `gpus`, or on
///   every GPU if it names none.
/// - `KIND_AUTO`: the same if all of `gpus` are there, else the processors.
/// - `KIND_CPU`: `count` instances on the processors.
/// - `KIND_MODEL`: `count` instances of the file as it was saved.
///
/// Other than Triton, `KIND_GPU` falls back to the processors on a machine
/// that has no GPU, so that the same repository serves everywhere, and
/// `--device cpu` moves everything there.
///
/// On processors the default is one instance for each, with one intra-op
/// thread: for throughput that is the fastest nearly always, and two OpenMP
/// threads that meet one busy neighbour lose a factor of five. A calibration with
/// the model itself may show otherwise. A model that keeps state has one instance,
/// whatever is configured: its answers would depend on which one a request meets.
///
/// The second value lists how the plan differs from the configuration.
///
/// # Errors
/// The configuration names a missing GPU on a machine that has others, or there
/// must be a GPU and there is none.
pub fn plan(
    groups: &[InstanceGroup],
    stateful: bool,
    resources: &Resources,
) -> Result<(Vec<Placement>, Vec<String>), PlanError> {
    let default =
        [InstanceGroup { name: String::new(), count: None, kind: InstanceKind::Auto, gpus: Vec::new() }];
    let groups = if groups.is_empty() { &default } else { groups };
    let mut wanted = Vec::new();
    let mut notes = Vec::new();
    for group in groups {
        wanted.extend(place(group, resources, &mut notes)?);
    }
    if stateful {
        let asked: usize = wanted.iter().map(|wanted| wanted.count.unwrap_or(1)).sum();
        wanted.truncate(1);
        wanted.iter_mut().for_each(|only| only.count = Some(1));
        if asked > 1 {
            notes.push(format!("{asked} instances are asked for, but the model keeps state: it has one"));
        }
    }
    let all = wanted.iter().fold(0_usize, |all, wanted| all.saturating_add(wanted.count.unwrap_or(1)));
    if all > MOST_INSTANCES {
        return Err(PlanError::TooMany { wanted: all, most: MOST_INSTANCES });
    }
    Ok((share_out(&wanted, resources.processors.max(1)), notes))
}

/// Instances of one group on one device.
struct WantedInstances {
    name: String,
    device: Device,
    /// `None` for as many as the processors bear.
    count: Option<usize>,
}

/// On which devices one group's instances run.
fn place(
    group: &InstanceGroup,
    resources: &Resources,
    notes: &mut Vec<String>,
) -> Result<Vec<WantedInstances>, PlanError> {
    let count = group.count.map(|count| count.max(1) as usize);
    let name = || group.name.clone();
    let on_processors = || vec![WantedInstances { name: name(), device: Device::Cpu, count }];
    let gpus = resources.gpus();
    let gpu = |number: u32| usize::try_from(number).ok().and_then(|number| gpus.get(number).copied());
    let missing = group.gpus.iter().copied().find(|number| gpu(*number).is_none());
    match group.kind {
        InstanceKind::Cpu => return Ok(on_processors()),
        InstanceKind::Model if resources.preference == DevicePreference::Cpu => return Ok(on_processors()),
        InstanceKind::Model => {
            return Ok(vec![WantedInstances {
                name: name(),
                device: Device::AsSaved,
                count: count.or(Some(1)),
            }]);
        }
        InstanceKind::Auto | InstanceKind::Gpu => {}
    }
    if gpus.is_empty() {
        resources.check_preference()?;
        if group.kind == InstanceKind::Gpu {
            notes
                .push("instance_group asks for KIND_GPU: no GPU is used here, it runs on the CPU".to_owned());
        }
        return Ok(on_processors());
    }
    if let Some(wanted) = missing {
        let last = gpus.len() - 1;
        if group.kind == InstanceKind::Gpu {
            return Err(PlanError::NoSuchGpu { wanted, last });
        }
        notes.push(format!(
            "instance_group of KIND_AUTO names gpu {wanted}, but the GPUs here are 0 to {last}: it runs on the CPU"
        ));
        return Ok(on_processors());
    }
    let named: Vec<Device> = group.gpus.iter().filter_map(|number| gpu(*number)).collect();
    let chosen = if named.is_empty() { gpus } else { named };
    let on_gpu = |device| WantedInstances { name: name(), device, count: count.or(Some(1)) };
    Ok(chosen.into_iter().map(on_gpu).collect())
}

/// Shares the processors out among all that compute on them. An instance on a
/// GPU has one thread, which waits for the GPU.
fn share_out(wanted: &[WantedInstances], processors: usize) -> Vec<Placement> {
    let configured: usize = wanted.iter().filter(|w| w.is_on_host()).filter_map(|w| w.count).sum();
    let open = wanted.iter().filter(|w| w.count.is_none()).count();
    let each = (processors.saturating_sub(configured) / open.max(1)).max(1);
    let on_host = configured + open * each;
    let threads = (processors / on_host.max(1)).max(1);
    wanted
        .iter()
        .map(|wanted| Placement {
            name: wanted.name.clone(),
            device: wanted.device,
            instances: wanted.count.unwrap_or(each),
            intra_op_threads: if wanted.is_on_host() { threads } else { 1 },
        })
        .collect()
}

impl WantedInstances {
    /// Whether it computes, or may compute, on the processors.
    fn is_on_host(&self) -> bool {
        !self.device.is_accelerator()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::{AcceleratorKind, Accelerators};

    /// `--device cuda`.
    const CUDA: DevicePreference = DevicePreference::Kind(AcceleratorKind::Cuda);

    fn machine(processors: usize, gpus: u32, preference: DevicePreference) -> Resources {
        let accelerators = match gpus {
            0 => Accelerators::None("no driver".to_owned()),
            gpus => Accelerators::cuda(gpus),
        };
        Resources { accelerators, preference, ..Resources::of_processors(processors) }
    }

    fn placed(device: Device, instances: usize, intra_op_threads: usize) -> Placement {
        Placement { name: String::new(), device, instances, intra_op_threads }
    }

    fn group(kind: InstanceKind, count: Option<u32>, gpus: &[u32]) -> InstanceGroup {
        InstanceGroup { name: String::new(), count, kind, gpus: gpus.to_vec() }
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
    fn more_instances_than_threads_can_be_made_for_are_refused() {
        let two = machine(2, 0, DevicePreference::Auto);
        assert!(plan(&[group(InstanceKind::Cpu, Some(1024), &[])], false, &two).is_ok());
        let many = [group(InstanceKind::Cpu, Some(1024), &[]), group(InstanceKind::Auto, None, &[])];
        assert_eq!(plan(&many, false, &two), Err(PlanError::TooMany { wanted: 1025, most: 1024 }));
        let most = [group(InstanceKind::Cpu, Some(u32::MAX), &[])];
        assert!(plan(&most, true, &two).is_ok(), "one, as it keeps state");
        assert!(plan(&most, false, &two).is_err());
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

    #[test]
    fn every_gpu_has_its_own_count() {
        let four = machine(8, 4, CUDA);
        assert_eq!(
            shown(&[group(InstanceKind::Gpu, Some(2), &[])], false, &four),
            [
                "cuda:0, 2 instances x 1 thread",
                "cuda:1, 2 instances x 1 thread",
                "cuda:2, 2 instances x 1 thread",
                "cuda:3, 2 instances x 1 thread"
            ]
        );
        let groups = [
            group(InstanceKind::Gpu, Some(1), &[0]),
            group(InstanceKind::Gpu, Some(2), &[1, 2]),
            group(InstanceKind::Cpu, Some(2), &[]),
        ];
        assert_eq!(
            shown(&groups, false, &four),
            [
                "cuda:0, 1 instance x 1 thread",
                "cuda:1, 2 instances x 1 thread",
                "cuda:2, 2 instances x 1 thread",
                "cpu, 2 instances x 4 threads"
            ]
        );
        let (placements, notes) = plan(&groups, true, &four).unwrap();
        assert_eq!(placements, [placed(Device::cuda(0), 1, 1)]);
        assert_eq!(notes, ["7 instances are asked for, but the model keeps state: it has one"]);
    }

    #[test]
    fn auto_takes_gpus_only_where_all_that_it_names_are_there() {
        let two = machine(4, 2, DevicePreference::Auto);
        assert_eq!(
            shown(&[group(InstanceKind::Auto, Some(3), &[0, 1])], false, &two),
            ["cuda:0, 3 instances x 1 thread", "cuda:1, 3 instances x 1 thread"]
        );
        let (placements, notes) = plan(&[group(InstanceKind::Auto, Some(2), &[1, 2])], false, &two).unwrap();
        assert_eq!(placements, [placed(Device::Cpu, 2, 2)]);
        assert_eq!(
            notes,
            ["instance_group of KIND_AUTO names gpu 2, but the GPUs here are 0 to 1: it runs on the CPU"]
        );
    }

    #[test]
    fn a_model_that_places_itself_is_left_alone() {
        for resources in [machine(4, 2, DevicePreference::Auto), machine(4, 0, DevicePreference::Auto)] {
            assert_eq!(
                shown(&[group(InstanceKind::Model, None, &[])], false, &resources),
                ["as saved, 1 instance x 4 threads"]
            );
            assert_eq!(
                shown(&[group(InstanceKind::Model, Some(2), &[])], false, &resources),
                ["as saved, 2 instances x 2 threads"]
            );
        }
        assert_eq!(
            shown(&[group(InstanceKind::Model, None, &[])], false, &machine(4, 2, DevicePreference::Cpu)),
            ["cpu, 4 instances x 1 thread"]
        );
    }

    /// A group, and where it goes with two GPUs and with none.
    type Case = (InstanceKind, Option<u32>, &'static [u32], &'static str, &'static str);

    /// Every kind, with and without `count` and `gpus`, on each machine under
    /// each preference.
    #[test]
    fn every_combination_has_one_meaning() {
        use DevicePreference::{Auto, Cpu};
        use InstanceKind as Kind;
        let cases: [Case; 11] = [
            (Kind::Auto, None, &[], "cuda:0 1, cuda:1 1", "cpu 4"),
            (Kind::Auto, Some(2), &[], "cuda:0 2, cuda:1 2", "cpu 2"),
            (Kind::Auto, Some(2), &[1], "cuda:1 2", "cpu 2"),
            (Kind::Gpu, None, &[], "cuda:0 1, cuda:1 1", "cpu 4"),
            (Kind::Gpu, Some(2), &[], "cuda:0 2, cuda:1 2", "cpu 2"),
            (Kind::Gpu, Some(2), &[1], "cuda:1 2", "cpu 2"),
            (Kind::Gpu, None, &[1, 0], "cuda:1 1, cuda:0 1", "cpu 4"),
            (Kind::Cpu, None, &[], "cpu 4", "cpu 4"),
            (Kind::Cpu, Some(2), &[], "cpu 2", "cpu 2"),
            (Kind::Model, None, &[], "as saved 1", "as saved 1"),
            (Kind::Model, Some(2), &[], "as saved 2", "as saved 2"),
        ];
        let told = |groups: &[InstanceGroup], resources: &Resources| {
            let (placements, _) = plan(groups, false, resources)?;
            let each = |p: &Placement| format!("{} {}", p.device, p.instances);
            Ok::<_, PlanError>(placements.iter().map(each).collect::<Vec<_>>().join(", "))
        };
        for (kind, count, gpus, with, without) in cases {
            let groups = [group(kind, count, gpus)];
            for preference in [Auto, CUDA] {
                assert_eq!(told(&groups, &machine(4, 2, preference)).unwrap(), with, "{groups:?}");
            }
            assert_eq!(told(&groups, &machine(4, 0, Auto)).unwrap(), without, "{groups:?}");
            // The processors alone: as on a machine without GPUs, the model's own placing too.
            let on_cpu = match (kind, count) {
                (Kind::Model, None) => "cpu 4".to_owned(),
                (Kind::Auto | Kind::Gpu | Kind::Cpu | Kind::Model, _) => without.replace("as saved", "cpu"),
            };
            for gpus in [0, 2] {
                assert_eq!(told(&groups, &machine(4, gpus, Cpu)).unwrap(), on_cpu, "{groups:?}");
            }
            let must = told(&groups, &machine(4, 0, CUDA));
            match kind {
                Kind::Auto | Kind::Gpu => {
                    let told = must.unwrap_err().to_string();
                    assert_eq!(told, "--device cuda: there is no GPU to use: no driver");
                }
                Kind::Cpu | Kind::Model => assert_eq!(must.unwrap(), without),
            }
        }
    }

    #[test]
    fn several_groups_on_the_processors_share_them() {
        let eight = machine(8, 0, DevicePreference::Auto);
        let fallen = [group(InstanceKind::Gpu, Some(2), &[0]), group(InstanceKind::Gpu, Some(2), &[1])];
        let (placements, notes) = plan(&fallen, false, &eight).unwrap();
        assert_eq!(placements, vec![placed(Device::Cpu, 2, 2); 2]);
        assert_eq!(notes.len(), 2);
        let open = [group(InstanceKind::Gpu, None, &[0]), group(InstanceKind::Gpu, None, &[1])];
        assert_eq!(shown(&open, false, &eight), ["cpu, 4 instances x 1 thread"; 2]);
        let both = [group(InstanceKind::Cpu, Some(3), &[]), group(InstanceKind::Auto, None, &[])];
        assert_eq!(
            shown(&both, false, &eight),
            ["cpu, 3 instances x 1 thread", "cpu, 5 instances x 1 thread"]
        );
    }
}
