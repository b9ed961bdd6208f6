//! The machine's resources for models, and the devices of a model's instances.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::device_health::DeviceHealth;
use crate::model_config::{InstanceGroup, InstanceKind};
use cresset_backend::{Accelerators, Device};

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DevicePreference {
    /// A GPU if there is one, else the processors.
    Auto,
    /// The processors, whatever the configuration says.
    Cpu,
    /// A GPU; without one the server doesn't start.
    Cuda,
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

    /// How many GPUs models may be placed on.
    pub(super) fn gpus(&self) -> u32 {
        match (self.preference, &self.accelerators) {
            (DevicePreference::Auto | DevicePreference::Cuda, Accelerators::Cuda(count)) => *count,
            (DevicePreference::Cpu, Accelerators::Cuda(_)) | (_, Accelerators::None(_)) => 0,
        }
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
            Device::Cuda(gpu) => (InstanceKind::Gpu, vec![gpu]),
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
