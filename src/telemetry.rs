//! The log.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::settings::{LogFormat, LogSettings};

/// Sends the log to standard error or a file, in the form and the detail asked
/// for.
///
/// # Errors
/// A filter that can't be read, a file that can't be written, or a second call.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    // The web framework's own news is no operator's, and its errors are of
    // requests that aren't HTTP, which a client sends as often as it likes.
    // Who wants them names them.
    let filter = EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{}", settings.log))
        .map_err(|error| anyhow::anyhow!("--log '{}' can't be read: {error}", settings.log))?;
    // An empty one is how compose files say that it isn't set.
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
    let started = match settings.log_format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))
}

fn open(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.map_err(|error| anyhow::anyhow!("--log-file {}: {error}", path.display()))
}
