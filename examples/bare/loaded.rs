//! A model, loaded as Cresset loads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cresset_backend::{Device, LoadOptions, LoadRequest, Model, ReducedType};

/// Which model, and what of `cresset.toml` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// The model's file
    pub(crate) model: PathBuf,
    /// The weights' precision: bf16 or fp16
    #[arg(long, value_parser = reduced)]
    weights: Option<ReducedType>,
    /// What autocast computes in: bf16 or fp16
    #[arg(long, value_parser = reduced)]
    autocast: Option<ReducedType>,
    /// Images and convolutions' weights lie in memory with their channels last
    #[arg(long)]
    channels_last: bool,
    /// `torch.jit.optimize_for_inference`
    #[arg(long)]
    for_inference: bool,
    /// As the file is: what is loaded is frozen otherwise
    #[arg(long, conflicts_with = "for_inference")]
    unfrozen: bool,
}

impl ModelArgs {
    pub(crate) fn load(&self) -> anyhow::Result<Arc<dyn Model>> {
        let mut asked = LoadOptions::default();
        asked.precision.weights = self.weights;
        asked.precision.autocast = self.autocast;
        asked.precision.channels_last = self.channels_last;
        asked.optimize.for_inference = Some(self.for_inference);
        asked.optimize.freeze = self.unfrozen.then_some(false);
        load(&self.model, &asked)
    }
}

pub(crate) fn load(path: &Path, options: &LoadOptions) -> anyhow::Result<Arc<dyn Model>> {
    // As the server has it.
    cresset_libtorch::keep_freed_memory();
    let backend = cresset_libtorch::backend(None)?;
    let parameters = Default::default();
    let device = Device::Cpu;
    let request = LoadRequest { path, device, parameters: &parameters, overlapped: false, options };
    Ok(backend.load(&request)?)
}

/// The name of its first argument: the loops give a model one tensor.
pub(crate) fn first_argument(model: &dyn Model) -> anyhow::Result<String> {
    let first = model.signature().arguments.first().context("the model takes no argument")?;
    Ok(first.name.clone())
}

fn reduced(text: &str) -> Result<ReducedType, String> {
    match text {
        "bf16" => Ok(ReducedType::Bf16),
        "fp16" => Ok(ReducedType::Fp16),
        _ => Err(format!("expected bf16 or fp16, got '{text}'")),
    }
}
