//! `cresset`: parse, call the library, map an error to an exit code.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use cresset::backend::{Backend, MemorySettings};
use cresset::cli::{Cli, Command};
use cresset::settings::ServeSettings;
use cresset::{bench, devices, healthcheck, inspect, serve, shutdown, telemetry};

/// Requests are many small blocks on several threads; tensors are libtorch's,
/// which takes them from the C library whatever stands here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// MKL, whose matrix products libtorch calls, asks a function of this name
/// whether the processor is Intel's, and takes slow kernels where it isn't,
/// whatever the processor can do. The program's own answer goes before that of
/// the library: the processor's features alone decide. `CRESSET_MKL=as-shipped`
/// leaves the question to the processor's name.
#[cfg(all(feature = "libtorch", target_arch = "x86_64"))]
#[unsafe(no_mangle)]
pub extern "C" fn mkl_serv_intel_cpu_true() -> std::ffi::c_int {
    use std::arch::x86_64::{__cpuid, CpuidResult};
    let as_shipped = std::env::var_os("CRESSET_MKL").is_some_and(|asked| asked == "as-shipped");
    let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0);
    let intel = [ebx, edx, ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel";
    std::ffi::c_int::from(intel || !as_shipped)
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(settings) => run_server(&settings),
        Command::Bench(args) => {
            bench::run(&args).and_then(|outcome| bench::write(&outcome, &args.report, &mut std::io::stdout()))
        }
        Command::Inspect(args) => run_inspect(&args),
        Command::Healthcheck(args) => healthcheck::run(&args).map(|()| 0),
        Command::Devices(args) => show_devices(args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cresset: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_server(settings: &ServeSettings) -> anyhow::Result<u8> {
    telemetry::start(&settings.log)?;
    let backend = backend("serve", settings.memory());
    let outcome = match backend.and_then(|backend| serve::run(settings, backend)) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("cresset: {error:#}");
            shutdown::exit(1);
        }
    };
    shutdown::exit(outcome.exit_code())
}

fn run_inspect(args: &inspect::Args) -> ! {
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
fn show_devices(args: devices::Args) -> anyhow::Result<u8> {
    devices::run(args, Some(backend("look for devices", MemorySettings::default())?.as_ref()));
    shutdown::exit(0)
}

#[cfg(not(feature = "libtorch"))]
fn show_devices(args: devices::Args) -> anyhow::Result<u8> {
    devices::run(args, None);
    Ok(0)
}

#[cfg(feature = "libtorch")]
fn backend(_: &str, memory: MemorySettings<'_>) -> anyhow::Result<Arc<dyn Backend>> {
    cresset::backend::libtorch::keep_freed_memory();
    Ok(cresset::backend::libtorch::backend_with(memory)?)
}

#[cfg(not(feature = "libtorch"))]
fn backend(purpose: &str, _: MemorySettings<'_>) -> anyhow::Result<Arc<dyn Backend>> {
    anyhow::bail!("this build has no libtorch, so it can't {purpose}; build with the default features")
}
