//! Answers beside Python PyTorch's, alone and in mixed batches, each response
//! carrying its own request's rows.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Server, checkout};

/// A request with the answer that PyTorch gave to it.
#[derive(Debug)]
struct Case {
    header: String,
    tensors: Vec<u8>,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    name: String,
    shape: Value,
    data: Vec<f64>,
}

/// Reads the references of a model; they were made by `scripts/models`.
fn cases(model: &str) -> Vec<Case> {
    let path = checkout(&format!("tests/references/{model}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let references: Value = serde_json::from_str(&text).unwrap();
    let cases = references["cases"].as_array().unwrap();
    assert!(cases.len() >= 8, "{model} has {} cases", cases.len());
    cases.iter().map(case).collect()
}

fn case(reference: &Value) -> Case {
    let mut inputs = Vec::new();
    let mut tensors = Vec::new();
    for input in reference["inputs"].as_array().unwrap() {
        let elements: usize =
            input["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).product();
        let bytes: Vec<u8> = match input["datatype"].as_str().unwrap() {
            "INT64" => input["data"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|v| v.as_i64().unwrap().to_le_bytes())
                .collect(),
            "FP32" => match input["data"].as_array() {
                Some(data) => data.iter().flat_map(|v| (v.as_f64().unwrap() as f32).to_le_bytes()).collect(),
                None => formula(&input["formula"], elements),
            },
            other => panic!("a reference of datatype {other}"),
        };
        inputs.push(json!({"name": input["name"], "datatype": input["datatype"], "shape": input["shape"],
            "parameters": {"binary_data_size": bytes.len()}}));
        tensors.extend(bytes);
    }
    let outputs = reference["outputs"].as_array().unwrap().iter().map(|output| Output {
        name: output["name"].as_str().unwrap().to_owned(),
        shape: output["shape"].clone(),
        data: numbers(&output["data"]),
    });
    Case { header: json!({ "inputs": inputs }).to_string(), tensors, outputs: outputs.collect() }
}

/// Inputs too large to be stored: see `formula` in the references.
fn formula(formula: &Value, elements: usize) -> Vec<u8> {
    let parameter = |name: &str| formula[name].as_u64().unwrap();
    let (offset, step) = (parameter("offset"), parameter("step"));
    let scale = formula["scale"].as_f64().unwrap() as f32;
    (0..elements as u64)
        .flat_map(|i| {
            let hash = (i / step + offset).wrapping_mul(2_654_435_761) & 0xffff_ffff;
            let value = (hash >> 8) as f32 / 16_777_216.0 * 2.0 - 1.0;
            (value * scale).to_le_bytes()
        })
        .collect()
}

fn numbers(data: &Value) -> Vec<f64> {
    data.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

async fn ask(client: &reqwest::Client, url: &str, case: &Case) -> Value {
    let response = client
        .post(url)
        .header("Inference-Header-Content-Length", case.header.len())
        .body([case.header.as_bytes(), &case.tensors].concat())
        .send()
        .await
        .unwrap();
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

/// `max|a - b| <= 1e-5 * max|b|` for each output: PyTorch itself misses an
/// element-wise bound between a batch and its rows.
fn assert_equal(answer: &Value, case: &Case, label: &str) {
    for expected in &case.outputs {
        let outputs = answer["outputs"].as_array().unwrap();
        let got =
            outputs.iter().find(|o| o["name"] == expected.name.as_str()).unwrap_or_else(|| panic!("{label}"));
        assert_eq!(got["shape"], expected.shape, "{label} {}", expected.name);
        let data = numbers(&got["data"]);
        assert_eq!(data.len(), expected.data.len());
        let largest = expected.data.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let difference = data.iter().zip(&expected.data).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(
            difference <= 1e-5 * largest,
            "{label} {}: differs by {difference:e} where the largest is {largest:e}",
            expected.name
        );
    }
}

async fn alone_and_together(server: &Server, model: &'static str, concurrent: usize) {
    let url = Arc::new(server.url(&format!("/v2/models/{model}/infer")));
    let cases: Arc<Vec<Case>> = Arc::new(cases(model));
    let client = reqwest::Client::new();
    for (index, case) in cases.iter().enumerate() {
        assert_equal(&ask(&client, &url, case).await, case, &format!("{model} case {index} alone"));
    }
    let mut tasks = JoinSet::new();
    for index in 0..concurrent {
        let (client, url, cases) = (client.clone(), Arc::clone(&url), Arc::clone(&cases));
        tasks.spawn(async move {
            let case = &cases[index % cases.len()];
            assert_equal(
                &ask(&client, &url, case).await,
                case,
                &format!("{model} request {index} among others"),
            );
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every concurrent request has its own answer");
    }
    // Otherwise nothing was shown of batches.
    let label = format!("model=\"{model}\"");
    let rows = server.metric("nv_inference_count", &label).await;
    let batches = server.metric("nv_inference_exec_count", &label).await;
    assert!(batches < rows, "{model}: {rows} rows in {batches} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_models_answer_as_python_does() {
    // Driven as on an accelerator too: copies in and out, stages that overlap.
    for flags in [&[][..], &["--overlapped"]] {
        let server = Server::start(&checkout("tests/models"), flags);
        for model in ["multi_io", "tokens", "dynamic"] {
            alone_and_together(&server, model, 1_000).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_network_answers_as_python_does() {
    for flags in [&[][..], &["--overlapped"]] {
        let server = Server::with_default_models(flags);
        alone_and_together(&server, "efficientnet_lite0", 64).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_distinct_requests_at_once_get_their_own_rows() {
    let server = Server::with_default_models(&[]);
    let url = Arc::new(server.url("/v2/models/simple/infer"));
    let client = reqwest::Client::new();
    let mut tasks = JoinSet::new();
    for id in 0..2_000i32 {
        let (client, url) = (client.clone(), Arc::clone(&url));
        tasks.spawn(async move {
            let rows = id % 3 + 1;
            let data = vec![id; 16 * rows as usize];
            let input =
                |name: &str| json!({"name": name, "shape": [rows, 16], "datatype": "INT32", "data": data});
            let body =
                json!({"id": id.to_string(), "inputs": [input("INPUT0"), input("INPUT1")]}).to_string();
            let answer: Value = client.post(&*url).body(body).send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["id"], id.to_string(), "{answer}");
            assert_eq!(answer["outputs"][0]["data"], json!(vec![2 * id; 16 * rows as usize]));
            assert_eq!(answer["outputs"][1]["data"], json!(vec![0; 16 * rows as usize]));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
