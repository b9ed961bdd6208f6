//! A model format that allows less than TorchScript: the server does less for
//! it.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use bytes::Bytes;
use cresset::context::RequestContext;
use cresset::model::{ModelSource, QueueBounds, Resources, ServedModel};
use cresset::model_config::ModelConfig;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_backend::{Allows, FormatNames, LoadOptions, ModelFiles, ModelFormat, TORCH_SCRIPT};
use cresset_protocol::{Datatype, InferenceRequest, Tensor};
use serde_json::Value;

static FIXED: ModelFormat = ModelFormat {
    name: "Fixed",
    files: ModelFiles {
        default_filename: "model.fixed",
        extensions: &["fixed"],
        rare_extensions: &[],
        mismatch: |_| None,
        whole: |_| Ok(()),
    },
    names: FormatNames {
        platform: "fixed_platform",
        backend: "fixed",
        accepted: &["fixed"],
        runtime: "",
        instead_of_runtime: "",
    },
    switches: &[],
    allows: Allows { share: false, batch: false, freeze: false, rewrite: false },
};

const CONFIG: &str = r#"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    output [ { name: "y" data_type: TYPE_UINT8 dims: [ 1 ] } ]
    instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_CPU } ]
    dynamic_batching { preferred_batch_size: [ 4 ] }
"#;

fn backend(format: &'static ModelFormat) -> MockBackend {
    MockBackend::new(Behaviour::Identity, &["x"]).of_format(format)
}

fn source() -> ModelSource {
    ModelSource::new("model.fixed", ModelConfig::from_pbtxt(CONFIG, "m").unwrap())
}

fn served(backend: &MockBackend) -> Arc<ServedModel> {
    Arc::new(
        ServedModel::load(backend, &source(), &Resources::of_processors(2), QueueBounds::of_requests(100))
            .unwrap()
            .model,
    )
}

/// Until every task has queued its request: they share this thread.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// The rows of each batch, when five requests wait that came while all three
/// instances were busy.
async fn batches(format: &'static ModelFormat) -> Vec<i64> {
    let backend = backend(format);
    let model = served(&backend);
    let control = backend.control();
    let before = control.batches().len();
    let send = |value: u8| {
        let (shape, data) = (vec![1, 1], Bytes::copy_from_slice(&[value]));
        let input = Tensor { name: Arc::from("x"), datatype: Datatype::Uint8, shape, data };
        let request = InferenceRequest { inputs: vec![input], ..InferenceRequest::default() };
        let model = Arc::clone(&model);
        tokio::spawn(async move { model.infer(RequestContext::default(), request).await.unwrap() })
    };
    control.close_gate();
    let mut sent = Vec::new();
    for value in 0..3 {
        sent.push(send(value));
        settle().await;
        control.wait_until_waiting(usize::from(value) + 1);
    }
    sent.extend((3..8).map(send));
    settle().await;
    control.open_gate();
    for (value, answer) in (0..8_u8).zip(sent) {
        assert_eq!(answer.await.unwrap().outputs[0].data, [value].as_slice());
    }
    let mut batches = control.batches().split_off(before);
    model.stop();
    batches.sort_unstable();
    batches
}

#[tokio::test]
async fn requests_share_batches_if_the_format_allows_it() {
    assert_eq!(batches(&FIXED).await, [1; 8]);
    // A preferred size is left as it is, whatever batches were seen to take.
    assert_eq!(batches(&TORCH_SCRIPT).await.last(), Some(&4), "four of the five that waited");
}

#[tokio::test]
async fn instances_share_a_model_if_the_format_allows_it() {
    for (format, loads) in [(&FIXED, 3), (&TORCH_SCRIPT, 1)] {
        let backend = backend(format);
        let model = served(&backend);
        assert_eq!(backend.control().loads(), loads, "{}", format.name);
        model.stop();
    }
}

#[tokio::test]
async fn clients_are_told_the_format_of_the_file() {
    let model = served(&backend(&FIXED));
    assert_eq!(model.metadata(Vec::new()).platform, "fixed_platform");
    let config: Value = serde_json::from_slice(model.config_json()).unwrap();
    assert_eq!((&config["platform"], &config["backend"]), (&"fixed_platform".into(), &"fixed".into()));
    model.stop();
}

#[test]
fn settings_that_ask_for_what_the_format_does_not_allow_are_refused() {
    let mut options = LoadOptions::default();
    options.optimize.freeze = Some(true);
    let source = ModelSource { options, ..source() };
    let load = |format| {
        ServedModel::load(
            &backend(format),
            &source,
            &Resources::of_processors(2),
            QueueBounds::of_requests(100),
        )
    };
    assert_eq!(
        load(&FIXED).err().unwrap().to_string(),
        "cresset.toml: [optimize] freeze = true: Fixed models don't have it; leave it out"
    );
    load(&TORCH_SCRIPT).unwrap().model.stop();
}
