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

/// The subcommands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Serve every model in a directory
    Serve(ServeSettings),
    /// Send load to a server and report rates and latencies
    Bench(bench::Args),
    /// Show a model file's inputs and outputs, and write its config.pbtxt
    Inspect(inspect::InspectArgs),
    /// Ask a running server whether it is ready: exit code 0 if it is
    Healthcheck(cresset_healthcheck::Args),
    /// Show the GPUs and processors that models can use, and why others aren't used
    Devices(devices::DevicesArgs),
    /// Open libraries of operators and exit. The server runs this in a process of
    /// its own first, because a library may crash the process that opens it.
    #[command(hide = true)]
    TryLibraries(TryLibraries),
}

/// Arguments of `cresset try-libraries`.
#[derive(Debug, Clone, clap::Args)]
pub struct TryLibraries {
    /// Opens torchvision's operators first.
    #[arg(long)]
    pub torchvision: bool,
    /// The libraries, in the order in which they are opened.
    pub libraries: Vec<PathBuf>,
}
