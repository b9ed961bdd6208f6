//! Generations of GPUs.

use std::fmt;

/// The generation of a CUDA device, in NVIDIA's numbering: 8.0 for an A100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u32,
    /// After the point.
    pub minor: u32,
}

impl ComputeCapability {
    /// Reads `8.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().ok() } else { None }
        };
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_two_numbers_and_a_point() {
        let read = |text| ComputeCapability::parse(text).map(|read| read.to_string());
        for text in ["7.5", "8.0", "12.1"] {
            assert_eq!(read(text).as_deref(), Some(text));
        }
        for text in ["", "8", "8.", ".0", "8.0.1", "+8.0", "8.-1", " 8.0", "sm_80", "99999999999.0"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
