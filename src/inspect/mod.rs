//! `cresset inspect`: shows a model file's inputs and outputs, and writes its
//! `config.pbtxt`, from the file and a trial on inputs that the operator describes.

mod config;
mod described;
mod report;
mod trial;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::model_config::{Binding, ModelConfig};
use config::Header;
use cresset_backend::{Backend, Device, LoadOptions, LoadRequest, Parameters, Signature};
use trial::Trial;

pub use described::DescribedInput;

/// Arguments of `cresset inspect`.
#[derive(Debug, Clone, clap::Args)]
pub struct InspectArgs {
    /// Model file: TorchScript, as torch.jit.save writes it
    pub file: PathBuf,

    /// An input to try the model on, such as x:FP32:-1,3,224,224; repeat it for each
    ///
    /// -1 stands for a dimension that varies; in front it is the batch. The trial runs rows alone
    /// and together, and checks that their answers are the same. Its results become a
    /// config.pbtxt.
    #[arg(long, value_name = "NAME:DATATYPE:DIMS")]
    pub input: Vec<DescribedInput>,

    /// The model's name [default: MODEL, if the file's path ends in MODEL/VERSION/FILE]
    #[arg(long, value_name = "MODEL")]
    pub name: Option<String>,

    /// Largest batch, if dimension 0 is the batch; 0 for a model that must not be batched
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub max_batch: u32,

    /// Size to try for a dimension that varies and isn't the batch
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(i64).range(1..=1 << 20))]
    pub size: i64,

    /// Library of operators that the model calls and libtorch lacks; repeat it for more
    ///
    /// torchvision's operators are built in.
    #[arg(long, value_name = "PATH")]
    pub op_library: Vec<PathBuf>,

    /// File to write the configuration to [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Overwrite an existing file
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// Reads the model file, tries the model if inputs are described, and writes the
/// findings.
///
/// # Errors
/// If a file can't be loaded or written, the inputs aren't the model's, or the
/// model fails on them.
pub fn run(args: &InspectArgs, backend: &dyn Backend) -> anyhow::Result<()> {
    if let Some(path) = &args.output {
        anyhow::ensure!(
            !args.input.is_empty(),
            "--output needs --input: without a trial there is nothing to write"
        );
        anyhow::ensure!(
            args.force || fs::symlink_metadata(path).is_err(),
            "{} is there already: --force writes over it",
            path.display()
        );
    }
    for library in &args.op_library {
        backend.open_operators(library).with_context(|| format!("--op-library {}", library.display()))?;
    }
    let parameters = Parameters::default();
    let request = LoadRequest {
        path: &args.file,
        device: Device::Cpu,
        parameters: &parameters,
        overlapped: false,
        options: &LoadOptions::default(),
    };
    let model = backend.load(&request).with_context(|| args.file.display().to_string())?;
    let mut report = report::of_file(&args.file, &*model);
    let signature = model.signature();
    if args.input.is_empty() {
        print(&mut io::stdout(), &report);
        // Before an operator describes inputs of what isn't served.
        Binding::new(&ModelConfig::undeclared("model"), signature)?;
        report =
            "\nDescribe its inputs for a trial and a config.pbtxt: --input NAME:DATATYPE:DIMS\n".to_owned();
        print(&mut io::stdout(), &report);
        return Ok(());
    }

    let inputs: Vec<DescribedInput> = args.input.iter().map(|input| with_kind(input, signature)).collect();
    let named = args.name.clone().or_else(|| name_of(&args.file));
    let filename = args.file.file_name().unwrap_or_default().to_string_lossy();
    let may_batch = args.max_batch > 0 && inputs.iter().all(DescribedInput::may_batch);
    let header = |max_batch_size| Header {
        format: model.format(),
        name: named.as_deref(),
        filename: &filename,
        max_batch_size,
        stateful: signature.stateful.is_some(),
    };
    let name = named.as_deref().unwrap_or("model");
    // By the server's own rules, so that the trial runs the model as it will be served.
    let described = config::inputs_text(header(if may_batch { args.max_batch } else { 0 }), &inputs);
    let binding = Binding::new(&ModelConfig::from_pbtxt(&described, name)?, signature)?;
    let in_order = binding.inputs.iter();
    let inputs: Vec<DescribedInput> =
        in_order.filter_map(|bound| inputs.iter().find(|input| input.name == bound.name).cloned()).collect();

    let most = if may_batch { args.max_batch } else { 0 };
    let found = Trial { model: &*model, inputs: &inputs, binding: &binding, size: args.size, most }
        .run()
        .map_err(|error| anyhow::anyhow!("the model fails on these inputs: {error}"))?;
    let header = header(if found.batch.is_ok() { args.max_batch } else { 0 });
    let text = config::text(header, &inputs, &found);
    let config =
        ModelConfig::from_pbtxt(&text, name).context("the configuration that was made is refused")?;
    Binding::new(&config, signature).context("the configuration that was made doesn't fit the model")?;

    report += &report::of_trial(&inputs, &found, binding.warning().as_deref());
    match &args.output {
        None => {
            // On standard error: the configuration goes into a file or a pipe.
            print(&mut io::stderr(), &report);
            print(&mut io::stdout(), &text);
        }
        Some(path) => {
            write(path, &text, args.force).with_context(|| format!("can't write {}", path.display()))?;
            print(&mut io::stdout(), &format!("{report}\n{} is written\n", path.display()));
        }
    }
    Ok(())
}

/// The input with the file's description of its argument.
fn with_kind(input: &DescribedInput, signature: &Signature) -> DescribedInput {
    let (first, rest) = input.name.split_once('.').unwrap_or((&input.name, ""));
    let argument = signature.arguments.iter().find(|argument| argument.name == first);
    let leaf = argument.and_then(|argument| argument.kind.at(rest)?.leaf());
    DescribedInput { shared: leaf.is_some_and(|leaf| leaf.shared().is_some()), ..input.clone() }
}

/// If the stream is closed, the text isn't wanted.
fn print(to: &mut dyn io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(text.as_bytes())
}

/// `m` of `models/m/1/model.pt`.
fn name_of(file: &Path) -> Option<String> {
    let absolute = std::path::absolute(file).ok()?;
    let version = absolute.parent()?;
    version.file_name()?.to_str()?.parse::<u64>().ok()?;
    Some(version.parent()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests;
