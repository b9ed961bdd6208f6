//! Each answer holds its own request's rows: models whose outputs are rows of
//! their inputs, and models whose outputs aren't, each served as if it batched,
//! to callers that all ask at once (`tests/rows`, made by
//! `scripts/models/row_fixtures.py`).

#![cfg(feature = "libtorch")]
// Helpers of tests are tests too; clippy only sees the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::model::{LoadError, ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::{Backend as _, BackendError, BatchInput, Device, LoadOptions, LoadRequest, Model};
use cresset_libtorch::LibtorchBackend;
use cresset_protocol::{Datatype, InferenceRequest, Tensor};
use tokio::task::JoinSet;

/// Of all models together there are 10,000 and more.
const CALLERS_OF_A_MODEL: usize = 440;

/// So many callers ask at a time.
const AT_A_TIME: usize = 40;

/// By row for every batch that there may be.
const BY_ROW: [&str; 8] = ["linear", "label", "recurrent", "keyed", "normalised", "padded", "late", "table"];

/// Not so, as a trial at load shows.
const WHOLE: [&str; 15] = [
    "hits",
    "layers",
    "time_first",
    "flat",
    "flips",
    "sorts",
    "centres",
    "softmax_over_rows",
    "adds_up",
    "training",
    "suppresses",
    "squeezes",
    "best",
    "random",
    "beyond_five",
];

fn backend() -> &'static LibtorchBackend {
    static BACKEND: OnceLock<LibtorchBackend> = OnceLock::new();
    BACKEND.get_or_init(LibtorchBackend::new)
}

fn file(name: &str) -> PathBuf {
    let folder = if name.starts_with("backend/") { "tests" } else { "tests/rows" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.pt"))
}

/// By its place, if the model's name for it isn't known.
fn input(name: &str) -> &'static str {
    if name.starts_with("backend/") { "INPUT__0" } else { "x" }
}

fn datatype(name: &str) -> Datatype {
    if name == "table" { Datatype::Int64 } else { Datatype::Fp32 }
}

/// Served with everything that asks for batches, and nothing that a writer of
/// such a model wouldn't think of.
fn serve(name: &str, more: &str) -> Arc<ServedModel> {
    Arc::new(try_to_serve(name, more).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn try_to_serve(name: &str, more: &str) -> Result<ServedModel, LoadError> {
    let outputs = match name {
        "keyed" => r#"output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] } ]"#,
        _ => "",
    };
    let text = format!(
        r#"max_batch_size: 8
           input [ {{ name: "{}" data_type: TYPE_{} dims: [ 4 ] }} ]
           {outputs}
           dynamic_batching {{ preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 2000 }}
           instance_group [ {{ count: 2 kind: KIND_CPU }} ]
           {more}"#,
        input(name),
        datatype(name)
    );
    let config = ModelConfig::from_pbtxt(&text, &name.replace('/', "-")).unwrap();
    let source = ModelSource::new(file(name), config);
    ServedModel::load(backend(), &source, &Resources::of_processors(2), QueueBounds::of_requests(1000))
        .map(|loaded| loaded.model)
}

/// What caller `number` asks.
fn row(name: &str, number: usize) -> Bytes {
    let value = |place: usize| (number * 37 + place * 11) % 101;
    if name == "table" {
        return (0..4).flat_map(|place| (2 + (value(place) % 10) as i64).to_le_bytes()).collect();
    }
    let offset = if name.starts_with("late") { 1000.0 } else { 0.0 };
    (0..4).flat_map(|place| (offset + value(place) as f32 / 100.0).to_le_bytes()).collect()
}

async fn ask(model: &ServedModel, name: &str, data: Bytes) -> Result<Vec<Tensor>, String> {
    let rows = data.len() as i64 / 4 / datatype(name).size().unwrap() as i64;
    let input = Tensor { name: Arc::from(input(name)), datatype: datatype(name), shape: vec![rows, 4], data };
    let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
    match model.infer(RequestContext::default(), request).await {
        Ok(response) => Ok(response.outputs),
        Err(error) => Err(error.message().to_owned()),
    }
}

/// The model without anything around it.
fn load(name: &str) -> Result<Arc<dyn Model>, BackendError> {
    let (path, parameters, options) = (file(name), Default::default(), LoadOptions::default());
    let request = LoadRequest {
        path: &path,
        device: Device::Cpu,
        parameters: &parameters,
        overlapped: false,
        options: &options,
    };
    backend().load(&request)
}

/// What the model gives for each caller by itself.
fn alone(name: &str, callers: usize) -> Vec<Vec<Vec<f32>>> {
    let model = load(name).unwrap();
    let mut instance = model.instance(1).unwrap();
    let mut run = |number: usize| {
        let data = row(name, number);
        let place = &model.signature().arguments[0].name;
        let input = BatchInput { name: place, datatype: datatype(name), shape: &[1, 4], data: &data };
        let outputs = instance.forward(&[input]).unwrap();
        let kept = outputs.iter().filter(|output| output.name.as_deref() != Some("mean"));
        kept.map(|output| numbers(output.datatype, &output.data)).collect()
    };
    (0..callers).map(&mut run).collect()
}

/// Whether a model of another project takes such a row at all, and keeps
/// nothing of it.
fn takes_a_row(name: &str) -> bool {
    let Ok(model) = load(name) else { return false };
    let Ok(mut instance) = model.instance(1) else { return false };
    let data = row(name, 0);
    let Some(first) = model.signature().arguments.first() else { return false };
    let input = BatchInput { name: &first.name, datatype: Datatype::Fp32, shape: &[1, 4], data: &data };
    model.signature().stateful.is_none() && instance.forward(&[input]).is_ok()
}

fn numbers(datatype: Datatype, data: &[u8]) -> Vec<f32> {
    if datatype == Datatype::Int64 {
        return bytemuck::pod_collect_to_vec::<u8, i64>(data).iter().map(|value| *value as f32).collect();
    }
    if datatype != Datatype::Fp32 {
        return data.iter().map(|byte| f32::from(*byte)).collect();
    }
    bytemuck::pod_collect_to_vec(data)
}

fn is_own(name: &str, got: &[Tensor], expected: &[Vec<f32>], number: usize) -> bool {
    // Infinities are equal, and have no difference.
    let near = |a: &f32, b: &f32| a == b || (a - b).abs() <= 1e-4 * (1.0 + b.abs());
    if name == "random" {
        // Its own row, and up to 1 more.
        let own = numbers(Datatype::Fp32, &row(name, number));
        let got = numbers(Datatype::Fp32, &got[0].data);
        return got.len() == 4 && got.iter().zip(&own).all(|(got, own)| (0.0..=1.0).contains(&(got - own)));
    }
    got.len() == expected.len()
        && got.iter().zip(expected).all(|(got, expected)| {
            let got = numbers(got.datatype, &got.data);
            got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| near(a, b))
        })
}

/// Sends the requests of all callers, and counts the answers. An answer that
/// isn't the caller's fails the test.
async fn answered(model: &Arc<ServedModel>, name: &str) -> usize {
    let expected = Arc::new(alone(name, CALLERS_OF_A_MODEL));
    let name: Arc<str> = Arc::from(name);
    let mut answered = 0;
    let mut callers = JoinSet::new();
    for number in 0..CALLERS_OF_A_MODEL {
        if callers.len() == AT_A_TIME {
            answered += usize::from(callers.join_next().await.unwrap().unwrap());
        }
        let (model, expected, name) = (Arc::clone(model), Arc::clone(&expected), Arc::clone(&name));
        callers.spawn(async move {
            match ask(&model, &name, row(&name, number)).await {
                Ok(got) => {
                    assert!(
                        is_own(&name, &got, &expected[number], number),
                        "{name}: caller {number} got {:?}, and {:?} is its own",
                        got.iter().map(|output| numbers(output.datatype, &output.data)).collect::<Vec<_>>(),
                        expected[number]
                    );
                    true
                }
                Err(_) => false,
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        answered += usize::from(caller.unwrap());
    }
    answered
}

fn batches_and_requests(model: &ServedModel) -> (u64, u64) {
    let statistics = model.statistics();
    (statistics.execution_count, statistics.inference_count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_at_once_get_their_own_rows() {
    let mut asked = 0;
    for name in BY_ROW.into_iter().chain(WHOLE).chain(["late_hits"]) {
        let model = serve(name, "");
        assert_eq!(answered(&model, name).await, CALLERS_OF_A_MODEL, "{name}: each is answered");
        asked += CALLERS_OF_A_MODEL;
        let (batches, requests) = batches_and_requests(&model);
        let shares = batches < requests;
        assert_eq!(shares, BY_ROW.contains(&name), "{name}: {batches} batches of {requests} requests");
        assert_eq!(model.notes().is_empty(), shares, "{name}: {:?}", model.notes());
        model.stop();
    }
    assert!(asked >= 10_000, "{asked}");
}

/// Models that were made for other tests, whatever they do with a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_that_nobody_made_for_this_give_each_caller_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backend");
    let mut served = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("backend/{}", path.file_stem().unwrap().to_string_lossy());
        if !takes_a_row(&name) {
            continue;
        }
        let Ok(model) = try_to_serve(&name, "") else { continue };
        let model = Arc::new(model);
        // An error is no wrong answer.
        answered(&model, &name).await;
        model.stop();
        served.push(name);
    }
    assert!(served.len() >= 5, "{served:?}");
}

#[tokio::test]
async fn what_keeps_requests_apart_is_named() {
    let told = |name: &str| serve(name, "").notes().join("; ");
    let begins = "each request runs by itself: output 'OUTPUT__0' ";
    for (name, reason) in [
        ("layers", "has shape [2, 1, 3] for 1 row"),
        ("time_first", "has shape [4, 1, 1] for 1 row"),
        ("squeezes", "has shape [4] for 1 row"),
        ("best", "of a row depends on the rows beside it"),
        ("flips", "of a row depends on the rows beside it"),
        ("beyond_five", "of a row depends on the rows beside it"),
        (
            "random",
            "isn't the same twice for the same row, so whether it depends on the rows beside it can't be told",
        ),
    ] {
        assert_eq!(told(name), format!("{begins}{reason}"), "{name}");
    }
    let late = told("late");
    assert!(late.starts_with("it fails on every input that was tried: "), "{late}");
    let until = "each request runs by itself until it is proved on requests that answers are theirs alone: \
                 the model fails on inputs that were made up: ";
    assert!(late.contains(until) && late.ends_with("expected values of 1000 and more"), "{late}");
}

/// A sample of the model's own, for inputs that can't be made up.
#[tokio::test]
async fn a_warm_up_sample_proves_what_was_made_up_can_not() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("warmup")).unwrap();
    std::fs::write(directory.path().join("warmup/x"), row("late", 3)).unwrap();
    let sample = r#"model_warmup [ { name: "s" batch_size: 1
        inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] input_data_file: "x" } } } ]"#;
    let text = format!(
        r#"max_batch_size: 8 input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ] dynamic_batching {{ }} {sample}"#
    );
    let mut source = ModelSource::new(file("late"), ModelConfig::from_pbtxt(&text, "late").unwrap());
    source.directory = Some(directory.path().to_owned());
    let served =
        ServedModel::load(backend(), &source, &Resources::of_processors(2), QueueBounds::of_requests(10))
            .unwrap()
            .model;
    assert_eq!(served.notes(), [""; 0]);
    served.stop();
}

/// Requests of several rows each, to a model whose rows aren't known to be any.
#[tokio::test]
async fn a_request_of_several_rows_gets_all_that_the_model_gives_for_it() {
    let model = serve("time_first", "");
    let rows = [row("time_first", 1), row("time_first", 2), row("time_first", 3)].concat();
    let got = ask(&model, "time_first", Bytes::from(rows.clone())).await.unwrap();
    assert_eq!(got[0].shape, [4, 3, 1]);
    let own = numbers(Datatype::Fp32, &rows);
    let transposed: Vec<f32> =
        (0..4).flat_map(|column| (0..3).map(move |row| row * 4 + column)).map(|at| own[at] * 2.0).collect();
    assert_eq!(numbers(Datatype::Fp32, &got[0].data), transposed);
    model.stop();
}
