//! Strings in and out, of any bytes: batched over requests. Malformed ones are
//! refused.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use crate::server::{Server, checkout, post};
use crate::surfaces::{both, floats, over_http, repository, start, strings, tensor};
use cresset_protocol::Datatype;

const ECHO: &str = "max_batch_size: 16
    input [ { name: 'words' data_type: TYPE_STRING dims: [ 1 ] } ]
    output [ { name: 'OUTPUT__0' data_type: TYPE_STRING dims: [ 1 ] } ]
    instance_group [ { count: 1 kind: KIND_CPU } ]
    dynamic_batching { max_queue_delay_microseconds: 50000 }";

/// As Triton's users must write it: no dimension but the batch.
const RESHAPED: &str = "max_batch_size: 16
    input [ { name: 'INPUT__0' data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]
    output [ { name: 'OUTPUT__0' data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]";

const WHOLE: &str = "max_batch_size: 0
    input [ { name: 'words' data_type: TYPE_STRING dims: [ -1 ] } ]
    output [ { name: 'OUTPUT__0' data_type: TYPE_STRING dims: [ -1 ] } ]";

const BESIDE: &str = "max_batch_size: 16
    input [ { name: 'words' data_type: TYPE_STRING dims: [ 1 ] }, { name: 'x' data_type: TYPE_FP32 dims: [ 2 ] } ]
    output [
      { name: 'OUTPUT__0' data_type: TYPE_FP32 dims: [ 2 ] },
      { name: '1.backwards' data_type: TYPE_STRING dims: [ 1 ] }
    ]
    dynamic_batching { }";

fn server() -> (tempfile::TempDir, Server) {
    let root = repository(&[
        ("echo", "echo", ECHO),
        ("reshaped", "echo", RESHAPED),
        ("whole", "echo", WHOLE),
        ("undeclared", "echo", ""),
        ("beside", "words_and_numbers", BESIDE),
        (
            "lengths",
            "words",
            "max_batch_size: 4 input [ { name: 'words' data_type: TYPE_STRING dims: [ 1 ] } ]
            output [ { name: 'n' data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]",
        ),
    ]);
    let server = start(root.path());
    (root, server)
}

#[tokio::test]
async fn strings_come_back_in_the_configured_shape_whatever_their_bytes() {
    let (_root, server) = server();
    let words: [&[u8]; 3] = [b"one", b"", b"\xff\0\xfe"];
    for (model, shape, expected) in [
        ("echo", &[3, 1][..], &[3, 1][..]),
        ("reshaped", &[3, 1], &[3, 1]),
        ("whole", &[3], &[3]),
        ("undeclared", &[3, 1], &[3]),
    ] {
        let name = if model == "reshaped" { "INPUT__0" } else { "words" };
        let outputs = both(&server, model, &[strings(name, shape, &words)]).await.unwrap();
        assert_eq!(outputs, [strings("OUTPUT__0", expected, &words)], "{model}");
    }
    let none = both(&server, "whole", &[strings("words", &[0], &[])]).await.unwrap();
    assert_eq!(none, [strings("OUTPUT__0", &[0], &[])]);

    let url = server.url("/v2/models/echo/infer");
    // In JSON, what is no UTF-8 is replaced, as JSON has no other bytes.
    let input = json!({"name": "words", "datatype": "BYTES", "shape": [1, 1],
        "parameters": {"binary_data_size": 7}});
    let header = json!({"inputs": [input]}).to_string();
    let response = reqwest::Client::new()
        .post(&url)
        .header("Inference-Header-Content-Length", header.len())
        .body([header.as_bytes(), b"\x03\0\0\0a\xffb"].concat())
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = response.json().await.unwrap();
    assert_eq!(answer["outputs"][0]["data"], json!(["a\u{fffd}b"]));

    let input =
        json!({"name": "words", "datatype": "BYTES", "shape": [2, 1], "data": ["\u{e9}t\u{e9}", "\"\n"]});
    let (status, answer) = post(&url, json!({"inputs": [input]}).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["outputs"],
        json!([{"name": "OUTPUT__0", "datatype": "BYTES", "shape": [2, 1], "data": ["\u{e9}t\u{e9}", "\"\n"]}])
    );
    let predict = post(&server.url("/predictions/echo"), json!({"words": [["a"], ["bc"]]}).to_string()).await;
    assert_eq!(predict, (200, json!({"OUTPUT__0": [["a"], ["bc"]]})));
    let (_, answer) = post(&server.url("/v1/models/echo:predict"), r#"{"instances": [["a"], ["bc"]]}"#).await;
    assert_eq!(answer, json!({"predictions": [["a"], ["bc"]]}));
    let (_, answer) =
        post(&server.url("/predictions/lengths"), json!({"words": [["a"], ["bcd"]]}).to_string()).await;
    assert_eq!(answer, json!({"n": [[1], [3]]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strings_of_several_requests_make_one_batch_and_each_gets_its_own() {
    let (root, server) = server();
    let server = Arc::new(server);
    let mut asked = JoinSet::new();
    for id in 0..8_i64 {
        let server = Arc::clone(&server);
        asked.spawn(async move {
            let long = vec![b'a' + u8::try_from(id).unwrap(); usize::try_from(id * 100).unwrap()];
            let words: Vec<&[u8]> = [&long[..], b"", b"\xfe"].into_iter().take(1 + id as usize % 3).collect();
            let shape = [i64::try_from(words.len()).unwrap(), 1];
            let client = reqwest::Client::new();
            let sent = [strings("words", &shape, &words)];
            let (_, outputs) = over_http(&client, &server, "echo", "", &sent).await.unwrap();
            assert_eq!(outputs, [strings("OUTPUT__0", &shape, &words)], "{id}");
        });
    }
    while let Some(done) = asked.join_next().await {
        done.unwrap();
    }
    let label = "model=\"echo\"";
    let (batches, requests) = (
        server.metric("nv_inference_exec_count", label).await,
        server.metric("nv_inference_request_success", label).await,
    );
    assert!(requests >= 8.0 && batches < requests, "{batches} batches of {requests} requests");
    drop(root);
}

#[tokio::test]
async fn strings_stand_beside_numbers() {
    let (_root, server) = server();
    let inputs = [strings("words", &[2, 1], &[b"ab", b"c"]), floats("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])];
    let outputs = both(&server, "beside", &inputs).await.unwrap();
    assert_eq!(
        outputs,
        [
            floats("OUTPUT__0", &[2, 2], &[2.0, 4.0, 3.0, 4.0]),
            strings("1.backwards", &[2, 1], &[b"ba", b"c"])
        ]
    );
}

#[tokio::test]
async fn malformed_strings_are_refused_and_the_server_goes_on() {
    let (_root, server) = server();
    let bytes = |shape: &[i64], data: &[u8]| tensor("words", Datatype::Bytes, shape, data.to_vec());
    for (sent, message) in [
        (
            bytes(&[1, 1], &[3, 0, 0, 0, b'a']),
            "400 input 'words': BYTES of shape [1, 1] holds 1 strings; the one at 0 has 3 bytes by its length, but \
             1 are left",
        ),
        (
            bytes(&[2, 1], &[0, 0, 0, 0, 1, 0]),
            "400 input 'words': BYTES of shape [2, 1] holds 2 strings; the one at 1 lacks its length, 4 bytes: 2 are \
             left",
        ),
        (
            bytes(&[1, 1], &[0, 0, 0, 0, 0, 0, 0, 0]),
            "400 unexpected number of string elements 2 for inference input 'words' for model 'echo', expecting 1; \
             4 bytes are left over behind them",
        ),
        (
            bytes(&[2, 1], &[0, 0, 0, 0]),
            "400 expected 2 string elements for inference input 'words' for model 'echo', got 1",
        ),
        (
            bytes(&[1, 1], &[255, 255, 255, 255]),
            "400 input 'words': BYTES of shape [1, 1] holds 1 strings; the one at 0 has 4294967295 bytes by its \
             length, but 0 are left",
        ),
        (
            bytes(&[2_000_000, 1], &[]),
            "400 input 'words': shape [2000000, 1] holds 2000000 strings: the most of one input is 1048576",
        ),
        (
            bytes(&[1, 2], &[0; 8]),
            "400 unexpected shape for input 'words' for model 'echo'. Expected [-1,1], got [1,2]. The first \
             dimension is the batch, because max_batch_size isn't zero",
        ),
        (
            floats("words", &[1, 1], &[0.5]),
            "400 inference input 'words' data-type is 'FP32', but model 'echo' expects 'BYTES'",
        ),
    ] {
        assert_eq!(both(&server, "echo", &[sent]).await.unwrap_err(), message);
    }
    let refused = both(&server, "undeclared", &[floats("words", &[1], &[0.5])]).await.unwrap_err();
    assert_eq!(refused, "400 input 'words' of model 'undeclared' is strings, datatype BYTES, got FP32");
    assert!(both(&server, "echo", &[strings("words", &[1, 1], &[b"on"])]).await.is_ok());
}

#[tokio::test]
async fn strings_are_not_ranked_and_tensors_take_none() {
    let (_root, server) = server();
    let input = json!({"name": "words", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]});
    let output = json!({"name": "OUTPUT__0", "parameters": {"classification": 1}});
    let body = json!({"inputs": [input], "outputs": [output]}).to_string();
    let (status, answer) = post(&server.url("/v2/models/echo/infer"), body).await;
    assert_eq!(
        (status, &answer["error"]),
        (
            400,
            &json!(
                "output 'OUTPUT__0': class result not available for output due to unsupported type 'BYTES'"
            )
        )
    );
    let models = Server::start(&checkout("tests/models"), &[]);
    let refused = both(&models, "no_config", &[strings("x", &[1], &[b"1"]), floats("y", &[1], &[1.0])]).await;
    assert_eq!(
        refused,
        Err("400 input 'x' of model 'no_config' is a tensor of numbers, got BYTES".to_owned())
    );
}
