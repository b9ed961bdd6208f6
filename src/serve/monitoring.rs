//! Readings of devices for the metrics: NVML's, and the backend's own memory.

use std::collections::HashSet;
use std::sync::Arc;

use crate::metrics::{self, AllocatorReading, DeviceReadings, GpuReading};
use cresset_backend::Backend;
use cresset_nvidia::{Driver, Monitor, MonitoredGpu};

/// Makes the metrics show the GPUs that this process may use, if NVML is
/// installed, and the memory that the backend holds on each device.
pub(super) fn devices(backend: Arc<dyn Backend>) {
    let monitor = match Monitor::open() {
        Ok(monitor) => Some(monitor),
        Err(why) => {
            tracing::debug!("the metrics have no nv_gpu_*: {why}");
            None
        }
    };
    let visible: HashSet<String> = Driver::open()
        .map(|driver| driver.gpus().into_iter().filter_map(|gpu| gpu.uuid).collect())
        .unwrap_or_default();
    metrics::watch_devices(move || {
        let monitored = monitor.as_ref().map(Monitor::gpus).unwrap_or_default();
        readings(monitored, &visible, backend.as_ref())
    });
}

fn readings(
    monitored: Vec<MonitoredGpu>,
    visible: &HashSet<String>,
    backend: &dyn Backend,
) -> DeviceReadings {
    // If no name matches (a MIG slice has a name of its own), all are shown.
    let known = monitored.iter().any(|gpu| visible.contains(&gpu.uuid));
    let shown = monitored.into_iter().filter(|gpu| !known || visible.contains(&gpu.uuid));
    let allocator = |memory: cresset_backend::DeviceMemory| AllocatorReading {
        device: memory.device.to_string(),
        allocated: memory.allocated,
        reserved: memory.reserved,
    };
    DeviceReadings {
        gpus: shown.map(reading).collect(),
        allocators: backend.device_memory().into_iter().map(allocator).collect(),
    }
}

fn reading(gpu: MonitoredGpu) -> GpuReading {
    GpuReading {
        uuid: gpu.uuid,
        memory_total: gpu.memory_total,
        memory_used: gpu.memory_used,
        utilization: gpu.utilization,
        power_usage: gpu.power_usage,
        power_limit: gpu.power_limit,
        energy: gpu.energy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};
    use cresset_backend::{Device, DeviceMemory};

    fn gpu(uuid: &str) -> MonitoredGpu {
        MonitoredGpu { uuid: uuid.to_owned(), power_usage: Some(70.0), ..MonitoredGpu::default() }
    }

    fn shown(visible: &[&str]) -> Vec<String> {
        let visible = visible.iter().map(|uuid| (*uuid).to_owned()).collect();
        let backend = MockBackend::new(Behaviour::Identity, &["x"]);
        let read = readings(vec![gpu("GPU-a"), gpu("GPU-b")], &visible, &backend);
        assert!(read.gpus.iter().all(|gpu| gpu.power_usage == Some(70.0)));
        assert_eq!(read.allocators, []);
        read.gpus.into_iter().map(|gpu| gpu.uuid).collect()
    }

    #[test]
    fn gpus_that_are_hidden_from_the_process_are_no_metrics_of_it() {
        assert_eq!(shown(&["GPU-b"]), ["GPU-b"]);
        assert_eq!(shown(&[]), ["GPU-a", "GPU-b"]);
        assert_eq!(shown(&["GPU-of-a-slice"]), ["GPU-a", "GPU-b"]);
    }

    #[test]
    fn a_backends_memory_is_in_the_metrics() {
        let memory = DeviceMemory { device: Device::cuda(1), allocated: 1 << 30, reserved: 3 << 30 };
        let backend = MockBackend::new(Behaviour::Identity, &["x"]).with_device_memory(&[memory]);
        devices(Arc::new(backend));
        let text = String::from_utf8(metrics::render()).unwrap();
        for line in [
            r#"cresset_device_memory_allocated_bytes{device="cuda:1"} 1073741824"#,
            r#"cresset_device_memory_reserved_bytes{device="cuda:1"} 3221225472"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
