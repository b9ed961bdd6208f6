//! NaN and infinities: JSON has no number for them, and strict parsers, such as
//! `serde_json`, refuse an answer that has some.

use std::path::Path;

use serde_json::json;

use crate::server::{Server, checkout, post};

/// `log(x)`, with settings beside it.
fn put(root: &Path, name: &str, settings: &str) {
    let directory = root.join(name);
    std::fs::create_dir_all(directory.join("1")).unwrap();
    std::fs::copy(checkout("tests/backend/log.pt"), directory.join("1/model.pt")).unwrap();
    let config = "max_batch_size: 8\ninput [ { name: \"x\" data_type: TYPE_FP32 dims: [ -1 ] } ]\n\
                  output [ { name: \"y\" data_type: TYPE_FP32 dims: [ -1 ] } ]\n";
    std::fs::write(directory.join("config.pbtxt"), config).unwrap();
    std::fs::write(directory.join("cresset.toml"), settings).unwrap();
}

const PLAIN: &str = r#"{"x": [[1, 0, -1]]}"#;
const ROWS: &str = r#"{"instances": [[1, 0, -1]]}"#;

fn inference(parameters: &str) -> String {
    format!(
        r#"{{"parameters": {parameters}, "inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 0, -1]}}]}}"#
    )
}

#[tokio::test]
async fn plain_answers_are_json_that_every_parser_reads() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "log", "");
    put(root.path(), "text", "non_finite = \"text\"\n");
    put(root.path(), "error", "non_finite = \"error\"\n");
    let server = Server::start(root.path(), &["--model-name=log"]);
    for (model, row) in [("log", json!([0.0, null, null])), ("text", json!([0.0, "-Infinity", "NaN"]))] {
        let answer = post(&server.url(&format!("/predictions/{model}")), PLAIN).await;
        assert_eq!(answer, (200, json!({"y": [row]})), "{model}");
        let answer = post(&server.url(&format!("/v1/models/{model}:predict")), ROWS).await;
        assert_eq!(answer, (200, json!({"predictions": [row]})), "{model}");
        let answer = post(&server.url(&format!("/predictions/{model}")), inference("{}")).await;
        assert_eq!((answer.0, &answer.1["outputs"][0]["data"]), (200, &row), "{model}");
    }
    assert_eq!(post(&server.url("/predict"), PLAIN).await, (200, json!({"y": [[0.0, null, null]]})));
    for (path, body) in [("/predictions/error", PLAIN), ("/v1/models/error:predict", ROWS)] {
        let (status, answer) = post(&server.url(path), body).await;
        let message = answer["error"].as_str().unwrap();
        assert_eq!(status, 500, "{message}");
        assert!(
            message.starts_with("output 'y' holds -Infinity at [0, 1], which JSON has no number for"),
            "{message}"
        );
    }
    let finite = post(&server.url("/predictions/error"), r#"{"x": [[1, 1]]}"#).await;
    assert_eq!(finite, (200, json!({"y": [[0.0, 0.0]]})));
}

#[tokio::test]
async fn inference_answers_as_triton_does_unless_the_request_asks_for_strict_json() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "log", "non_finite = \"text\"\n");
    let server = Server::start(root.path(), &[]);
    let url = server.url("/v2/models/log/infer");
    let (status, answer) = post(&url, inference("{}")).await;
    // Read by no strict parser, so it comes as text.
    assert_eq!(status, 200);
    assert!(answer.as_str().unwrap().contains(r#""data":[0.0,-Infinity,NaN]"#), "{answer}");
    for (rule, data) in [("null", json!([0.0, null, null])), ("text", json!([0.0, "-Infinity", "NaN"]))] {
        let (status, answer) = post(&url, inference(&json!({ "non_finite": rule }).to_string())).await;
        assert_eq!((status, &answer["outputs"][0]["data"]), (200, &data), "{rule}");
    }
    assert_eq!(post(&url, inference(r#"{"non_finite": "error"}"#)).await.0, 500);
    // Of what isn't JSON there is nothing to refuse.
    let binary = inference(r#"{"non_finite": "error", "binary_data_output": true}"#);
    let response = reqwest::Client::new().post(&url).body(binary).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let body = response.bytes().await.unwrap();
    assert!(f32::from_le_bytes(*body.last_chunk().unwrap()).is_nan());
    let (status, answer) = post(&url, inference(r#"{"non_finite": "nan"}"#)).await;
    assert_eq!((status, answer["error"].is_string()), (400, true), "{answer}");
}
