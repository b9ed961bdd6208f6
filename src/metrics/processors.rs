//! Metrics of the machine's processors and memory, by Triton's names. They are read
//! when a scraper asks for the metrics.

use std::sync::{Mutex, PoisonError};

use prometheus::{Gauge, Registry};

use super::register::register;

/// The gauges, and the times of the last reading.
pub(super) struct ProcessorGauges {
    utilization: Gauge,
    memory_total: Gauge,
    memory_used: Gauge,
    last: Mutex<Times>,
}

/// The time of all processors since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
}

impl ProcessorGauges {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name, help| register(registry, Gauge::new(name, help));
        Self {
            utilization: gauge(
                "nv_cpu_utilization",
                "how busy the machine's processors were since the last reading, from 0 to 1",
            ),
            memory_total: gauge("nv_cpu_memory_total_bytes", "memory of the machine, in bytes"),
            memory_used: gauge(
                "nv_cpu_memory_used_bytes",
                "memory in use: not available to new work, in bytes",
            ),
            last: Mutex::default(),
        }
    }

    /// Reads anew; a value that can't be read stays as it was.
    pub(super) fn refresh(&self) {
        let read = |file| std::fs::read_to_string(file).ok();
        if let Some(now) = read("/proc/stat").as_deref().and_then(times) {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(busy) = busy(*last, now) {
                self.utilization.set(busy);
                *last = now;
            }
        }
        if let Some((total, available)) = read("/proc/meminfo").as_deref().and_then(memory) {
            self.memory_total.set(total);
            self.memory_used.set((total - available).max(0.0));
        }
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq,
/// softirq, steal. The time of guests is part of user.
fn times(stat: &str) -> Option<Times> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|ticks| ticks.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some(Times { idle, all: ticks.iter().sum() })
}

/// The share of time between two readings that wasn't idle; `None` if no tick
/// passed.
fn busy(last: Times, now: Times) -> Option<f64> {
    let all = now.all.checked_sub(last.all).filter(|all| *all > 0)?;
    let idle = now.idle.saturating_sub(last.idle).min(all);
    Some((all - idle) as f64 / all as f64)
}

/// The machine's memory and its available part, in bytes.
fn memory(meminfo: &str) -> Option<(f64, f64)> {
    let kilobytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    Some((kilobytes("MemTotal:")? * 1024.0, kilobytes("MemAvailable:")? * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let stat = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(times(stat), Some(Times { idle: 850, all: 1000 }));
        assert_eq!(times("intr 1 2"), None);
        let later = Times { idle: 1600, all: 2000 };
        assert_eq!(busy(Times { idle: 850, all: 1000 }, later), Some(0.25));
        assert_eq!(busy(later, later), None);
        let meminfo = "MemTotal:       24 kB\nMemFree: 1 kB\nMemAvailable:   6 kB\n";
        assert_eq!(memory(meminfo), Some((24576.0, 6144.0)));
        assert_eq!(memory(""), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let registry = Registry::new();
        let processors = ProcessorGauges::new(&registry);
        processors.refresh();
        let total = processors.memory_total.get();
        assert!(total > 0.0 && (0.0..total).contains(&processors.memory_used.get()));
        assert!((0.0..=1.0).contains(&processors.utilization.get()));
    }
}
