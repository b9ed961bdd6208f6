//! Metrics of devices. They are read when a scraper asks for the metrics, at most
//! once a second, however many scrapers there are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{CounterVec, GaugeVec, Opts, Registry};

use super::register::register;

/// Readings are at least this far apart.
const PACE: Duration = Duration::from_secs(1);

/// One reading of all devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceReadings {
    /// The GPUs themselves, whichever process uses them.
    pub gpus: Vec<GpuReading>,
    /// The memory that this process holds on each device.
    pub allocators: Vec<AllocatorReading>,
}

/// The readings of a GPU; `None` for one that it doesn't offer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// Its label.
    pub uuid: String,
    /// In bytes.
    pub memory_total: Option<u64>,
    /// In bytes.
    pub memory_used: Option<u64>,
    /// From 0 to 1.
    pub utilization: Option<f64>,
    /// In watts.
    pub power_usage: Option<f64>,
    /// In watts.
    pub power_limit: Option<f64>,
    /// In joules, from an arbitrary start.
    pub energy: Option<f64>,
}

/// A device's memory in the allocator of the library that computes, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocatorReading {
    /// Its label: `cuda:0`.
    pub device: String,
    /// In tensors.
    pub allocated: u64,
    /// Taken from the device.
    pub reserved: u64,
}

/// What devices are doing; those of NVML by Triton's names.
pub(super) struct DeviceFamilies {
    pub(super) memory_total: GaugeVec,
    pub(super) memory_used: GaugeVec,
    pub(super) utilization: GaugeVec,
    pub(super) power_usage: GaugeVec,
    pub(super) power_limit: GaugeVec,
    pub(super) energy: CounterVec,
    pub(super) allocated: GaugeVec,
    pub(super) reserved: GaugeVec,
}

impl DeviceFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        const GPU: [&str; 1] = ["gpu_uuid"];
        const DEVICE: [&str; 1] = ["device"];
        let readings = |name: &str, help: &str, labels: &[&str]| {
            register(r, GaugeVec::new(Opts::new(name, help), labels))
        };
        Self {
            memory_total: readings("nv_gpu_memory_total_bytes", "memory of the GPU, in bytes", &GPU),
            memory_used: readings("nv_gpu_memory_used_bytes", "of it, what all processes use", &GPU),
            utilization: readings("nv_gpu_utilization", "how busy the GPU is, from 0 to 1", &GPU),
            power_usage: readings("nv_gpu_power_usage", "what the GPU draws, in watts", &GPU),
            power_limit: readings("nv_gpu_power_limit", "what it may draw, in watts", &GPU),
            energy: register(
                r,
                CounterVec::new(
                    Opts::new("nv_energy_consumption", "energy since the server started, in joules"),
                    &GPU,
                ),
            ),
            allocated: readings(
                "cresset_device_memory_allocated_bytes",
                "bytes of the device that tensors are in",
                &DEVICE,
            ),
            reserved: readings(
                "cresset_device_memory_reserved_bytes",
                "bytes taken from the device: in tensors, or kept for the next ones",
                &DEVICE,
            ),
        }
    }
}

/// The gauges, and what fills them.
pub(super) struct Devices {
    families: DeviceFamilies,
    watch: Mutex<Option<Watcher>>,
}

/// A source of readings, and its last reading.
pub(super) struct Watcher {
    source: Box<dyn Fn() -> DeviceReadings + Send>,
    read: Option<Instant>,
    /// The last energy of each GPU: the counter adds up differences.
    energy: HashMap<String, f64>,
}

impl Watcher {
    pub(super) fn new(source: impl Fn() -> DeviceReadings + Send + 'static) -> Self {
        Self { source: Box::new(source), read: None, energy: HashMap::new() }
    }
}

impl Devices {
    pub(super) fn new(families: DeviceFamilies) -> Self {
        Self { families, watch: Mutex::default() }
    }

    /// Reads at once, so that energy counts from here on.
    pub(super) fn watch(&self, mut watch: Watcher) {
        let first = (watch.source)();
        watch.energy = first.gpus.iter().filter_map(|gpu| Some((gpu.uuid.clone(), gpu.energy?))).collect();
        *self.lock() = Some(watch);
    }

    /// Reads again, unless the last reading is less than a second old.
    pub(super) fn refresh(&self, now: Instant) {
        // Held while reading, so that scrapers that come meanwhile share the reading.
        let mut watch = self.lock();
        let Some(watch) = watch.as_mut() else { return };
        if watch.read.is_some_and(|read| now.saturating_duration_since(read) < PACE) {
            return;
        }
        watch.read = Some(now);
        let readings = (watch.source)();
        for gpu in &readings.gpus {
            self.show_gpu(gpu, &mut watch.energy);
        }
        let families = &self.families;
        for AllocatorReading { device, allocated, reserved } in &readings.allocators {
            show(&families.allocated, device, Some(bytes(*allocated)));
            show(&families.reserved, device, Some(bytes(*reserved)));
        }
    }

    fn show_gpu(&self, gpu: &GpuReading, energy: &mut HashMap<String, f64>) {
        let families = &self.families;
        show(&families.memory_total, &gpu.uuid, gpu.memory_total.map(bytes));
        show(&families.memory_used, &gpu.uuid, gpu.memory_used.map(bytes));
        show(&families.utilization, &gpu.uuid, gpu.utilization);
        show(&families.power_usage, &gpu.uuid, gpu.power_usage);
        show(&families.power_limit, &gpu.uuid, gpu.power_limit);
        if let Some(now) = gpu.energy {
            let before = energy.insert(gpu.uuid.clone(), now).unwrap_or(now);
            // After the driver was loaded again, it counts from zero.
            families.energy.with_label_values(&[&gpu.uuid]).inc_by((now - before).max(0.0));
        }
    }

    /// If a source panicked, the next scrape reads anew.
    fn lock(&self) -> MutexGuard<'_, Option<Watcher>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device without a present reading shows nothing, rather than its last one.
fn show(family: &GaugeVec, label: &str, value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(&[label]).set(value),
        None => {
            let _ = family.remove_label_values(&[label]);
        }
    }
}

/// Exact up to 8 PiB.
#[allow(clippy::cast_precision_loss)]
fn bytes(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::*;
    use cresset_clock as clock;

    fn text(registry: &Registry) -> Vec<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// A GPU that is busier with every reading, and at the third tells less.
    fn busier(count: u32) -> DeviceReadings {
        let gpu = GpuReading {
            uuid: "GPU-a".to_owned(),
            memory_total: Some(85_899_345_920),
            memory_used: Some(1_000 * u64::from(count)),
            utilization: (count < 3).then_some(0.25 * f64::from(count)),
            power_usage: Some(100.5),
            power_limit: Some(700.0),
            energy: Some(5_000.0 + 10.0 * f64::from(count)),
        };
        let memory = AllocatorReading {
            device: "cuda:0".to_owned(),
            allocated: u64::from(count),
            reserved: 2 * u64::from(count),
        };
        DeviceReadings { gpus: vec![gpu], allocators: vec![memory] }
    }

    #[test]
    fn a_scrape_shows_one_reading_a_second_under_tritons_names() {
        let registry = Registry::new();
        let devices = Devices::new(DeviceFamilies::new(&registry));
        let now = clock::now();
        devices.refresh(now);
        assert_eq!(text(&registry), [""; 0], "nothing is watched yet");

        let count = Arc::new(AtomicU32::new(0));
        let readings = Arc::clone(&count);
        // Energy counts from the first reading, number 0.
        devices.watch(Watcher::new(move || busier(readings.fetch_add(1, Ordering::Relaxed))));
        let first = [
            r#"cresset_device_memory_allocated_bytes{device="cuda:0"} 1"#,
            r#"cresset_device_memory_reserved_bytes{device="cuda:0"} 2"#,
            r#"nv_energy_consumption{gpu_uuid="GPU-a"} 10"#,
            r#"nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 85899345920"#,
            r#"nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 1000"#,
            r#"nv_gpu_power_limit{gpu_uuid="GPU-a"} 700"#,
            r#"nv_gpu_power_usage{gpu_uuid="GPU-a"} 100.5"#,
            r#"nv_gpu_utilization{gpu_uuid="GPU-a"} 0.25"#,
        ];
        for after in [0, 1, 500, 999] {
            devices.refresh(now + Duration::from_millis(after));
            assert_eq!(text(&registry), first, "{after} ms");
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);

        devices.refresh(now + Duration::from_secs(1));
        assert!(text(&registry).contains(&r#"nv_gpu_utilization{gpu_uuid="GPU-a"} 0.5"#.to_owned()));
        devices.refresh(now + Duration::from_secs(2));
        let third = text(&registry);
        assert!(third.contains(&r#"nv_energy_consumption{gpu_uuid="GPU-a"} 30"#.to_owned()), "{third:?}");
        assert!(!third.iter().any(|line| line.starts_with("nv_gpu_utilization")), "{third:?}");
    }

    #[test]
    fn energy_never_counts_down() {
        let registry = Registry::new();
        let devices = Devices::new(DeviceFamilies::new(&registry));
        let energies = Mutex::new(vec![7.0, 3.0, 100.0]);
        devices.watch(Watcher::new(move || {
            let energy = energies.lock().unwrap().pop();
            let gpu = GpuReading { uuid: "GPU-a".to_owned(), energy, ..GpuReading::default() };
            DeviceReadings { gpus: vec![gpu], allocators: Vec::new() }
        }));
        let now = clock::now();
        devices.refresh(now);
        assert_eq!(text(&registry), [r#"nv_energy_consumption{gpu_uuid="GPU-a"} 0"#]);
        devices.refresh(now + PACE);
        assert_eq!(text(&registry), [r#"nv_energy_consumption{gpu_uuid="GPU-a"} 4"#]);
    }
}
