//! Where models compute, and what may happen there.

use std::fmt;

/// Where a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// The processors.
    Cpu,
    /// The CUDA device of this number.
    Cuda(u32),
    /// Where the model's file says: it is read without moving anything, and
    /// its inputs stay on the host.
    AsSaved,
}

impl Device {
    /// Whether the processors compute, and nothing else does. What a file says
    /// by itself may be anything.
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
    /// An assertion in a kernel: an index out of range, mostly.
    Assert,
    /// A kernel read or wrote where it may not.
    IllegalAddress,
    /// Anything else that only a new process recovers from.
    Lost,
    /// It was never there, or doesn't do what is asked for; nothing is broken.
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
