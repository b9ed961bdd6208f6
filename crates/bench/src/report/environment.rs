//! Where and when a run was made.

use serde::Serialize;

use cresset_clock as clock;

/// The generator's machine and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// `cresset 0.1.0`.
    pub generator: String,
    /// The processors' model; empty if the system doesn't tell.
    pub processor: String,
    /// How many the generator may use.
    pub processors: usize,
    /// The system and its kernel: `linux 6.1.0`.
    pub system: String,
    /// When the run began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// The same for a person: `2026-01-31T12:00:00Z`.
    pub began: String,
}

impl Environment {
    pub(super) fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let began_unix_ms = clock::unix_millis();
        let began = std::time::UNIX_EPOCH + std::time::Duration::from_millis(began_unix_ms);
        Self {
            generator: concat!("cresset ", env!("CARGO_PKG_VERSION")).to_owned(),
            processor: model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            began_unix_ms,
            began: humantime::format_rfc3339_seconds(began).to_string(),
        }
    }
}
