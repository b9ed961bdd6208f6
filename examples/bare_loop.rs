//! A loop over libtorch and nothing else: the most that a model gives on this
//! machine, by batch size, instances and threads. `scripts/limits` measures
//! Cresset beside it.
//!
//! Usage: `bare_loop MODEL.pt SHAPE [SECONDS] [BATCH,…]`, where SHAPE is one
//! FP32 input's without its batch: `3,224,224`; and anywhere `--weights TYPE`
//! or `--autocast TYPE` (`bf16`, `fp16`), `--channels-last`, `--for-inference`.
//! Prints one JSON object a line.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use anyhow::Context as _;
use cresset::backend::{BatchInput, Device, HostBuffer, LoadRequest, Model, Preparation, ReducedType};
use cresset::clock;
use cresset::protocol::Datatype;
use cresset::settings::processors;

fn main() -> anyhow::Result<()> {
    let (arguments, preparation) = arguments()?;
    let [file, shape, rest @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: bare_loop MODEL.pt SHAPE [SECONDS] [BATCH,…]");
    };
    let shape = list(shape).context("SHAPE")?;
    let seconds: f64 = rest.first().map_or(Ok(1.0), |s| s.parse()).context("SECONDS")?;
    let batches = rest.get(1).map_or(Ok(vec![1, 8, 16]), |b| list(b)).context("BATCH")?;

    let backend = cresset::backend::libtorch::backend(None)?;
    let parameters = Default::default();
    let request = LoadRequest {
        path: Path::new(file),
        device: Device::Cpu,
        parameters: &parameters,
        overlapped: false,
        preparation: &preparation,
    };
    let model = backend.load(&request)?;
    let all = processors();
    let mut plans = vec![(1, 1), (1, all), (all, 1)];
    plans.dedup();
    for (instances, threads) in plans {
        for batch in &batches {
            let rate = measure(&model, &shape, *batch, instances, threads, Duration::from_secs_f64(seconds))?;
            println!(
                "{}",
                serde_json::json!({"instances": instances, "threads": threads, "batch": batch, "items_per_second": rate})
            );
        }
    }
    Ok(())
}

/// The plain ones, and what the others ask for.
fn arguments() -> anyhow::Result<(Vec<String>, Preparation)> {
    let mut plain = Vec::new();
    let mut asked = Preparation::default();
    let mut all = std::env::args().skip(1);
    while let Some(argument) = all.next() {
        let mut reduced = || match all.next().as_deref() {
            Some("bf16") => Ok(Some(ReducedType::Bf16)),
            Some("fp16") => Ok(Some(ReducedType::Fp16)),
            _ => Err(anyhow::anyhow!("{argument} takes bf16 or fp16")),
        };
        match argument.as_str() {
            "--weights" => asked.precision.weights = reduced()?,
            "--autocast" => asked.precision.autocast = reduced()?,
            "--channels-last" => asked.precision.channels_last = true,
            "--for-inference" => asked.optimize.for_inference = Some(true),
            _ => plain.push(argument),
        }
    }
    Ok((plain, asked))
}

fn list(text: &str) -> anyhow::Result<Vec<i64>> {
    Ok(text.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

/// Items a second over all instances together.
fn measure(
    model: &Arc<dyn Model>,
    shape: &[i64],
    batch: i64,
    instances: usize,
    threads: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let shape: Vec<i64> = std::iter::once(batch).chain(shape.iter().copied()).collect();
    let barrier = Arc::new(Barrier::new(instances));
    let running: Vec<_> = (0..instances)
        .map(|_| {
            let (model, shape, barrier) = (Arc::clone(model), shape.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || -> anyhow::Result<f64> {
                let elements: i64 = shape.iter().product();
                let mut instance = model.instance(threads)?;
                let mut buffer = HostBuffer::within(instance.host_memory());
                let values: Vec<u8> =
                    (0..elements).flat_map(|i| ((i % 997) as f32 / 997.0).to_le_bytes()).collect();
                buffer.begin(values.len());
                buffer.extend(&values);
                let inputs = [BatchInput {
                    name: "x",
                    datatype: Datatype::Fp32,
                    shape: &shape,
                    data: buffer.as_slice(),
                }];
                for _ in 0..5 {
                    instance.forward(&inputs)?;
                }
                barrier.wait();
                let start = clock::now();
                let mut runs = 0u32;
                while clock::now() - start < time {
                    instance.forward(&inputs)?;
                    runs += 1;
                }
                Ok(f64::from(runs) * shape[0] as f64 / (clock::now() - start).as_secs_f64())
            })
        })
        .collect();
    running
        .into_iter()
        .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("an instance panicked"))?)
        .sum()
}
