//! A photograph on one thread, as the server would do it without a server:
//! decode, resize, forward.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cresset::model_settings::ModelSettings;
use cresset_backend::{BatchInput, HostBuffer, Preparation};
use cresset_clock as clock;
use cresset_protocol::Datatype;

use crate::loaded::load;
use crate::plan::Plan;

/// Milliseconds of a photograph: its transform, its forward, both
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model's directory: `cresset.toml` says how, `1/model.pt` is run
    directory: PathBuf,
    /// JPEG, PNG, WebP, GIF, BMP or TIFF
    photograph: PathBuf,
    /// Intra-op threads of the forward
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let settings = ModelSettings::read(&args.directory)?;
    let image = settings.transforms.and_then(|transforms| transforms.image);
    let image = image.context("cresset.toml declares no [transform.image]")?;
    let photograph = std::fs::read(&args.photograph).context("the photograph")?;
    let (precision, optimize) = (settings.precision, settings.optimize);
    let preparation = Preparation { precision, optimize, ..Preparation::default() };
    let model = load(&args.directory.join("1").join("model.pt"), &preparation)?;
    let (plan, time) = (Plan { instances: 1, threads: args.threads }, Duration::from_secs_f64(args.seconds));

    // On a thread of its own, as a server's instance: the first thread's memory is managed in another way.
    let mut measured = plan.run(move |_| {
        let mut instance = model.instance(plan.threads)?;
        let mut buffer = HostBuffer::within(instance.host_memory());
        let shape = image.shape();
        let mut both = || -> anyhow::Result<(Duration, Duration)> {
            let start = clock::now();
            let pixels = image.apply(&photograph)?;
            let transformed = clock::now();
            buffer.begin(pixels.len());
            buffer.extend(&pixels);
            let (name, data) = (image.input().unwrap_or("x"), buffer.as_slice());
            instance.forward(&[BatchInput { name, datatype: Datatype::Fp32, shape: &shape, data }])?;
            Ok((transformed - start, clock::now() - transformed))
        };
        for _ in 0..5 {
            both()?;
        }
        let start = clock::now();
        let mut took = Vec::new();
        while clock::now() - start < time {
            took.push(both()?);
        }
        Ok(took)
    })?;
    let took = measured.remove(0);
    let transform = Middle::of(took.iter().map(|(transform, _)| *transform));
    let forward = Middle::of(took.iter().map(|(_, forward)| *forward));
    let total = Middle::of(took.iter().map(|(transform, forward)| *transform + *forward));
    println!(
        "{}",
        serde_json::json!({
            "count": took.len(), "p50_ms": total.p50, "p99_ms": total.p99,
            "transform_p50_ms": transform.p50, "forward_p50_ms": forward.p50,
        })
    );
    Ok(())
}

/// Milliseconds.
struct Middle {
    p50: f64,
    p99: f64,
}

impl Middle {
    /// Of at least one duration.
    fn of(durations: impl Iterator<Item = Duration>) -> Self {
        let mut all: Vec<Duration> = durations.collect();
        all.sort_unstable();
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        Self { p50: at(0.5), p99: at(0.99) }
    }
}
