//! Batches form while the model is busy, with no delay asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Server, checkout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_of_a_busy_model_share_its_batches() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let url = Arc::new(server.url("/v2/models/busy/infer"));
    let end = Instant::now() + Duration::from_secs(10);
    let mut clients = JoinSet::new();
    for id in 0..64 {
        let url = Arc::clone(&url);
        clients.spawn(async move {
            let client = reqwest::Client::new();
            let input = json!({"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [id, id, id, id]});
            let body = json!({"inputs": [input]}).to_string();
            let mut answered = 0u32;
            while Instant::now() < end {
                let response = client.post(&*url).body(body.clone()).send().await.unwrap();
                let status = response.status();
                let answer: Value = response.json().await.unwrap();
                assert_eq!(status, 200, "{answer}");
                answered += 1;
            }
            answered
        });
    }
    let mut answered = 0;
    while let Some(client) = clients.join_next().await {
        answered += client.unwrap();
    }
    let label = "model=\"busy\"";
    let batches = server.metric("nv_inference_exec_count", label).await;
    let mean = server.metric("nv_inference_count", label).await / batches;
    assert!(answered > 64, "{answered} answers");
    assert!(mean > 4.0, "a mean of {mean} rows over {batches} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_request_fails_alone() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let url = Arc::new(server.url("/v2/models/fails/infer"));
    let client = reqwest::Client::new();
    let mut tasks = JoinSet::new();
    for id in 0..200 {
        let (client, url) = (client.clone(), Arc::clone(&url));
        tasks.spawn(async move {
            let bad = id % 7 == 0;
            let x = if bad { -1.0 } else { f64::from(id) };
            let shape = [1, 4];
            let body =
                json!({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": [x, x, x, x]}]});
            let response = client.post(&*url).body(body.to_string()).send().await.unwrap();
            let status = response.status().as_u16();
            let answer: Value = response.json().await.unwrap();
            if bad {
                assert_eq!(status, 500, "{answer}");
                assert!(
                    answer["error"].as_str().unwrap().starts_with("PyTorch execute failure: "),
                    "{answer}"
                );
            } else {
                assert_eq!(status, 200, "{answer}");
                assert_eq!(answer["outputs"][0]["data"], json!([x, x, x, x]));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
