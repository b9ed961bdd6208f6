//! Requests of many shapes, one after another on each instance, and what
//! memory the process then holds: what libtorch keeps of them by itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use cresset_backend::{BatchInput, HostBuffer, ModelInstance};
use cresset_protocol::Datatype;

use crate::loaded::{ModelArgs, first_argument};
use crate::plan::Plan;

/// Resident memory after each thousand requests of a model with one FP32 input
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A request's whole shape a line, commas between: 1,3,64,80
    #[arg(long)]
    shapes: PathBuf,
    #[arg(long, default_value = "2x1")]
    plan: Plan,
    /// The lines are run over and over until so many were
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// After how many memory is told
    #[arg(long, default_value_t = 1000)]
    each: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.shapes).context("the shapes")?;
    let shape = |line: &str| line.split(',').map(|size| size.trim().parse()).collect::<Result<Vec<i64>, _>>();
    let shapes: Vec<Vec<i64>> = text.lines().map(shape).collect::<Result<_, _>>()?;
    ensure!(!shapes.is_empty() && args.each > 0, "shapes, and how often memory is told");
    let model = args.model.load()?;
    let name = first_argument(model.as_ref())?;
    let (requests, each, plan) = (args.requests, args.each, args.plan);
    let (next, told) = (AtomicUsize::new(0), Arc::new(Mutex::new(Vec::new())));
    let telling = Arc::clone(&told);
    plan.run(move |barrier| {
        let mut instance = model.instance(plan.threads)?;
        let mut buffer = HostBuffer::within(instance.host_memory());
        // As a server is warm before the first request: what shapes take is asked, not what code does.
        for _ in 0..3 {
            forward(instance.as_mut(), &mut buffer, &name, &shapes[0])?;
        }
        if barrier.wait().is_leader() {
            telling.lock().unwrap_or_else(PoisonError::into_inner).push((0, resident()?));
        }
        barrier.wait();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return Ok(());
            }
            forward(instance.as_mut(), &mut buffer, &name, &shapes[number % shapes.len()])?;
            if (number + 1) % each == 0 {
                let line = (number + 1, resident()?);
                telling.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        }
    })?;
    let mut told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    told.sort_unstable();
    for (requests, bytes) in told {
        println!("{}", serde_json::json!({"requests": requests, "resident_bytes": bytes}));
    }
    Ok(())
}

fn forward(
    instance: &mut dyn ModelInstance,
    buffer: &mut HostBuffer,
    name: &str,
    shape: &[i64],
) -> anyhow::Result<()> {
    let elements: i64 = shape.iter().product();
    buffer.begin(elements as usize * 4);
    for _ in 0..elements {
        buffer.extend(&0.5_f32.to_le_bytes());
    }
    let data = buffer.as_slice();
    instance.forward(&[BatchInput { name, datatype: Datatype::Fp32, shape, data }])?;
    Ok(())
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
