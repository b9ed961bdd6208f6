//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::settings::ServeSettings;
use crate::{devices, inspect};
use cresset_bench as bench;

/// Serves PyTorch models: TorchScript behind a dynamic batcher, over HTTP and gRPC, in one binary
#[derive(Debug, Parser)]
#[command(name = "cresset", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The things that it does.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Serve every model in a directory
    Serve(ServeSettings),
    /// Load a server and report rates and latencies
    Bench(bench::Args),
    /// Say what a model file takes and gives, and write its config.pbtxt
    Inspect(inspect::InspectArgs),
    /// Ask a running server whether it is ready: exit code 0 says yes
    Healthcheck(cresset_healthcheck::Args),
    /// Show the GPUs and processors that models can use, and why something is not used
    Devices(devices::DevicesArgs),
    /// Open libraries of operators and end: the server tries in another process
    /// what might end its own.
    #[command(hide = true)]
    TryLibraries(TryLibraries),
}

/// Arguments of the trial.
#[derive(Debug, Clone, clap::Args)]
pub struct TryLibraries {
    /// Opens torchvision's operators first.
    #[arg(long)]
    pub torchvision: bool,
    /// The libraries, in the order in which they are opened.
    pub libraries: Vec<PathBuf>,
}
