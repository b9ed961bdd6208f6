//! The same batch over and over: items a second by batch, instances and
//! threads.

use std::time::Duration;

use cresset_backend::{BatchInput, HostBuffer, ModelInstance};
use cresset_clock as clock;
use cresset_protocol::Datatype;

use crate::loaded::{ModelArgs, first_argument};
use crate::plan::Plan;

/// Items a second of a model with one FP32 input, by batch and plan
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// One input's shape without its batch: 3,224,224
    #[arg(long, value_delimiter = ',', required = true)]
    shape: Vec<i64>,
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    batch: Vec<i64>,
    /// INSTANCESxTHREADS [default: one with all threads, and one for each processor]
    #[arg(long, value_delimiter = ',')]
    plan: Vec<Plan>,
    /// Of each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let model = args.model.load()?;
    let name = first_argument(model.as_ref())?;
    let time = Duration::from_secs_f64(args.seconds);
    for plan in Plan::or_usual(&args.plan) {
        for batch in args.batch.iter().copied() {
            let (model, name, shape) = (model.clone(), name.clone(), args.shape.clone());
            let measured = plan.run(move |barrier| {
                let mut instance = model.instance(plan.threads)?;
                let shape: Vec<i64> = std::iter::once(batch).chain(shape.iter().copied()).collect();
                let mut buffer = HostBuffer::within(instance.host_memory());
                fill(&mut buffer, shape.iter().product());
                let data = buffer.as_slice();
                let inputs = [BatchInput { name: &name, datatype: Datatype::Fp32, shape: &shape, data }];
                warm(instance.as_mut(), &inputs, time)?;
                barrier.wait();
                measure(instance.as_mut(), &inputs, time)
            })?;
            let rate: f64 = measured.iter().map(|runs| runs.each_second * batch as f64).sum();
            println!(
                "{}",
                serde_json::json!({
                    "instances": plan.instances, "threads": plan.threads, "batch": batch,
                    "items_per_second": rate, "p50_ms": measured[0].p50_ms, "p99_ms": measured[0].p99_ms,
                })
            );
        }
    }
    Ok(())
}

struct Runs {
    each_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn fill(buffer: &mut HostBuffer, elements: i64) {
    let values: Vec<u8> = (0..elements).flat_map(|i| ((i % 997) as f32 / 997.0).to_le_bytes()).collect();
    buffer.begin(values.len());
    buffer.extend(&values);
}

/// At least three runs, and a small part of the time that is measured: the
/// graph is compiled in the first two, memory and clock settle in the others.
fn warm(instance: &mut dyn ModelInstance, inputs: &[BatchInput<'_>], time: Duration) -> anyhow::Result<()> {
    let start = clock::now();
    let mut runs = 0;
    while runs < 3 || clock::now() - start < time / 10 {
        instance.forward(inputs)?;
        runs += 1;
    }
    Ok(())
}

fn measure(
    instance: &mut dyn ModelInstance,
    inputs: &[BatchInput<'_>],
    time: Duration,
) -> anyhow::Result<Runs> {
    let mut took = Vec::new();
    let start = clock::now();
    let mut last = start;
    while last - start < time {
        instance.forward(inputs)?;
        let now = clock::now();
        took.push(now - last);
        last = now;
    }
    let each_second = took.len() as f64 / (last - start).as_secs_f64();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    Ok(Runs { each_second, p50_ms: at(0.5), p99_ms: at(0.99) })
}
