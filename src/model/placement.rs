//! The machine's resources for models, and the devices of a model's instances.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use clap::builder::PossibleValue;

use crate::device_health::DeviceHealth;
use crate::model_config::{InstanceGroup, InstanceKind};
use cresset_backend::{AcceleratorKind, Accelerators, Device};

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DevicePreference {
    /// A GPU if there is one, else the processors.
    Auto,
    /// The processors, whatever the configuration says.
    Cpu,
    /// A GPU of this kind; without one the server doesn't start.
    Kind(AcceleratorKind),
}

/// By hand, because each kind is a value of its own.
impl clap::ValueEnum for DevicePreference {
    fn value_variants<'a>() -> &'a [Self] {
        static VALUES: LazyLock<Vec<DevicePreference>> = LazyLock::new(|| {
            let kinds = AcceleratorKind::ALL.iter().copied().map(DevicePreference::Kind);
            [DevicePreference::Auto, DevicePreference::Cpu].into_iter().chain(kinds).collect()
        });
        &VALUES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("A GPU if there is one, else the processors"),
            Self::Cpu => PossibleValue::new("cpu").help("The processors, whatever the configuration says"),
            Self::Kind(kind) => PossibleValue::new(kind.name()).help(kind.help()),
        })
    }
}

/// `--device` names a kind of GPU that can't be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--device {kind}: there is no GPU to use: {reason}")]
pub struct NoSuchKind {
    /// As asked for.
    pub kind: AcceleratorKind,
    /// Why there is none.
    pub reason: String,
}

/// The resources for models.
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
    pub health: DeviceHealth,
    /// Whether models on processors are driven as on an accelerator:
    /// [`LoadRequest::overlapped`](cresset_backend::LoadRequest).
    pub overlapped: bool,
    /// Held during a calibration at load, so that models that are loaded
    /// together don't disturb each other's. A calibration runs the model a few
    /// times more, and chooses a plan if the configuration leaves it open.
    /// `None` if there are to be none.
    pub trials: Option<Arc<Mutex<()>>>,
    /// How long instances spin for work before they sleep, as of
    /// [`Policy::spin_before_park`](cresset_scheduler::Policy).
    pub spin_before_park: Duration,
}

impl Resources {
    /// So many processors and no accelerator; nothing is calibrated, and no
    /// instance spins.
    #[must_use]
    pub fn of_processors(processors: usize) -> Self {
        Self {
            processors,
            accelerators: Accelerators::None("none was looked for".to_owned()),
            preference: DevicePreference::Auto,
            health: DeviceHealth::new(),
            overlapped: false,
            trials: None,
            spin_before_park: Duration::ZERO,
        }
    }

    /// The GPUs that models may be placed on, by their numbers.
    #[must_use]
    pub fn gpus(&self) -> Vec<Device> {
        let mut gpus = self.accelerators.devices();
        gpus.retain(|gpu| match (self.preference, gpu) {
            (DevicePreference::Auto, _) => true,
            (DevicePreference::Cpu, _) => false,
            (DevicePreference::Kind(asked), gpu) => gpu.kind() == Some(asked),
        });
        gpus
    }

    /// Whether the kind of GPU that must be used is here.
    ///
    /// # Errors
    /// It isn't.
    pub fn check_preference(&self) -> Result<(), NoSuchKind> {
        let DevicePreference::Kind(asked) = self.preference else { return Ok(()) };
        let reason = match &self.accelerators {
            Accelerators::Found { kind, .. } if *kind == asked => return Ok(()),
            Accelerators::Found { kind, .. } => format!("the GPUs here are of kind {kind}"),
            Accelerators::None(reason) => reason.clone(),
        };
        Err(NoSuchKind { kind: asked, reason })
    }
}

/// Instances of one model on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// What its instances are called; empty for the model's name.
    pub name: String,
    /// The device.
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
            Device::Accelerator(_, gpu) => (InstanceKind::Gpu, vec![gpu]),
            Device::AsSaved => (InstanceKind::Model, Vec::new()),
        };
        InstanceGroup { name: self.name.clone(), count: u32::try_from(self.instances).ok(), kind, gpus }
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_kind_of_gpu_is_a_value_of_device() {
        let values: Vec<String> = DevicePreference::value_variants()
            .iter()
            .filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
            .collect();
        let kinds = AcceleratorKind::ALL.iter().map(|kind| kind.name());
        assert_eq!(values, ["auto", "cpu"].into_iter().chain(kinds).collect::<Vec<_>>());
        for kind in AcceleratorKind::ALL {
            assert_eq!(DevicePreference::from_str(kind.name(), false), Ok(DevicePreference::Kind(*kind)));
        }
    }
}
