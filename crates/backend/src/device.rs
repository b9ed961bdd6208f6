//! The devices on which models compute, and their faults.

use std::fmt;

/// The device on which a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// The processors.
    Cpu,
    /// The CUDA device of this number.
    Cuda(u32),
    /// The devices of the model's file: it is read without moving anything, and
    /// its inputs stay on the host.
    AsSaved,
}

impl Device {
    /// Whether only the processors compute. A file's own devices may be any.
    #[must_use]
    pub fn is_host(self) -> bool {
        self == Self::Cpu
    }

    /// The GPU's number; `None` if batches are given in the host's memory.
    #[must_use]
    pub fn gpu(self) -> Option<u32> {
        match self {
            Self::Cuda(index) => Some(index),
            Self::Cpu | Self::AsSaved => None,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
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
        assert_eq!(
            [Device::Cpu, Device::Cuda(1), Device::AsSaved].map(Device::is_host),
            [true, false, false]
        );
        assert_eq!([Device::Cpu, Device::Cuda(1), Device::AsSaved].map(Device::gpu), [None, Some(1), None]);
    }
}
