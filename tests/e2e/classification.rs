//! Triton's classification extension, in JSON and in binary.

use serde_json::{Value, json};

use crate::server::{Server, checkout, post};

/// The identity with labels beside it.
fn labelled(labels: Option<&str>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("identity");
    std::fs::create_dir_all(model.join("1")).unwrap();
    std::fs::copy(checkout("tests/models/identity/1/model.pt"), model.join("1/model.pt")).unwrap();
    let config = std::fs::read_to_string(checkout("tests/models/identity/config.pbtxt")).unwrap();
    let output = "name: \"OUTPUT0\" data_type: TYPE_FP32 dims: [ -1 ]";
    assert!(config.contains(output), "{config}");
    let named = config.replace(output, &format!("{output} label_filename: \"labels.txt\""));
    std::fs::write(model.join("config.pbtxt"), named).unwrap();
    if let Some(labels) = labels {
        std::fs::write(model.join("labels.txt"), labels).unwrap();
    }
    root
}

fn request(parameters: Value) -> String {
    json!({
        "inputs": [{"name": "INPUT0", "shape": [2, 3], "datatype": "FP32", "data": [0.5, 2, 1, -1, -3, -2]}],
        "outputs": [{"name": "OUTPUT0", "parameters": parameters}]
    })
    .to_string()
}

#[tokio::test]
async fn the_best_of_each_row_come_with_their_labels() {
    let root = labelled(Some("cat\ndog\n"));
    let server = Server::start(root.path(), &[]);
    let url = server.url("/v2/models/identity/infer");
    let (status, answer) = post(&url, request(json!({"classification": 2}))).await;
    assert_eq!(status, 200, "{answer}");
    let expected = ["2.000000:1:dog", "1.000000:2", "-1.000000:0:cat", "-2.000000:2"];
    assert_eq!(
        answer["outputs"],
        json!([{"name": "OUTPUT0", "datatype": "BYTES", "shape": [2, 2], "data": expected}])
    );

    let body = request(json!({"classification": 2, "binary_data": true}));
    let response = reqwest::Client::new().post(&url).body(body).send().await.unwrap();
    let length: usize =
        response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let bytes = response.bytes().await.unwrap();
    let strings =
        expected.map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).concat();
    assert_eq!(bytes[length..], strings);
    let header: Value = serde_json::from_slice(&bytes[..length]).unwrap();
    assert_eq!(header["outputs"][0]["datatype"], "BYTES");

    let (_, whole) = post(&url, request(json!({"classification": 0}))).await;
    assert_eq!(whole["outputs"][0]["datatype"], "FP32", "zero asks for the tensor");
    let (_, all) = post(&url, request(json!({"classification": 1_000_000_000_000i64}))).await;
    assert_eq!(all["outputs"][0]["shape"], json!([2, 3]), "no more than there are");
}

#[tokio::test]
async fn labels_that_are_named_and_missing_are_told_at_start() {
    let root = labelled(None);
    let output = crate::server::command(root.path(), &[])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("identity: labels.txt: not found in the model's directory"), "{text}");
}

/// `[transform.classification]` without photographs: scores of a table's rows.
#[tokio::test]
async fn any_model_with_scores_answers_labels() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("linear");
    std::fs::create_dir_all(model.join("1")).unwrap();
    std::fs::copy(checkout("tests/rows/linear.pt"), model.join("1/model.pt")).unwrap();
    let config = r#"max_batch_size: 4
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
        output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] } ]"#;
    std::fs::write(model.join("config.pbtxt"), config).unwrap();
    std::fs::write(model.join("labels.txt"), "setosa\nversicolor\nvirginica\n").unwrap();
    let settings = "[transform.classification]\nlabels = \"labels.txt\"\ntop_k = 2\n";
    std::fs::write(model.join("cresset.toml"), settings).unwrap();
    let wrong = root.path().join("wrong");
    std::fs::create_dir_all(wrong.join("1")).unwrap();
    std::fs::copy(checkout("tests/rows/label.pt"), wrong.join("1/model.pt")).unwrap();
    let config = r#"max_batch_size: 4
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
        output [ { name: "OUTPUT__0" data_type: TYPE_INT64 dims: [ ] reshape { shape: [ ] } } ]"#;
    std::fs::write(
        wrong.join("config.pbtxt"),
        config.replace("dims: [ ] reshape { shape: [ ] }", "dims: [ 1 ] reshape { shape: [ ] }"),
    )
    .unwrap();
    std::fs::copy(model.join("labels.txt"), wrong.join("labels.txt")).unwrap();
    std::fs::write(wrong.join("cresset.toml"), settings).unwrap();

    let server = Server::start(root.path(), &[]);
    let line = server.announced.lines().find(|line| line.contains("NOT served: wrong")).unwrap();
    assert!(
        line.contains("[transform.classification]: output 'OUTPUT__0' is INT64, and scores are FP32"),
        "{line}"
    );

    let rows = json!([[0.1, 0.2, 0.3, 0.4], [4.0, -3.0, 2.0, -1.0]]);
    let request = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": rows}]});
    let (_, tensors) = post(&server.url("/v2/models/linear/infer"), request.to_string()).await;
    let scores: Vec<f64> = tensors["outputs"][0]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score.as_f64().unwrap())
        .collect();
    let expected = |row: &[f64]| {
        let total: f64 = row.iter().map(|score| score.exp()).sum();
        let mut ranked: Vec<(usize, f64)> = row.iter().map(|score| score.exp() / total).enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    };
    let check = |got: &serde_json::Value, row: &[f64]| {
        let names = ["setosa", "versicolor", "virginica"];
        assert_eq!(got.as_array().unwrap().len(), 2, "{got}");
        for (got, (index, probability)) in got.as_array().unwrap().iter().zip(expected(row)) {
            assert_eq!(got["label"], names[index]);
            assert!((got["probability"].as_f64().unwrap() - probability).abs() < 1e-6, "{got}");
        }
    };
    let (status, two) = post(&server.url("/predictions/linear"), json!({ "x": rows }).to_string()).await;
    assert_eq!(status, 200, "{two}");
    let (_, predict) = post(&server.url("/predict"), json!({ "x": [rows[1]] }).to_string()).await;
    check(&predict["predictions"], &scores[3..]);
    let (_, both) = post(&server.url("/predict"), json!({ "x": rows }).to_string()).await;
    check(&both["predictions"][0], &scores[..3]);
    check(&both["predictions"][1], &scores[3..]);
    // TorchServe's form: labels with their probabilities.
    for (row, scores) in two.as_array().unwrap().iter().zip(scores.chunks(3)) {
        let (index, probability) = expected(scores)[0];
        let label = ["setosa", "versicolor", "virginica"][index];
        assert!((row[label].as_f64().unwrap() - probability).abs() < 1e-6, "{row}");
    }
}
