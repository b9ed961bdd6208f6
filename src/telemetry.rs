//! The log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Sends the log to standard error, in the form and the detail asked for.
///
/// # Errors
/// A filter that can't be read, or a second call.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    // The web framework's own news is no operator's, and its errors are of
    // requests that aren't HTTP, which a client sends as often as it likes.
    // Who wants them names them.
    let filter = EnvFilter::try_new(format!("actix_server=warn,actix_http=off,{}", settings.log))
        .map_err(|error| anyhow::anyhow!("--log '{}' can't be read: {error}", settings.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match settings.log_format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log can't be started: {error}"))
}
