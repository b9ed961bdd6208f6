//! NVML: the state of a machine's GPUs, for people and for metrics.

use std::ffi::OsStr;

use nvml_wrapper::{Nvml, error::NvmlError};

/// The name in containers; the name without a number comes only with
/// developers' packages.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// NVML, started.
#[derive(Debug)]
pub struct Monitor(Nvml);

/// A GPU in NVML. A fact that a device doesn't report is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MonitoredGpu {
    /// `GPU-…`, the same in every tool.
    pub uuid: String,
    /// Its product name.
    pub name: String,
    /// In bytes.
    pub memory_total: Option<u64>,
    /// In bytes, by all processes.
    pub memory_used: Option<u64>,
    /// In bytes.
    pub memory_free: Option<u64>,
    /// The part of the last sample period in which a kernel ran, from 0 to 1.
    pub utilization: Option<f64>,
    /// In watts.
    pub power_usage: Option<f64>,
    /// In watts.
    pub power_limit: Option<f64>,
    /// In joules, since the driver was loaded.
    pub energy: Option<f64>,
}

impl Monitor {
    /// Opens and starts it.
    ///
    /// # Errors
    /// Why it doesn't exist or doesn't start.
    pub fn open() -> Result<Self, String> {
        match Nvml::builder().lib_path(OsStr::new(LIBRARY)).init() {
            Ok(nvml) => Ok(Self(nvml)),
            Err(NvmlError::LibloadingError(why)) => Err(format!("{LIBRARY} can't be opened: {why}")),
            Err(why) => Err(format!("NVML doesn't start: {why}")),
        }
    }

    /// The driver's version: `580.65.06`.
    #[must_use]
    pub fn driver_version(&self) -> Option<String> {
        self.0.sys_driver_version().ok()
    }

    /// All GPUs of the machine, or of the container, in the order of the bus. A
    /// GPU that has fallen off the bus is left out.
    #[must_use]
    pub fn gpus(&self) -> Vec<MonitoredGpu> {
        let count = self.0.device_count().unwrap_or(0);
        (0..count).filter_map(|index| self.gpu(index)).collect()
    }

    fn gpu(&self, index: u32) -> Option<MonitoredGpu> {
        let device = self.0.device_by_index(index).ok()?;
        let memory = device.memory_info().ok();
        let milli = |value: u32| f64::from(value) / 1e3;
        #[allow(clippy::cast_precision_loss)]
        let joules = |millijoules: u64| millijoules as f64 / 1e3;
        Some(MonitoredGpu {
            uuid: device.uuid().ok()?,
            name: device.name().unwrap_or_default(),
            memory_total: memory.as_ref().map(|memory| memory.total),
            memory_used: memory.as_ref().map(|memory| memory.used),
            memory_free: memory.as_ref().map(|memory| memory.free),
            utilization: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
            power_usage: device.power_usage().ok().map(milli),
            power_limit: device.enforced_power_limit().ok().map(milli),
            energy: device.total_energy_consumption().ok().map(joules),
        })
    }
}
