//! libtorch and nothing else: the most that a model gives on this machine, the
//! least that a photograph costs, and what memory shapes take, with no server
//! around it. `scripts/limits` measures Cresset beside it.
//!
//! `bare rate`, `bare lengths`, `bare photograph`, `bare shapes`; each has a
//! `--help`, and prints one JSON object a line.

mod lengths;
mod loaded;
mod photograph;
mod plan;
mod rate;
mod shapes;

use clap::Parser;

/// As the server has it: what a photograph is decoded into comes from here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What bounds a server on this machine.
#[derive(Debug, Parser)]
enum Bare {
    Rate(rate::Args),
    Lengths(lengths::Args),
    Photograph(photograph::Args),
    Shapes(shapes::Args),
}

fn main() -> anyhow::Result<()> {
    match Bare::parse() {
        Bare::Rate(args) => rate::run(&args),
        Bare::Lengths(args) => lengths::run(&args),
        Bare::Photograph(args) => photograph::run(&args),
        Bare::Shapes(args) => shapes::run(&args),
    }
}
