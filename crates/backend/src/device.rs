//! The devices on which models compute, and their faults.

use std::fmt;

/// A kind of device beside the processors. This enum and its methods are all
/// that the server knows about a kind; a backend knows how to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AcceleratorKind {
    /// NVIDIA's GPUs, by CUDA.
    Cuda,
}

impl AcceleratorKind {
    /// Every kind, in the order in which they are looked for.
    pub const ALL: &'static [Self] = &[Self::Cuda];

    /// As torch writes it, in `cuda:0`, and as `--device` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
        }
    }

    /// As sentences write it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
        }
    }

    /// The titles of all kinds: `CUDA or XPU`.
    #[must_use]
    pub fn titles() -> String {
        Self::ALL.iter().map(|kind| kind.title()).collect::<Vec<_>>().join(" or ")
    }

    /// What `--help` says about it as a value of `--device`.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Cuda => "A GPU; without one the server doesn't start",
        }
    }

    /// Whether FP32 operands may be rounded to TF32 on it.
    #[must_use]
    pub const fn has_tf32(self) -> bool {
        match self {
            Self::Cuda => true,
        }
    }
}

impl fmt::Display for AcceleratorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The result of a search for accelerators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerators {
    /// So many devices of one kind, numbered from zero.
    Found {
        /// Their kind.
        kind: AcceleratorKind,
        /// At least one.
        count: u32,
    },
    /// None, and why not: `no NVIDIA driver (libcuda.so.1 was not found)`.
    None(String),
}

impl Accelerators {
    /// So many CUDA devices.
    #[must_use]
    pub const fn cuda(count: u32) -> Self {
        Self::Found { kind: AcceleratorKind::Cuda, count }
    }

    /// Each of them, by its number.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        match *self {
            Self::Found { kind, count } => (0..count).map(|index| Device::Accelerator(kind, index)).collect(),
            Self::None(_) => Vec::new(),
        }
    }
}

/// The device on which a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// The processors.
    Cpu,
    /// The device of this kind and number.
    Accelerator(AcceleratorKind, u32),
    /// The devices of the model's file: it is read without moving anything, and
    /// its inputs stay on the host.
    AsSaved,
}

impl Device {
    /// The CUDA device of this number.
    #[must_use]
    pub const fn cuda(index: u32) -> Self {
        Self::Accelerator(AcceleratorKind::Cuda, index)
    }

    /// Whether only the processors compute. A file's own devices may be any.
    #[must_use]
    pub fn is_host(self) -> bool {
        self == Self::Cpu
    }

    /// The kind of an accelerator.
    #[must_use]
    pub fn kind(self) -> Option<AcceleratorKind> {
        match self {
            Self::Accelerator(kind, _) => Some(kind),
            Self::Cpu | Self::AsSaved => None,
        }
    }

    /// Whether batches are copied to it. To the processors, and to a file that
    /// places itself, they are given in the host's memory.
    #[must_use]
    pub fn is_accelerator(self) -> bool {
        self.kind().is_some()
    }

    /// Whether FP32 operands may be rounded to TF32 on it. A file's own devices
    /// may be any.
    #[must_use]
    pub fn has_tf32(self) -> bool {
        match self {
            Self::Cpu => false,
            Self::Accelerator(kind, _) => kind.has_tf32(),
            Self::AsSaved => true,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Accelerator(kind, index) => write!(f, "{kind}:{index}"),
            Self::AsSaved => f.write_str("as saved"),
        }
    }
}

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// An assertion in a kernel, usually an index out of range.
    Assert,
    /// A kernel accessed memory that it may not access.
    IllegalAddress,
    /// Another fault from which only a new process recovers.
    Lost,
    /// It never existed, or doesn't support the request; nothing is broken.
    Unavailable,
}

impl DeviceFault {
    /// Whether the process can't use the device again.
    #[must_use]
    pub fn poisons(self) -> bool {
        match self {
            Self::Assert | Self::IllegalAddress | Self::Lost => true,
            Self::Unavailable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told_from_what_may_be_elsewhere() {
        let devices = [Device::Cpu, Device::cuda(1), Device::AsSaved];
        assert_eq!(devices.map(Device::is_host), [true, false, false]);
        assert_eq!(devices.map(Device::is_accelerator), [false, true, false]);
        assert_eq!(devices.map(Device::has_tf32), [false, true, true]);
    }

    #[test]
    fn devices_are_written_as_torch_writes_them() {
        let two = Accelerators::cuda(2).devices();
        assert_eq!(two.iter().map(ToString::to_string).collect::<Vec<_>>(), ["cuda:0", "cuda:1"]);
        assert_eq!(Device::Cpu.to_string(), "cpu");
        assert_eq!(Accelerators::None("no driver".to_owned()).devices(), []);
    }

    #[test]
    fn a_kinds_name_is_its_own() {
        let names: std::collections::BTreeSet<_> =
            AcceleratorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), AcceleratorKind::ALL.len());
        assert!(!names.contains("cpu") && !names.contains("auto"), "values of --device");
        assert_eq!(AcceleratorKind::titles(), "CUDA");
    }
}
