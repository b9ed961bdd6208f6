//! A text model over mixed lengths as well as a loop can do it: those of a
//! window sorted, cut into batches of neighbours, each padded to its longest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cresset_backend::{BatchInput, HostBuffer, ModelInstance};
use cresset_clock as clock;
use cresset_protocol::Datatype;

use crate::loaded::ModelArgs;
use crate::plan::Plan;

/// Requests a second of a model that takes input_ids and attention_mask
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The requests' lengths in order, between white space
    #[arg(long)]
    lengths: PathBuf,
    /// How many requests are sorted together
    #[arg(long, default_value_t = 32)]
    window: usize,
    #[arg(long, value_delimiter = ',', default_value = "4,8,16,32")]
    batch: Vec<usize>,
    /// INSTANCESxTHREADS [default: one with all threads, and one for each processor]
    #[arg(long, value_delimiter = ',')]
    plan: Vec<Plan>,
    /// Of each measurement
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// Runs before anything is counted.
const WARM_UP: usize = 16;

/// Inputs of one run.
struct Padded {
    shape: [i64; 2],
    ids: HostBuffer,
    mask: HostBuffer,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.lengths).context("the lengths")?;
    let lengths: Vec<usize> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(!lengths.is_empty() && args.window > 0 && !args.batch.contains(&0), "lengths, a window, batches");
    let model = args.model.load()?;
    let time = Duration::from_secs_f64(args.seconds);
    for batch in args.batch.iter().copied() {
        let batches: Arc<Vec<Vec<usize>>> =
            Arc::new(lengths.chunks(args.window).flat_map(|window| neighbours(window, batch)).collect());
        for plan in Plan::or_usual(&args.plan) {
            let (model, batches) = (model.clone(), Arc::clone(&batches));
            let next = AtomicUsize::new(0);
            let rates = plan.run(move |barrier| {
                let mut instance = model.instance(plan.threads)?;
                let inputs: Vec<Padded> = batches.iter().map(|lengths| padded(lengths)).collect();
                for each in inputs.iter().cycle().take(WARM_UP) {
                    forward(instance.as_mut(), each)?;
                }
                barrier.wait();
                let start = clock::now();
                let mut items = 0;
                while clock::now() - start < time {
                    // Whoever is free takes the next, as instances of a server do.
                    let each = &inputs[next.fetch_add(1, Ordering::Relaxed) % inputs.len()];
                    forward(instance.as_mut(), each)?;
                    items += each.shape[0];
                }
                Ok(items as f64 / (clock::now() - start).as_secs_f64())
            })?;
            let rate: f64 = rates.iter().sum();
            println!(
                "{}",
                serde_json::json!({
                    "instances": plan.instances, "threads": plan.threads, "batch": batch, "items_per_second": rate,
                })
            );
        }
    }
    Ok(())
}

/// A window's lengths, sorted and cut.
fn neighbours(window: &[usize], batch: usize) -> Vec<Vec<usize>> {
    let mut sorted = window.to_vec();
    sorted.sort_unstable();
    sorted.chunks(batch).map(<[usize]>::to_vec).collect()
}

/// Made-up token ids, and a mask that leaves the padding out.
fn padded(lengths: &[usize]) -> Padded {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (mut ids, mut mask) = (HostBuffer::new(), HostBuffer::new());
    ids.begin(lengths.len() * longest * 8);
    mask.begin(lengths.len() * longest * 8);
    for length in lengths {
        for at in 0..longest {
            let there = at < *length;
            let id = if there { 1000 + (at as i64 * 37) % 20_000 } else { 0 };
            ids.extend(&id.to_le_bytes());
            mask.extend(&i64::from(there).to_le_bytes());
        }
    }
    Padded { shape: [lengths.len() as i64, longest as i64], ids, mask }
}

fn forward(instance: &mut dyn ModelInstance, padded: &Padded) -> anyhow::Result<()> {
    let input = |name, data| BatchInput { name, datatype: Datatype::Int64, shape: &padded.shape, data };
    instance.forward(&[
        input("input_ids", padded.ids.as_slice()),
        input("attention_mask", padded.mask.as_slice()),
    ])?;
    Ok(())
}
