//! Requests of different lengths, a budget of elements and large requests
//! through a served model, against a mock that gives its inputs back.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::error::Error;
use cresset::model::{LoadError, ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset::model_settings::ModelSettings;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_protocol::{Datatype, InferenceRequest, InferenceResponse, Tensor};
use tokio::task::JoinHandle;

const CONFIG: &str = r#"
    max_batch_size: 4
    input [ { name: "ids" data_type: TYPE_UINT8 dims: [ -1 ] },
            { name: "mask" data_type: TYPE_INT16 dims: [ -1 ] } ]
    output [ { name: "tokens" data_type: TYPE_UINT8 dims: [ -1 ] },
             { name: "kept" data_type: TYPE_INT16 dims: [ -1 ] } ]
    instance_group [ { count: 1 kind: KIND_CPU } ]
    dynamic_batching { }
"#;

const PADDING: &str =
    "[padding]\nmask = \"mask\"\nmultiple_of = 2\nmax_length = 9\ninputs.ids = { value = 7 }\n";

fn load(backend: &MockBackend, config: &str, settings: &str) -> Result<Arc<ServedModel>, LoadError> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("cresset.toml"), settings).unwrap();
    let source = ModelSource {
        batching: ModelSettings::read(directory.path()).unwrap().batching,
        ..ModelSource::new("model.pt", ModelConfig::from_pbtxt(config, "m").unwrap())
    };
    let resources = Resources::of_processors(1);
    ServedModel::load(backend, &source, &resources, QueueBounds::of_requests(100))
        .map(|loaded| Arc::new(loaded.model))
}

/// A served model that has ended its own runs, `own` of them, and waits at the
/// gate with one request: what is asked now meets in the queue.
async fn busy(backend: &MockBackend, settings: &str, own: usize) -> (Arc<ServedModel>, JoinHandle<Answer>) {
    let model = load(backend, CONFIG, settings).unwrap();
    backend.control().wait_until_ran(own);
    backend.control().close_gate();
    let first = ask(&model, ids(&[&[9]])).await;
    backend.control().wait_until_waiting(1);
    (model, first)
}

/// What is tried at load: batches of 1 three times, of 2, 3 and 4. Then batches of 1 three times; of 2 and 4, and of 1
/// at lengths of 4, 8 and 9, twice each.
const OWN_RUNS: usize = 6 + 13;

type Answer = Result<InferenceResponse, Error>;

fn tensor(name: &str, datatype: Datatype, shape: &[i64], data: Vec<u8>) -> Tensor {
    Tensor { name: Arc::from(name), datatype, shape: shape.to_vec(), data: Bytes::from(data) }
}

fn ids(rows: &[&[u8]]) -> Vec<Tensor> {
    vec![tensor("ids", Datatype::Uint8, &[rows.len() as i64, rows[0].len() as i64], rows.concat())]
}

async fn ask(model: &Arc<ServedModel>, inputs: Vec<Tensor>) -> JoinHandle<Answer> {
    let request = InferenceRequest { inputs, ..InferenceRequest::default() };
    let model = Arc::clone(model);
    let asked = tokio::spawn(async move { model.infer(RequestContext::default(), request).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    asked
}

/// The tokens that came, and of what shape.
async fn tokens(answer: JoinHandle<Answer>) -> (Vec<i64>, Vec<u8>) {
    let mut outputs = answer.await.unwrap().unwrap().outputs;
    let tokens = outputs.remove(0);
    (tokens.shape, tokens.data.to_vec())
}

#[tokio::test]
async fn requests_of_different_lengths_share_a_batch_and_get_their_own_back() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    let (model, first) = busy(&backend, PADDING, OWN_RUNS).await;
    let short = ask(&model, ids(&[&[1, 2, 3]])).await;
    let long = ask(&model, ids(&[&[4, 5, 6, 7], &[8, 9, 10, 11]])).await;
    let mut sent = ids(&[&[12, 13]]);
    sent.push(tensor("mask", Datatype::Int16, &[1, 2], vec![1, 0, 0, 0]));
    let masked = ask(&model, sent).await;
    let before = backend.control().batches().len();
    backend.control().open_gate();
    assert_eq!(tokens(first).await, (vec![1, 1], vec![9]));
    assert_eq!(tokens(long).await, (vec![2, 4], (4..12).collect()));
    let outputs = masked.await.unwrap().unwrap().outputs;
    assert_eq!(outputs[0], tensor("tokens", Datatype::Uint8, &[1, 2], vec![12, 13]));
    assert_eq!(outputs[1], tensor("kept", Datatype::Int16, &[1, 2], vec![1, 0, 0, 0]), "the client's own");
    let outputs = short.await.unwrap().unwrap().outputs;
    assert_eq!(outputs[0], tensor("tokens", Datatype::Uint8, &[1, 3], vec![1, 2, 3]));
    assert_eq!(outputs[1], tensor("kept", Datatype::Int16, &[1, 3], vec![1, 0, 1, 0, 1, 0]), "made");
    assert_eq!(backend.control().batches()[before..], [4]);
    let told = model.metadata(vec!["1".to_owned()]);
    assert_eq!(told.inputs.iter().map(|input| input.shape.clone()).collect::<Vec<_>>(), [[-1, -1], [-1, -1]]);
    model.stop();
}

#[tokio::test]
async fn what_does_not_fit_together_is_named() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    let model = load(&backend, CONFIG, PADDING).unwrap();
    let refused = async |inputs: Vec<Tensor>| {
        let request = InferenceRequest { inputs, ..InferenceRequest::default() };
        model.infer(RequestContext::default(), request).await.unwrap_err().message().to_owned()
    };
    let mask = |length: i64| tensor("mask", Datatype::Int16, &[1, length], vec![0; 2 * length as usize]);
    insta::assert_snapshot!(
        refused([ids(&[&[1, 2]]), vec![mask(3)]].concat()).await,
        @"inputs 'ids' and 'mask' of model 'm' are padded together and have one length: got 2 and 3, in dimension 1 of 'mask'"
    );
    insta::assert_snapshot!(
        refused(ids(&[&[0; 10]])).await,
        @"input 'ids' of model 'm' is 10 long: at most 9 is taken"
    );
    insta::assert_snapshot!(refused(vec![mask(2)]).await, @"expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['mask'], but missing required input(s) ['ids']. Please provide all required input(s).");
    insta::assert_snapshot!(
        refused(ids(&[&[1], &[1], &[1], &[1], &[1]])).await,
        @"inference request batch-size must be <= 4 for 'm', got 5"
    );
    model.stop();
    let error = load(&backend, CONFIG, "[padding]\nmask = \"mask\"\ninputs.words = {}\n").err().unwrap();
    insta::assert_snapshot!(error, @"cresset.toml, line 3: [padding] names input 'words': the model takes 'ids', 'mask'");
    let stateful = MockBackend::new(Behaviour::Identity, &["ids", "mask"]).stateful();
    let error = load(&stateful, CONFIG, PADDING).err().unwrap();
    insta::assert_snapshot!(error, @"cresset.toml, line 1: [padding] is about batches, and the model has none: forward writes to the attribute 'count'");
}

#[tokio::test]
async fn a_budget_of_elements_parts_what_the_count_would_not() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    // Warm-up runs above the budget are left out: 4 x 2 is not, and 1 x 9 is.
    let settings = format!("[batching]\nmax_elements = 8\n{PADDING}");
    let (model, first) = busy(&backend, &settings, OWN_RUNS - 2).await;
    let before = backend.control().batches().len();
    let mut asked = vec![first];
    for _ in 0..4 {
        asked.push(ask(&model, ids(&[&[1, 2, 3]])).await);
    }
    backend.control().open_gate();
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(backend.control().batches()[before..], [2, 2]);
    model.stop();
}

#[tokio::test]
async fn a_large_request_runs_in_parts_which_have_company_and_is_answered_once() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    let settings = format!("[batching]\nsplit_large_requests = true\n{PADDING}");
    let (model, first) = busy(&backend, &settings, OWN_RUNS).await;
    let before = backend.control().batches().len();
    let rows: Vec<[u8; 2]> = (0..9).map(|row| [row, row + 100]).collect();
    let rows: Vec<&[u8]> = rows.iter().map(<[u8; 2]>::as_slice).collect();
    let large = ask(&model, ids(&rows)).await;
    let company = ask(&model, ids(&[&[50, 51]])).await;
    backend.control().open_gate();
    first.await.unwrap().unwrap();
    assert_eq!(tokens(large).await, (vec![9, 2], rows.concat()));
    assert_eq!(tokens(company).await, (vec![1, 2], vec![50, 51]));
    assert_eq!(backend.control().batches()[before..], [4, 4, 2]);
    let told = model.statistics();
    assert_eq!((told.inference_count, told.inference_stats.success.count), (11, 3));
    model.stop();
}

#[tokio::test]
async fn a_part_that_fails_fails_its_request_and_nobody_else_s() {
    let backend = MockBackend::new(Behaviour::FailsOn255, &["ids", "mask"]);
    let settings = format!("[batching]\nsplit_large_requests = true\n{PADDING}");
    let (model, first) = busy(&backend, &settings, OWN_RUNS).await;
    let bad = ask(&model, ids(&[&[1], &[2], &[3], &[4], &[255]])).await;
    let good = ask(&model, ids(&[&[6]])).await;
    backend.control().open_gate();
    first.await.unwrap().unwrap();
    assert_eq!(bad.await.unwrap().unwrap_err().message(), "PyTorch execute failure: 255");
    assert_eq!(tokens(good).await, (vec![1, 1], vec![6]));
    let told = model.statistics().inference_stats;
    assert_eq!((told.success.count, told.fail.count), (2, 1));
    model.stop();
}

#[tokio::test]
async fn parts_of_a_request_that_nobody_waits_for_do_not_run() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    let settings = format!("[batching]\nsplit_large_requests = true\n{PADDING}");
    let (model, first) = busy(&backend, &settings, OWN_RUNS).await;
    let before = backend.control().batches().len();
    let gone = ask(&model, ids(&[&[1][..]; 12])).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let last = ask(&model, ids(&[&[2]])).await;
    backend.control().open_gate();
    first.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
    assert_eq!(backend.control().batches()[before..], [1]);
    let told = model.statistics().inference_stats;
    assert_eq!((told.success.count, told.fail.count), (2, 1), "counted once");
    model.stop();
}

#[tokio::test]
async fn answers_keep_their_order_though_batches_do_not() {
    let backend = MockBackend::new(Behaviour::Identity, &["ids", "mask"]);
    let config = CONFIG.replace("dynamic_batching { }", "dynamic_batching { preserve_ordering: true }");
    let model = load(&backend, &config, PADDING).unwrap();
    backend.control().wait_until_ran(OWN_RUNS);
    backend.control().close_gate();
    let mut asked = vec![ask(&model, ids(&[&[9]])).await];
    backend.control().wait_until_waiting(1);
    // The third joins the first, and is ready before the second.
    for length in [8, 2, 8] {
        asked.push(ask(&model, ids(&[&vec![1; length]])).await);
    }
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for (index, answer) in asked.into_iter().enumerate() {
        let sender = sender.clone();
        tokio::spawn(async move {
            answer.await.unwrap().unwrap();
            let _ = sender.send(index);
        });
    }
    backend.control().open_gate();
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(answers.recv().await.unwrap());
    }
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!(backend.control().batches()[OWN_RUNS..], [1, 2, 1]);
    model.stop();
}
