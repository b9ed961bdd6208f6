//! The tensors of requests: generated, or read from files.

mod data_file;
mod input_file;
mod npy;
mod shape;
mod values;

use anyhow::{Context, Result, bail};

pub use input_file::InputFile;
pub use shape::{Declared, Shape};
pub use values::Filling;

use super::metadata::{Input, Metadata};
use super::random::Random;
use cresset_protocol::Tensor;
pub(super) use input_file::files_in;
pub(super) use shape::Shapes;

/// The options that say how the tensors of requests are made.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) shapes: Shapes<'a>,
    pub(super) files: &'a [InputFile],
    /// Cases with their expected answers, in perf_analyzer's form.
    pub(super) data: Option<&'a std::path::Path>,
    pub(super) filling: Filling,
    /// How many different requests are made if something is random.
    pub(super) variants: usize,
    pub(super) seed: u64,
}

/// What one request holds, and what its answer must hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub(super) inputs: Vec<Tensor>,
    pub(super) expected: Vec<Tensor>,
}

/// The tensors of the requests for the inputs that a model declares.
pub(super) fn cases(metadata: &Metadata, source: &Source) -> Result<Vec<Case>> {
    if let Some(file) = source.data {
        return data_file::read(file, metadata)
            .with_context(|| format!("cannot use '{}' (--input-data)", file.display()));
    }
    let inputs = &metadata.inputs;
    known(inputs, "--shape", source.shapes.named())?;
    known(inputs, "--input-file", source.files.iter().map(InputFile::name))?;
    let from_file = |input: &Input| source.files.iter().find(|file| file.name() == input.name);
    let made: Vec<&Input> = inputs.iter().filter(|input| from_file(input).is_none()).collect();
    source.shapes.check(&made)?;

    let varied = source.shapes.vary() && !made.is_empty();
    let count = if varied { source.variants } else { 1 };
    let mut random = Random::new(source.seed);
    (0..count)
        .map(|_| {
            let drawn = source.shapes.draw(&mut random);
            let tensor = |input: &Input| match from_file(input) {
                Some(file) => file.read(input),
                None => values::make(input, drawn.shape_of(input)?, source.filling, &mut random),
            };
            let inputs = inputs.iter().map(tensor).collect::<Result<_>>()?;
            Ok(Case { inputs, expected: Vec::new() })
        })
        .collect()
}

fn known<'a>(inputs: &[Input], flag: &str, mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    match names.find(|name| inputs.iter().all(|input| input.name != *name)) {
        None => Ok(()),
        Some(stray) => {
            let all: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            bail!("{flag} names '{stray}', which is no input; the inputs are {}", all.join(", "))
        }
    }
}
