//! Requests through a served model, against a mock whose time and faults the
//! test controls.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::error::{Error, ErrorCode};
use cresset::model::{ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::Model as _;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_protocol::{Datatype, InferenceRequest, InferenceResponse, RequestedOutput, Tensor};
use tokio::task::JoinHandle;

const CONFIG: &str = r#"
    max_batch_size: 8
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ 2 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ 2 ] } ]
    instance_group [ { count: 1 kind: KIND_CPU } ]
    dynamic_batching { }
"#;

/// What such a model gives is tried at load: alone, together, and in the largest batch.
const TRIED: [i64; 8] = [1, 1, 1, 1, 1, 3, 5, 8];

/// A model that ran every batch size on its own account: from here on only
/// requests run.
fn serve(backend: &MockBackend, config: &str) -> Arc<ServedModel> {
    let model = serve_bounded(backend, config, 100);
    wait_until_warm(backend);
    model
}

fn wait_until_warm(backend: &MockBackend) {
    for _ in 0..1000 {
        // Once at load, and then each size twice.
        if backend.control().batches().iter().filter(|rows| **rows == 8).count() >= 3 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no batch of 8 on its own account: {:?}", backend.control().batches());
}

/// The same, whose sizes are chosen and never by measured times: on a machine
/// with other things to do those may cut any batch.
fn serve_in_chosen_sizes(backend: &MockBackend) -> Arc<ServedModel> {
    serve(
        backend,
        &CONFIG.replace("dynamic_batching { }", "dynamic_batching { preferred_batch_size: [ 8 ] }"),
    )
}

/// A model that doesn't run before its first request, or may still.
fn serve_bounded(backend: &MockBackend, config: &str, capacity: usize) -> Arc<ServedModel> {
    load(backend, &source(config), &Resources::of_processors(2), capacity)
}

fn source(config: &str) -> ModelSource {
    ModelSource::new("model.pt", ModelConfig::from_pbtxt(config, "m").unwrap())
}

fn load(
    backend: &MockBackend,
    source: &ModelSource,
    resources: &Resources,
    capacity: usize,
) -> Arc<ServedModel> {
    Arc::new(ServedModel::load(backend, source, resources, QueueBounds::of_requests(capacity)).unwrap().model)
}

fn request(rows: &[[u8; 2]]) -> InferenceRequest {
    let input = Tensor {
        name: Arc::from("x"),
        datatype: Datatype::Uint8,
        shape: vec![rows.len() as i64, 2],
        data: Bytes::from(rows.concat()),
    };
    InferenceRequest { inputs: vec![input], ..InferenceRequest::default() }
}

type Answer = Result<InferenceResponse, Error>;

fn ask(model: &Arc<ServedModel>, rows: &[[u8; 2]]) -> JoinHandle<Answer> {
    let (model, request) = (Arc::clone(model), request(rows));
    tokio::spawn(async move { model.infer(RequestContext::default(), request).await })
}

async fn data(answer: JoinHandle<Answer>) -> Vec<u8> {
    answer.await.unwrap().unwrap().outputs[0].data.to_vec()
}

/// Gives tasks that were spawned the time to queue their requests.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_batch_forms_while_the_model_is_busy_and_each_gets_its_own_rows() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve_in_chosen_sizes(&backend);
    let before = backend.control().batches().len();
    backend.control().close_gate();
    let first = ask(&model, &[[1, 1]]);
    settle().await;
    backend.control().wait_until_waiting(1);
    let others = [ask(&model, &[[2, 2]]), ask(&model, &[[3, 3], [4, 4]]), ask(&model, &[[5, 5]])];
    settle().await;
    backend.control().open_gate();
    assert_eq!(data(first).await, [1, 1]);
    let [a, b, c] = others;
    assert_eq!(data(a).await, [2, 2]);
    assert_eq!(data(b).await, [3, 3, 4, 4]);
    assert_eq!(data(c).await, [5, 5]);
    assert_eq!(backend.control().batches()[before..], [1, 4]);
    model.stop();
}

#[tokio::test]
async fn further_batch_sizes_run_once_it_is_ready_and_never_before_a_request() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(&backend, CONFIG);
    assert_eq!(backend.control().batches(), [&TRIED[..], &[1, 1, 1, 2, 2, 4, 4, 8, 8]].concat());
    model.stop();

    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve_bounded(&backend, CONFIG, 100);
    // Whichever of its own runs is under way, the request is the next.
    backend.control().close_gate();
    let own = backend.control().batches();
    let asked = ask(&model, &[[1, 1], [2, 2], [3, 3]]);
    settle().await;
    backend.control().open_gate();
    assert_eq!(data(asked).await, [1, 1, 2, 2, 3, 3]);
    let ran = backend.control().batches();
    let place = ran.iter().position(|rows| *rows == 3).unwrap();
    assert!(place <= own.len() + 1, "{ran:?}, of which {own:?} before");
    model.stop();
}

#[tokio::test]
async fn a_poisoned_batch_fails_the_guilty_alone() {
    for behaviour in [Behaviour::FailsOn255, Behaviour::Identity] {
        let backend = MockBackend::new(behaviour, &["x"]);
        let model = serve(&backend, CONFIG);
        backend.control().close_gate();
        let first = ask(&model, &[[1, 1]]);
        settle().await;
        backend.control().wait_until_waiting(1);
        let (good, bad, also) = (ask(&model, &[[2, 2]]), ask(&model, &[[255, 0]]), ask(&model, &[[3, 3]]));
        settle().await;
        backend.control().open_gate();
        assert_eq!(data(first).await, [1, 1]);
        assert_eq!(data(good).await, [2, 2]);
        assert_eq!(data(also).await, [3, 3]);
        let bad = bad.await.unwrap();
        if behaviour == Behaviour::FailsOn255 {
            let error = bad.unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (ErrorCode::Internal, "PyTorch execute failure: 255")
            );
        } else {
            assert!(bad.is_ok(), "the control: nothing fails without the fault");
        }
        model.stop();
    }
}

#[tokio::test]
async fn a_guilty_request_is_found_by_halves() {
    let backend = MockBackend::new(Behaviour::FailsOn255, &["x"]);
    let model = serve_in_chosen_sizes(&backend);
    for (guilty, runs) in [
        (vec![5], vec![1, 8, 4, 4, 2, 1, 1, 2]),
        (vec![0], vec![1, 8, 4, 2, 1, 1, 2, 4]),
        (vec![0, 1, 7], vec![1, 8, 4, 2, 1, 1, 2, 4, 2, 2, 1, 1]),
    ] {
        let before = backend.control().batches().len();
        backend.control().close_gate();
        let first = ask(&model, &[[1, 1]]);
        settle().await;
        backend.control().wait_until_waiting(1);
        let row = |index: u8| if guilty.contains(&index) { [255, index] } else { [index, index] };
        let asked: Vec<_> = (0..8).map(|index| ask(&model, &[row(index)])).collect();
        settle().await;
        backend.control().open_gate();
        assert_eq!(data(first).await, [1, 1]);
        for (index, answer) in (0..8).zip(asked) {
            match answer.await.unwrap() {
                Ok(answer) if !guilty.contains(&index) => {
                    assert_eq!(answer.outputs[0].data[..], [index, index])
                }
                Err(error) if guilty.contains(&index) => {
                    assert_eq!(error.message(), "PyTorch execute failure: 255");
                }
                other => panic!("request {index}: {other:?}"),
            }
        }
        assert_eq!(backend.control().batches()[before..], runs, "{guilty:?}");
    }
    model.stop();
}

#[tokio::test]
async fn a_model_that_keeps_state_is_neither_batched_nor_run_twice() {
    let backend = MockBackend::new(Behaviour::FailsOn255, &["x"]).stateful();
    let model = serve_bounded(&backend, CONFIG, 100);
    let before = backend.control().batches().len();
    assert_eq!(before, 1, "on an instance of its own; no warm-up: it would change the state");
    backend.control().close_gate();
    let first = ask(&model, &[[1, 1]]);
    settle().await;
    let bad = ask(&model, &[[255, 2]]);
    settle().await;
    backend.control().open_gate();
    assert_eq!(data(first).await, [1, 1]);
    assert!(bad.await.unwrap().is_err());
    assert_eq!(backend.control().batches()[before..], [1, 1]);
    model.stop();
}

#[tokio::test]
async fn a_plan_is_tried_before_the_model_is_ready() {
    let resources = Resources { trials: Some(Arc::default()), ..Resources::of_processors(2) };
    let plain = MockBackend::new(Behaviour::Identity, &["x"]);
    for backend in [plain.clone(), plain.stateful()] {
        let stateful = backend.clone().signature().stateful.is_some();
        let open = CONFIG.replace("instance_group [ { count: 1 kind: KIND_CPU } ]", "");
        let model = load(&backend, &source(&open), &resources, 100);
        let reason = model.plan_reason().expect("it was tried");
        let ways = if stateful { ["1x1", "1x2"] } else { ["2x1", "1x2"] };
        assert!(
            reason.starts_with("rows/s at warm-up: ") && ways.iter().all(|way| reason.contains(way)),
            "{reason}"
        );
        let plan = &model.placements()[0];
        assert!(plan.instances * plan.intra_op_threads <= 2 && (plan.instances == 1 || !stateful), "{plan}");
        assert_eq!(data(ask(&model, &[[7, 8]])).await, [7, 8]);
        model.stop();
    }
}

#[tokio::test]
async fn a_panic_under_the_seam_is_answered_and_survived() {
    let backend = MockBackend::new(Behaviour::PanicsOn255, &["x"]);
    let model = serve(&backend, CONFIG);
    let error = ask(&model, &[[255, 255]]).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Internal);
    assert_eq!(error.message(), "the request was dropped by a failure in the server; see its log");
    assert_eq!(data(ask(&model, &[[7, 7]])).await, [7, 7]);
    model.stop();
}

#[tokio::test]
async fn outputs_that_are_no_rows_are_their_requests_own_as_a_whole() {
    let backend = MockBackend::new(Behaviour::WrongRows, &["x"]);
    let model = serve_bounded(&backend, CONFIG, 100);
    assert_eq!(model.notes(), ["each request runs by itself: output 'y' has shape [2, 2] for 1 row"]);
    let before = backend.control().batches().len();
    backend.control().close_gate();
    let asked = [ask(&model, &[[1, 2]]), ask(&model, &[[3, 4]]), ask(&model, &[[5, 6], [7, 8]])];
    settle().await;
    backend.control().open_gate();
    let [one, other, two] = asked;
    assert_eq!(data(one).await, [1, 2, 0, 0]);
    assert_eq!(data(other).await, [3, 4, 0, 0]);
    assert_eq!(data(two).await, [5, 6, 7, 8, 0, 0]);
    assert_eq!(backend.control().batches()[before..], [1, 1, 2]);
    model.stop();
}

/// The trial at load can't meet every value.
#[tokio::test]
async fn a_batch_that_is_no_rows_after_all_is_answered_one_by_one_and_is_the_last() {
    let backend = MockBackend::new(Behaviour::LosesRowOn254, &["x"]);
    let model = serve_in_chosen_sizes(&backend);
    assert_eq!(model.notes(), [""; 0]);
    let before = backend.control().batches().len();
    let ask_four = async |last: u8| {
        backend.control().close_gate();
        let first = ask(&model, &[[1, 1]]);
        settle().await;
        backend.control().wait_until_waiting(1);
        let asked = [first, ask(&model, &[[2, 2]]), ask(&model, &[[3, last]]), ask(&model, &[[4, 4]])];
        settle().await;
        backend.control().open_gate();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(data(answer).await);
        }
        answers
    };
    assert_eq!(ask_four(3).await, [[1, 1], [2, 2], [3, 3], [4, 4]]);
    assert_eq!(ask_four(254).await, [&[1, 1][..], &[2, 2], &[], &[4, 4]]);
    assert_eq!(ask_four(3).await, [[1, 1], [2, 2], [3, 3], [4, 4]]);
    let ran = &backend.control().batches()[before..];
    assert_eq!(ran, [1, 3, 1, 3, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(model.notes(), ["each request runs by itself: output 'y' has shape [2, 2] for a batch of 3"]);
    model.stop();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_gone_client_is_not_computed() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve_bounded(&backend, CONFIG, 2);
    wait_until_warm(&backend);
    let before = backend.control().batches().len();
    backend.control().close_gate();
    let running = ask(&model, &[[1, 1]]);
    settle().await;
    backend.control().wait_until_waiting(1);
    let gone = ask(&model, &[[2, 2]]);
    let stays = ask(&model, &[[3, 3]]);
    settle().await;
    let error = ask(&model, &[[4, 4]]).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(error.message(), "Exceeds maximum queue size: model 'm' is overloaded");
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    backend.control().open_gate();
    assert_eq!(data(running).await, [1, 1]);
    assert_eq!(data(stays).await, [3, 3]);
    assert_eq!(backend.control().batches()[before..], [1, 1], "the gone client's row was not run");
    model.stop();
}

#[tokio::test]
async fn a_stop_finishes_what_waits_and_refuses_what_comes() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve(&backend, &CONFIG.replace("{ }\n", "{ max_queue_delay_microseconds: 3600000000 }\n"));
    let waiting = ask(&model, &[[1, 1]]);
    settle().await;
    model.stop();
    assert_eq!(data(waiting).await, [1, 1]);
    let error = ask(&model, &[[2, 2]]).await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::Unavailable, "model 'm' is being unloaded"));
}

#[tokio::test]
async fn shapes_differ_in_buckets_of_their_own() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve_bounded(&backend, &CONFIG.replace("dims: [ 2 ]", "dims: [ -1 ]"), 100);
    backend.control().close_gate();
    let first = ask(&model, &[[0, 0]]);
    settle().await;
    backend.control().wait_until_waiting(1);
    let before = backend.control().batches().len();
    let odd = {
        let model = Arc::clone(&model);
        let mut request = request(&[[9, 9], [9, 9]]);
        request.inputs[0].shape = vec![1, 4];
        tokio::spawn(async move { model.infer(RequestContext::default(), request).await })
    };
    let pair = [ask(&model, &[[1, 1]]), ask(&model, &[[2, 2]])];
    settle().await;
    backend.control().open_gate();
    assert_eq!(data(first).await, [0, 0]);
    assert_eq!(data(odd).await, [9, 9, 9, 9]);
    for (index, answer) in pair.into_iter().enumerate() {
        assert_eq!(data(answer).await, [index as u8 + 1; 2]);
    }
    assert_eq!(backend.control().batches()[before..], [1, 2]);
    model.stop();
}

#[tokio::test]
async fn dictionaries_of_different_keys_are_never_mixed() {
    let backend = MockBackend::new(Behaviour::Identity, &[]).dictionary();
    let model = serve_bounded(
        &backend,
        "max_batch_size: 8 instance_group { count: 1 kind: KIND_CPU } dynamic_batching { }",
        100,
    );
    let ask = |name: &'static str, value: u8| {
        let model = Arc::clone(&model);
        let mut request = request(&[[value, value]]);
        request.inputs[0].name = Arc::from(name);
        tokio::spawn(async move { model.infer(RequestContext::default(), request).await })
    };
    backend.control().close_gate();
    let answers = [("a", ask("a", 1)), ("a", ask("a", 2)), ("b", ask("b", 3)), ("c", ask("c", 4))];
    settle().await;
    backend.control().open_gate();
    for (index, (name, answer)) in answers.into_iter().enumerate() {
        let outputs = answer.await.unwrap().unwrap().outputs;
        assert_eq!((&*outputs[0].name, outputs[0].data[0]), (name, index as u8 + 1));
    }
    model.stop();
}

#[tokio::test]
async fn a_shape_that_overflows_when_reshaped_is_refused() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let config = CONFIG.replace(
        "name: \"x\" data_type: TYPE_UINT8 dims: [ 2 ]",
        "name: \"x\" data_type: TYPE_UINT8 dims: [ -1, 4 ] reshape { shape: [ -1, 2, 2 ] }",
    );
    let model = serve_bounded(&backend, &config, 100);
    let mut request = request(&[]);
    request.inputs[0].shape = vec![0, 1 << 62, 4];
    let error = model.infer(RequestContext::default(), request).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert_eq!(error.message(), "input 'x' of shape [4611686018427387904,4] can't be reshaped to [-1,2,2]");
    model.stop();
}

#[tokio::test]
async fn an_output_that_no_configuration_declares_and_the_model_does_not_give_counts_as_a_failure() {
    let backend = MockBackend::new(Behaviour::Identity, &["x"]);
    let model = serve_bounded(&backend, "max_batch_size: 8 instance_group { count: 1 kind: KIND_CPU }", 100);
    let asking = |name: &str| InferenceRequest {
        outputs: vec![RequestedOutput { name: name.to_owned(), classification: 0 }],
        ..request(&[[1, 2]])
    };
    let error = model.infer(RequestContext::default(), asking("y")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert_eq!(error.message(), "unexpected inference output 'y': the model gives 'OUTPUT__0'");
    assert!(model.infer(RequestContext::default(), asking("OUTPUT__0")).await.is_ok());
    let told = model.statistics().inference_stats;
    assert_eq!((told.success.count, told.fail.count), (1, 1));
    model.stop();
}
