//! The configuration's outputs beside the model's: a version that can't answer
//! as declared isn't served, and no answer holds another caller's rows.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Server, checkout, get, post};

/// Models of `tests/rows`, each under a name of its own.
fn repository(models: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, file, config) in models {
        let directory = root.path().join(name);
        std::fs::create_dir_all(directory.join("1")).unwrap();
        let file = checkout("tests/rows").join(format!("{file}.pt"));
        std::fs::copy(file, directory.join("1/model.pt")).unwrap();
        std::fs::write(directory.join("config.pbtxt"), config).unwrap();
    }
    root
}

/// `Linear` of 4 and 3.
fn linear(dims: &str, output: &str) -> String {
    format!(
        r#"max_batch_size: 4
           input [ {{ name: "x" data_type: TYPE_FP32 dims: [ {dims} ] }} ]
           output [ {{ {output} }} ]"#
    )
}

async fn index(server: &Server) -> Value {
    post(&server.url("/v2/repository/index"), "").await.1
}

#[tokio::test]
async fn a_version_that_can_not_answer_as_declared_is_not_served_and_the_reason_is_told() {
    let right = r#"name: "y" data_type: TYPE_FP32 dims: [ 3 ]"#;
    let configs = [
        ("right", linear("4", right)),
        ("type", linear("4", r#"name: "y" data_type: TYPE_INT64 dims: [ 3 ]"#)),
        ("place", linear("4", r#"name: "OUTPUT__3" data_type: TYPE_FP32 dims: [ 3 ]"#)),
        ("shape", linear("4", r#"name: "y" data_type: TYPE_FP32 dims: [ 64, 4 ]"#)),
        ("size", linear("4", r#"name: "y" data_type: TYPE_FP32 dims: [ 5 ]"#)),
        ("dims", linear("5", right)),
    ];
    let models: Vec<_> = configs.iter().map(|(name, config)| (*name, "linear", config.as_str())).collect();
    let root = repository(&models);
    let server = Server::start(root.path(), &[]);
    let served = "the model doesn't give what config.pbtxt declares: ";
    let fails = "it fails on every input that was tried: ";
    for (name, state, reason) in [
        ("right", "READY", String::new()),
        (
            "type",
            "UNAVAILABLE",
            format!("{served}configuration expects datatype INT64 for output 'y', model provides FP32"),
        ),
        (
            "place",
            "UNAVAILABLE",
            format!(
                "{served}output 'OUTPUT__3' in the model configuration refers to output 3 of the model, which gives 1"
            ),
        ),
        (
            "shape",
            "UNAVAILABLE",
            format!(
                "{served}output 'y' has shape [1, 3], but config.pbtxt declares dims [64, 4] behind the batch"
            ),
        ),
        (
            "size",
            "UNAVAILABLE",
            format!(
                "{served}output 'y' has shape [1, 3], but config.pbtxt declares dims [5] behind the batch"
            ),
        ),
        // What it is made for isn't known: perhaps a client knows better.
        ("dims", "READY", fails.to_owned()),
    ] {
        let index = index(&server).await;
        let entry = index.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
        assert_eq!(entry["state"], state, "{entry}");
        let told = entry["reason"].as_str().unwrap_or_default();
        if name == "dims" {
            assert!(told.starts_with(fails) && told.contains("mat1 and mat2 shapes"), "{told}");
        } else {
            assert_eq!(told, reason, "{name}");
        }
        let ready = get(&server.url(&format!("/v2/models/{name}/ready"))).await.0;
        assert_eq!(ready == 200, state == "READY", "{name}");
    }
    assert_ne!(get(&server.url("/v2/health/ready")).await.0, 200, "not all that should be there is");
    let row = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]});
    let (status, answer) = post(&server.url("/v2/models/right/infer"), row.to_string()).await;
    assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([1, 3])), "{answer}");
}

/// Hits of a whole batch come in one list: each caller gets its own, a caller
/// without hits none.
#[tokio::test]
async fn hits_are_the_caller_s_own() {
    let config = r#"max_batch_size: 16
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
        output [ { name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ -1, 2 ] },
                 { name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ -1 ] } ]
        dynamic_batching { max_queue_delay_microseconds: 20000 preferred_batch_size: [ 2 ] }
        instance_group [ { count: 1 kind: KIND_CPU } ]"#;
    let root = repository(&[("hits", "hits", config)]);
    let server = Server::start(root.path(), &[]);
    let reason = index(&server).await[0]["reason"].clone();
    assert!(
        reason.as_str().is_some_and(|told| told.starts_with("each request runs by itself: ")),
        "{reason}"
    );
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let url = server.url("/v2/models/hits/infer");
        callers.spawn(async move {
            // As many hits as the number has ones, in its last four bits.
            let values: Vec<f64> = (0..4).map(|bit| f64::from((number >> bit) & 1) * 0.75).collect();
            let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": values});
            let (status, answer) = post(&url, json!({"inputs": [input]}).to_string()).await;
            assert_eq!(status, 200, "{answer}");
            let hits: Vec<Value> = values.iter().filter(|value| **value > 0.0).map(|v| json!(v)).collect();
            let scores = &answer["outputs"][1];
            assert_eq!(scores["data"], Value::from(hits.clone()), "{number}: {answer}");
            assert_eq!(scores["shape"], json!([1, hits.len()]), "a row's, as declared");
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// A detector that finds nothing in what is tried leaves its sizes open.
#[test]
fn what_is_empty_in_a_trial_is_no_size() {
    let inspect = |file: &Path, input: &str| {
        let arguments = ["inspect", &file.display().to_string(), "--input", input].map(str::to_owned);
        let done = Command::new(env!("CARGO_BIN_EXE_cresset")).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let found = inspect(&checkout("tests/rows/hits.pt"), "x:FP32:1,4");
    for line in [
        "max_batch_size: 0",
        r#"{ name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ -1, 2 ] }"#,
        r#"{ name: "OUTPUT__1" data_type: TYPE_FP32 dims: [ -1 ] }"#,
    ] {
        assert!(found.contains(line), "{line} in {found}");
    }
}
