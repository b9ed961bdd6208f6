//! `cresset-healthcheck`: the probe that an image runs every few seconds. It
//! doesn't load libtorch, which alone takes more time and memory than the
//! probe.

use std::process::ExitCode;

use clap::Parser as _;
use cresset_healthcheck::Args;

/// Ask a running server whether it is ready: exit code 0 says yes
#[derive(Debug, clap::Parser)]
#[command(name = "cresset-healthcheck", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match cresset_healthcheck::run(&Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cresset-healthcheck: {error:#}");
            ExitCode::FAILURE
        }
    }
}
