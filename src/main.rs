//! `cresset`: parses the command line, calls the library, and maps an error to an
//! exit code.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use cresset::cli::{Cli, Command, TryLibraries};
use cresset::settings::{LogFormat, ServeSettings};
use cresset::{command_line, devices, inspect, serve, shutdown, telemetry};
use cresset_backend::{Backend, MemorySettings};
use cresset_bench as bench;

/// Requests allocate many small blocks on several threads. Tensors don't use this
/// allocator: libtorch takes their memory from the C library.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for a wrong command line, the same as the parser's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let given = match command_line::read(std::env::args_os(), &|name| std::env::var_os(name)) {
        Ok(given) => given,
        Err(error) => {
            eprintln!("cresset: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let result = match Cli::parse_from(given.arguments).command {
        Command::Serve(settings) => run_server(&settings, &given.notes),
        Command::Bench(args) => {
            bench::run(&args).and_then(|outcome| bench::write(&outcome, &args.report, &mut std::io::stdout()))
        }
        Command::Inspect(args) => run_inspect(&args),
        Command::Healthcheck(args) => cresset_healthcheck::run(&args).map(|()| 0),
        Command::Devices(args) => show_devices(args),
        Command::TryLibraries(args) => try_libraries(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cresset: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_server(settings: &ServeSettings, notes: &[String]) -> anyhow::Result<u8> {
    telemetry::start(&settings.log)?;
    for note in notes {
        tracing::info!("{note}");
    }
    for line in command_line::unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        tracing::warn!("{line}");
    }
    let backend = backend("serve", settings.memory());
    let outcome = match backend.and_then(|backend| serve::run(settings, backend)) {
        Ok(outcome) => outcome,
        Err(error) => {
            match settings.log.log_format {
                LogFormat::Human => eprintln!("cresset: {error:#}"),
                LogFormat::Json => tracing::error!("{error:#}"),
            }
            shutdown::exit(1);
        }
    };
    shutdown::exit(outcome.exit_code())
}

fn run_inspect(args: &inspect::InspectArgs) -> ! {
    let done = backend("inspect a model", MemorySettings::default())
        .and_then(|backend| inspect::run(args, &*backend));
    shutdown::exit(match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("cresset: {error:#}");
            1
        }
    })
}

#[cfg(feature = "libtorch")]
fn show_devices(args: devices::DevicesArgs) -> anyhow::Result<u8> {
    devices::run(args, Some(backend("look for devices", MemorySettings::default())?.as_ref()));
    shutdown::exit(0)
}

#[cfg(not(feature = "libtorch"))]
fn show_devices(args: devices::DevicesArgs) -> anyhow::Result<u8> {
    devices::run(args, None);
    Ok(0)
}

#[cfg(feature = "libtorch")]
fn backend(_: &str, memory: MemorySettings<'_>) -> anyhow::Result<Arc<dyn Backend>> {
    cresset_libtorch::keep_freed_memory();
    // Its own file, also when another one has taken its place.
    cresset_libtorch::try_libraries_with("/proc/self/exe".into());
    Ok(cresset_libtorch::backend_with(memory)?)
}

#[cfg(not(feature = "libtorch"))]
fn backend(purpose: &str, _: MemorySettings<'_>) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("this build has no libtorch, so it can't {purpose}; build with the default features")
}

#[cfg(feature = "libtorch")]
fn try_libraries(args: &TryLibraries) -> anyhow::Result<u8> {
    let tried = cresset_libtorch::try_libraries(args.torchvision, &args.libraries);
    if let Err(why) = &tried {
        eprintln!("cresset: {why}");
    }
    shutdown::exit(tried.is_err().into())
}

#[cfg(not(feature = "libtorch"))]
fn try_libraries(_: &TryLibraries) -> anyhow::Result<u8> {
    anyhow::bail!("this build has no libtorch, so it can't open libraries of operators")
}
