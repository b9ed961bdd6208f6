//! Requests of different lengths share batches, and each gets the answer that
//! it would have got alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Server, checkout, command, post};

/// A repository of one of the tests' models, with other settings and a delay,
/// so that batches form however fast the machine is.
fn repository(model: &str, settings: &str) -> tempfile::TempDir {
    let repository = tempfile::tempdir().unwrap();
    let (from, to) = (checkout("tests/models").join(model), repository.path().join(model));
    std::fs::create_dir_all(to.join("1")).unwrap();
    std::fs::copy(from.join("1/model.pt"), to.join("1/model.pt")).unwrap();
    let config = std::fs::read_to_string(from.join("config.pbtxt")).unwrap();
    let delayed =
        config.replace("dynamic_batching { }", "dynamic_batching { max_queue_delay_microseconds: 3000 }");
    assert_ne!(delayed, config);
    std::fs::write(to.join("config.pbtxt"), delayed).unwrap();
    std::fs::write(to.join("cresset.toml"), settings).unwrap();
    repository
}

fn input(name: &str, datatype: &str, rows: usize, values: &[Value]) -> Value {
    json!({"name": name, "datatype": datatype, "shape": [rows, values.len() / rows], "data": values})
}

fn output<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
    outputs.iter().find(|output| output["name"] == name).unwrap_or_else(|| panic!("{answer}"))
}

/// Rows and batches that requests had.
async fn counted(server: &Server, model: &str) -> (f64, f64) {
    let label = format!("model=\"{model}\"");
    (
        server.metric("nv_inference_count", &label).await,
        server.metric("nv_inference_exec_count", &label).await,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_lengths_batch_and_each_answer_is_its_own() {
    const CLIENTS: usize = 32;
    const EACH: usize = 20;
    let settings = std::fs::read_to_string(checkout("tests/models/lengths/cresset.toml")).unwrap();
    let repository = repository("lengths", &settings);
    let server = Server::start(repository.path(), &[]);
    let url = Arc::new(server.url("/v2/models/lengths/infer"));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let url = Arc::clone(&url);
        clients.spawn(async move {
            let http = reqwest::Client::new();
            let mut came = Vec::new();
            for round in 0..EACH {
                let length = 1 + (client * 7 + round * 11) % 40;
                let x: Vec<i64> =
                    (0..length).map(|place| ((client * 31 + round * 17 + place * 5) % 64) as i64).collect();
                let values: Vec<Value> = x.iter().map(|x| json!(x)).collect();
                let body = json!({"inputs": [input("x", "FP32", 1, &values)]}).to_string();
                let answer: Value = http.post(&*url).body(body).send().await.unwrap().json().await.unwrap();
                let mean = x.iter().sum::<i64>() as f32 / length as f32;
                let centred: Vec<f32> = x.iter().map(|x| *x as f32 - mean).collect();
                // As they are written, numbers are the shortest that mean the same FP32.
                let came_back = |name: &str| -> Vec<f32> {
                    numbers(output(&answer, name)).into_iter().map(|value| value as f32).collect()
                };
                assert_eq!(came_back("mean"), [mean], "{answer}");
                assert_eq!(came_back("centred"), centred);
                assert_eq!(output(&answer, "centred")["shape"], json!([1, length]));
                let padded = output(&answer, "came")["data"][0].as_u64().unwrap() as usize;
                assert!(padded >= length && padded.is_multiple_of(8), "{length} became {padded}");
                came.push((length, padded));
            }
            came
        });
    }
    let mut came = Vec::new();
    while let Some(client) = clients.join_next().await {
        came.extend(client.unwrap());
    }
    let shapes: BTreeSet<usize> = came.iter().map(|(_, padded)| *padded).collect();
    assert!(shapes.len() <= 5, "40 lengths in {shapes:?}");
    let mixed = came.iter().filter(|(length, padded)| length.next_multiple_of(8) < *padded).count();
    assert!(mixed > 0, "none shared a batch with a longer one");
    let (rows, batches) = counted(&server, "lengths").await;
    assert_eq!(rows as usize, CLIENTS * EACH);
    assert!(rows / batches > 1.5, "{rows} rows in {batches} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mask_is_made_and_answers_are_those_of_requests_alone() {
    let settings = "[padding]\nmask = \"attention_mask\"\n[padding.inputs.input_ids]\nvalue = 999\n";
    let repository = repository("tokens", settings);
    let server = Server::start(repository.path(), &[]);
    let url = Arc::new(server.url("/v2/models/tokens/infer"));
    let plain =
        Server::start(&checkout("tests/models"), &["--model-control-mode=explicit", "--load-model=tokens"]);
    let plain_url = plain.url("/v2/models/tokens/infer");
    let ids = |index: usize| -> Vec<Value> {
        let length = 1 + index * 13 % 60;
        (0..length).map(|place| json!((index * 37 + place * 11) % 999)).collect()
    };
    let mut alone = Vec::new();
    for index in 0..64 {
        let mask = vec![json!(1); ids(index).len()];
        let inputs =
            [input("input_ids", "INT64", 1, &ids(index)), input("attention_mask", "INT64", 1, &mask)];
        let (status, answer) = post(&plain_url, json!({"inputs": inputs}).to_string()).await;
        assert_eq!(status, 200, "{answer}");
        alone.push(numbers(output(&answer, "embedding")));
    }
    let mut tasks = JoinSet::new();
    for index in 0..64 {
        let (url, ids) = (Arc::clone(&url), ids(index));
        tasks.spawn(async move {
            let body = json!({"inputs": [input("input_ids", "INT64", 1, &ids)]}).to_string();
            let (status, answer) = post(&url, body).await;
            assert_eq!(status, 200, "{answer}");
            (index, numbers(output(&answer, "embedding")))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (index, together) = done.unwrap();
        let largest = alone[index].iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (a, b) in together.iter().zip(&alone[index]) {
            assert!((a - b).abs() <= 1e-5 * largest, "{index}: {a} and {b}");
        }
    }
    let (rows, batches) = counted(&server, "tokens").await;
    assert!(rows == 64.0 && batches < 48.0, "{rows} rows in {batches} batches");
}

#[tokio::test]
async fn texts_of_unequal_lengths_come_in_one_plain_request() {
    let settings = "[padding]\nmask = \"attention_mask\"\n[padding.inputs.input_ids]\nvalue = 999\n";
    let repository = repository("tokens", settings);
    let server = Server::start(repository.path(), &[]);
    let url = server.url("/predictions/tokens");
    let alone = async |ids: &[i64]| {
        let (status, answer) = post(&url, json!({"input_ids": [ids]}).to_string()).await;
        assert_eq!(status, 200, "{answer}");
        answer["embedding"][0].clone()
    };
    let (short, long) = (alone(&[4, 5]).await, alone(&[1, 2, 3, 7]).await);
    let near = |got: &Value, expected: &Value| {
        let numbers = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let (got, expected) = (numbers(got), numbers(expected));
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{got:?}");
    };
    let (status, answer) = post(&url, r#"{"input_ids": [[4, 5], [1, 2, 3, 7]]}"#).await;
    assert_eq!(status, 200, "{answer}");
    near(&answer["embedding"][0], &short);
    near(&answer["embedding"][1], &long);
    let predict = server.url("/v1/models/tokens:predict");
    for body in [
        json!({"instances": [{"input_ids": [4, 5]}, {"input_ids": [1, 2, 3, 7]}]}),
        json!({"inputs": {"input_ids": [[4, 5], [1, 2, 3, 7]]}}),
    ] {
        let (status, answer) = post(&predict, body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let rows = answer.get("predictions").or(answer.get("outputs")).unwrap();
        near(&rows[0], &short);
        near(&rows[1], &long);
    }
    let (status, answer) = post(&url, r#"{"input_ids": [[4, 5], [1, [2]]]}"#).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("ragged"), "{answer}");
}

fn numbers(output: &Value) -> Vec<f64> {
    output["data"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_answered_as_one() {
    let settings = "[batching]\nsplit_large_requests = true\n";
    let repository = repository("fails", settings);
    let server = Server::start(repository.path(), &[]);
    let url = server.url("/v2/models/fails/infer");
    let values: Vec<Value> = (0..21 * 4).map(|value| json!(f64::from(value))).collect();
    let body = |values: &[Value]| json!({"inputs": [input("x", "FP32", 21, values)]}).to_string();
    let (status, answer) = post(&url, body(&values)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&output(&answer, "y")["shape"], &output(&answer, "y")["data"]),
        (&json!([21, 4]), &json!(values))
    );
    let label = "model=\"fails\"";
    assert_eq!(server.metric("nv_inference_count", label).await, 21.0);
    assert_eq!(server.metric("nv_inference_request_success", label).await, 1.0);

    let mut bad = values.clone();
    bad[13 * 4] = json!(-1.0);
    let (status, answer) = post(&url, body(&bad)).await;
    assert_eq!(status, 500, "{answer}");
    assert!(answer["error"].as_str().unwrap().starts_with("PyTorch execute failure: "), "{answer}");
    assert_eq!(server.metric("nv_inference_request_failure", label).await, 1.0);
}

#[test]
fn settings_that_do_not_fit_are_told_with_their_line() {
    let repository = repository("tokens", "[padding]\nmask = \"mask\"\ninputs.input_ids = {}\n");
    // No model can be served: the server doesn't start.
    let output = command(repository.path(), &[]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let expected =
        "cresset.toml, line 2: [padding] names input 'mask': the model takes 'input_ids', 'attention_mask'";
    assert!(told.contains(expected), "{told}");
}
