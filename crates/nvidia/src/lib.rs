//! NVIDIA's GPUs, as reported by the driver's libraries, which are opened if
//! they exist: `libcuda` for the GPUs that a process may use, NVML for their
//! state.

mod capability;
pub mod dl;
mod driver;
mod monitor;

pub use capability::ComputeCapability;
pub use driver::{Driver, DriverGpu, DriverProblem};
pub use monitor::{Monitor, MonitoredGpu};

/// `GPU-` and sixteen bytes in hexadecimal, grouped like a UUID: the identifier
/// of a GPU in all of NVIDIA's tools.
#[must_use]
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    format!("GPU-{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_as_in_nvidias_tools() {
        let bytes: [u8; 16] = std::array::from_fn(|index| u8::try_from(index * 17).unwrap());
        assert_eq!(uuid_text(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
