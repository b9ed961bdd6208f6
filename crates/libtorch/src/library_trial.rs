//! A library opened in another process first, because nothing catches what
//! its initialisers do.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::{cuda, operators};
use cresset_clock as clock;

/// The command that [`run`] stands behind.
pub(super) const COMMAND: &str = "try-libraries";
const WITH_TORCHVISION: &str = "--torchvision";

/// Longer than any library takes to register operators.
const LONGEST: Duration = Duration::from_secs(60);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// From now on libraries of operators are tried in another process before they
/// are opened in this one: this program is started with `try-libraries` and
/// what [`run`] takes.
pub fn try_with(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// Opens `library` behind what is open already, in another process.
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
        // Its children may hold the pipe: what is there by now is enough.
        let _ = stderr.take(1 << 16).read_to_end(&mut said);
    }
    Err(told(status, &String::from_utf8_lossy(&said)))
}

/// The end of a process, or `None` when it took too long and was ended.
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

/// What went wrong, from what the process left behind.
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
/// What the loader says of the first that can't be opened.
pub fn run(torchvision: bool, libraries: &[PathBuf]) -> Result<(), String> {
    let accelerators = cuda::open();
    if torchvision {
        operators::open_torchvision(&accelerators)?;
    }
    libraries.iter().try_for_each(|library| operators::open_here(library, &accelerators))
}
