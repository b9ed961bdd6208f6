//! Opens a library in another process first, because a failure of its
//! initialisers can't be caught.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::{accelerators, operators};
use cresset_clock as clock;

/// The command that calls [`run`].
pub(super) const COMMAND: &str = "try-libraries";
const WITH_TORCHVISION: &str = "--torchvision";

/// Longer than any library takes to register operators.
const LONGEST: Duration = Duration::from_secs(60);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Makes libraries of operators be tried in another process before they are
/// opened in this one. This program is started with `try-libraries` and the
/// arguments of [`run`].
pub fn try_with(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Opens `library` after the libraries that are open already, in another
/// process.
pub(super) fn try_to_open(before: &[&Path], torchvision: bool, library: &Path) -> Result<(), String> {
    let Some(program) = PROGRAM.get() else { return Ok(()) };
    let mut command = Command::new(program);
    command.arg(COMMAND);
    if torchvision {
        command.arg(WITH_TORCHVISION);
    }
    command.args(before).arg(library).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |error: std::io::Error| format!("no process to try it in: {error}");
    let mut child = command.spawn().map_err(failed)?;
    let Some(status) = wait(&mut child).map_err(failed)? else {
        return Err(format!("it took more than {} s to initialise", LONGEST.as_secs()));
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Its child processes may hold the pipe open: what has arrived by now
        // is enough.
        let _ = stderr.take(1 << 16).read_to_end(&mut said);
    }
    Err(told(status, &String::from_utf8_lossy(&said)))
}

/// The exit status of a process, or `None` if it took too long and was killed.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let began = clock::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::now() - began > LONGEST {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The error, from the exit status and the output of the process.
fn told(status: ExitStatus, said: &str) -> String {
    if let Some(ours) = said.lines().find_map(|line| line.strip_prefix("cresset: ")) {
        return ours.to_owned();
    }
    let last = said.lines().rfind(|line| !line.trim().is_empty()).map_or("it said nothing", str::trim);
    format!("its initialisers end the process ({status}): {last}")
}

/// The other process's part: opens torchvision's operators, if asked for, and
/// the libraries in their order.
///
/// # Errors
/// The loader's message about the first library that can't be opened.
pub fn run(torchvision: bool, libraries: &[PathBuf]) -> Result<(), String> {
    let accelerators = accelerators::open();
    if torchvision {
        operators::open_torchvision(&accelerators)?;
    }
    libraries.iter().try_for_each(|library| operators::open_here(library, &accelerators))
}
