//! `cresset devices`: the devices that models can use, and why others are not
//! used.

mod advice;
mod processors;
mod report;

use std::io::Write as _;

use crate::model::{Resources, plan};
use crate::settings;
use advice::{NotUsed, Surroundings};
use cresset_backend::{Accelerators, Backend};
use cresset_nvidia::{Driver, DriverGpu, DriverProblem, Monitor, MonitoredGpu};
use processors::Processors;
pub use processors::has_quota;
use report::{Gpu, Library, Report};

/// Arguments of `cresset devices`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DevicesArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints the devices on standard output. `backend` is `None` in a build without
/// a library that runs models.
pub fn run(args: DevicesArgs, backend: Option<&dyn Backend>) {
    let report = look(backend);
    let text = if args.json { serde_json::json!(report).to_string() } else { report.to_string() };
    // If standard output is closed, the report isn't wanted.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn look(backend: Option<&dyn Backend>) -> Report {
    let processors = Processors::of_this_machine(settings::processors());
    let driver = Driver::open();
    let monitor = Monitor::open().ok();
    let monitored = monitor.as_ref().map(Monitor::gpus).unwrap_or_default();
    let visible = driver.as_ref().map(Driver::gpus).unwrap_or_default();
    let accelerators = backend.map(Backend::accelerators);
    Report {
        version: env!("CARGO_PKG_VERSION"),
        library: backend.map(|backend| Library {
            name: backend.description(),
            vectors: backend.vector_level(),
            uses_gpus: matches!(accelerators, Some(Accelerators::Found { .. })),
        }),
        default_instances: default_instances(processors.allowed, accelerators.as_ref()),
        processors,
        driver_version: monitor.as_ref().and_then(Monitor::driver_version),
        driver_cuda: driver.as_ref().ok().and_then(Driver::cuda_version).map(|(a, b)| format!("{a}.{b}")),
        gpus: gpus(&visible, &monitored),
        not_used: not_used(driver.as_ref().err(), accelerators.as_ref(), &Surroundings::of_this_process()),
    }
}

/// The plan of a model without `instance_group`.
fn default_instances(processors: usize, accelerators: Option<&Accelerators>) -> Vec<String> {
    let none = || Accelerators::None("this build runs no models".to_owned());
    let resources = Resources {
        accelerators: accelerators.cloned().unwrap_or_else(none),
        ..Resources::of_processors(processors)
    };
    let (placements, _) = plan(&[], false, &resources).unwrap_or_default();
    placements.iter().map(ToString::to_string).collect()
}

/// The GPUs that this process may use, by their number, then the machine's other
/// GPUs.
fn gpus(visible: &[DriverGpu], monitored: &[MonitoredGpu]) -> Vec<Gpu> {
    let mut gpus: Vec<Gpu> = visible
        .iter()
        .map(|gpu| {
            let same = monitored.iter().find(|other| gpu.uuid.as_deref() == Some(&other.uuid));
            Gpu {
                cuda: Some(gpu.index),
                name: gpu.name.clone(),
                uuid: gpu.uuid.clone(),
                memory_total_bytes: gpu.memory_total.or_else(|| same?.memory_total),
                memory_free_bytes: same.and_then(|same| same.memory_free),
                compute_capability: gpu.compute_capability.map(|capability| capability.to_string()),
            }
        })
        .collect();
    for gpu in monitored {
        if !visible.iter().any(|other| other.uuid.as_deref() == Some(&gpu.uuid)) {
            gpus.push(Gpu {
                cuda: None,
                name: gpu.name.clone(),
                uuid: Some(gpu.uuid.clone()),
                memory_total_bytes: gpu.memory_total,
                memory_free_bytes: gpu.memory_free,
                compute_capability: None,
            });
        }
    }
    gpus
}

fn not_used(
    problem: Option<&DriverProblem>,
    accelerators: Option<&Accelerators>,
    surroundings: &Surroundings,
) -> Vec<NotUsed> {
    let mut not_used = Vec::new();
    match (accelerators, problem) {
        // The missing driver may be that of another kind of GPU.
        (Some(Accelerators::Found { .. }), _) | (None, None) => {}
        (Some(Accelerators::None(_)) | None, Some(problem)) => {
            not_used.push(advice::on_driver(problem, surroundings));
        }
        (Some(Accelerators::None(reason)), None) => {
            not_used.push(NotUsed { what: "GPU", why: reason.clone(), advice: String::new() });
        }
    }
    if accelerators.is_none() {
        not_used.push(NotUsed {
            what: "libtorch",
            why: "this build has none, so it runs no models".to_owned(),
            advice: "build with the default features".to_owned(),
        });
    }
    not_used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: u32, uuid: &str) -> DriverGpu {
        DriverGpu {
            index,
            name: format!("gpu {index}"),
            uuid: Some(uuid.to_owned()),
            memory_total: Some(80),
            compute_capability: None,
        }
    }

    fn monitored(uuid: &str, free: u64) -> MonitoredGpu {
        MonitoredGpu {
            uuid: uuid.to_owned(),
            name: "monitored".to_owned(),
            memory_total: Some(90),
            memory_free: Some(free),
            ..MonitoredGpu::default()
        }
    }

    /// The driver numbers the fastest first, NVML goes by the bus; and
    /// `CUDA_VISIBLE_DEVICES` hides some from one of them.
    #[test]
    fn gpus_are_joined_by_their_uuid() {
        let found = gpus(
            &[seen(0, "GPU-b"), seen(1, "GPU-c")],
            &[monitored("GPU-a", 1), monitored("GPU-b", 2), monitored("GPU-c", 3)],
        );
        let told: Vec<_> = found
            .iter()
            .map(|gpu| {
                (gpu.cuda, gpu.uuid.as_deref().unwrap(), gpu.memory_total_bytes, gpu.memory_free_bytes)
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some(0), "GPU-b", Some(80), Some(2)),
                (Some(1), "GPU-c", Some(80), Some(3)),
                (None, "GPU-a", Some(90), Some(1)),
            ]
        );
        assert_eq!(gpus(&[seen(0, "GPU-b")], &[])[0].memory_free_bytes, None);
    }

    #[test]
    fn what_is_not_used_is_told_once_with_its_cause() {
        let here = Surroundings::default();
        let none = Accelerators::None("libtorch_cuda.so can't be opened: …".to_owned());
        let missing = not_used(Some(&DriverProblem::NotFound), Some(&none), &here);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].why, "no NVIDIA driver (libcuda.so.1 was not found)");
        let library = not_used(None, Some(&none), &here);
        assert_eq!(library[0].why, "libtorch_cuda.so can't be opened: …");
        for problem in [None, Some(&DriverProblem::NotFound)] {
            assert_eq!(not_used(problem, Some(&Accelerators::cuda(1)), &here), []);
        }
        assert_eq!(not_used(None, None, &here)[0].what, "libtorch");
    }
}
