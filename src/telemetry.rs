//! The log.

mod settings;

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use once_cell::sync::OnceCell;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

pub use settings::{Setting, ShownSettings, change_traces, traces};

use crate::error::{Error, Result};
use crate::settings::{LogFormat, LogSettings};

/// The levels of the log, as Triton's flags and calls set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLevels {
    /// From 1 on, details for a developer are logged.
    pub(crate) verbose: u32,
    pub(crate) info: bool,
    pub(crate) warning: bool,
    pub(crate) error: bool,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { verbose: 0, info: true, warning: true, error: true }
    }
}

impl LogLevels {
    /// The levels of `--log`, if it is a level and no filter by module.
    fn of(filter: &str) -> Self {
        let off = Self { verbose: 0, info: false, warning: false, error: false };
        match filter.to_lowercase().as_str() {
            "off" => off,
            "error" => Self { error: true, ..off },
            "warn" => Self { error: true, warning: true, ..off },
            "debug" | "trace" => Self { verbose: 1, ..Self::default() },
            _ => Self::default(),
        }
    }

    /// The value of `--log` for these levels.
    pub(crate) fn filter(self) -> &'static str {
        match self {
            Self { verbose: 1.., .. } => "debug",
            Self { info: true, .. } => "info",
            Self { warning: true, .. } => "warn",
            Self { error: true, .. } => "error",
            Self { .. } => "off",
        }
    }
}

/// The running log.
struct RunningLog {
    levels: Mutex<LogLevels>,
    /// The path as the operator gave it; empty for standard error.
    file: String,
    /// Replaces the filter.
    refilter: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
}

static RUNNING: OnceCell<RunningLog> = OnceCell::new();

/// The log's settings, by Triton's names.
#[must_use]
pub fn shown() -> ShownSettings {
    match RUNNING.get() {
        Some(running) => {
            let levels = *running.levels.lock().unwrap_or_else(PoisonError::into_inner);
            settings::shown(levels, &running.file)
        }
        None => settings::shown(LogLevels::default(), ""),
    }
}

/// Changes the log's settings.
///
/// # Errors
/// If a setting doesn't exist, or can't be changed while the server runs.
pub fn change(wanted: &ShownSettings) -> Result<()> {
    let Some(running) = RUNNING.get() else { return Err(Error::unavailable("there is no log")) };
    let mut levels = running.levels.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = settings::changed(*levels, &running.file, wanted).map_err(Error::invalid)?;
    if changed != *levels {
        let filter = filter(changed.filter()).map_err(|error| Error::internal(error.to_string()))?;
        if !(running.refilter)(filter) {
            return Err(Error::internal("the log takes no other filter"));
        }
        *levels = changed;
        tracing::info!("a client changed the log's level: '{}'", changed.filter());
    }
    Ok(())
}

fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    // Lines of the web framework don't concern an operator. Its errors are about
    // requests that aren't HTTP, which a client can send as often as it likes. A
    // filter that names the module turns them on.
    EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{directives}"))
        .map_err(|error| anyhow::anyhow!("--log '{directives}' can't be read: {error}"))
}

/// Starts the log: to standard error or a file, in this format and from this
/// level on.
///
/// # Errors
/// If the filter can't be read, the file can't be written, or the log was started
/// before.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = filter(&settings.log)?;
    // An empty path counts as not set: compose files write it so.
    let file = settings.log_file.as_deref().filter(|file| !file.as_os_str().is_empty());
    let writer = match file {
        Some(path) => BoxMakeWriter::new(Mutex::new(open(path)?)),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(file.is_none() && std::io::stderr().is_terminal());
    let (started, refilter): (_, Box<dyn Fn(EnvFilter) -> bool + Send + Sync>) = match settings.log_format {
        LogFormat::Human => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            (log.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            (log.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    };
    started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))?;
    let file = file.map_or_else(String::new, |file| file.display().to_string());
    let levels = Mutex::new(LogLevels::of(&settings.log));
    // It can't be set already: the line above fails the second time.
    _ = RUNNING.set(RunningLog { levels, file, refilter });
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|error| anyhow::anyhow!("--log-file {}: {error}", path.display()))
}
