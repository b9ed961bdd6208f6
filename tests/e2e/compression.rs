//! Compressed requests and answers, and bodies that are compressed to do harm.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::server::{Server, checkout, post};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sending(url: &str, encoding: &str, body: Vec<u8>) -> RequestBuilder {
    reqwest::Client::new().post(url).header("content-encoding", encoding).body(body)
}

async fn sent(url: &str, encoding: &str, body: Vec<u8>) -> (u16, Value) {
    let response = sending(url, encoding, body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn every_post_takes_gzip_and_deflate() {
    let server = Server::with_default_models(&["--model-name=simple"]);
    let plain = json!({"INPUT0": [vec![1; 16]], "INPUT1": [vec![2; 16]]}).to_string();
    let input =
        |name: &str| json!({"name": name, "shape": [1, 16], "datatype": "INT32", "data": [vec![1; 16]]});
    let infer = json!({"inputs": [input("INPUT0"), input("INPUT1")]}).to_string();
    for (path, body) in [
        ("/v2/models/simple/infer", &infer),
        ("/predict", &plain),
        ("/predictions/simple", &plain),
        ("/v2/repository/index", &r#"{"ready": true}"#.to_owned()),
    ] {
        let url = server.url(path);
        let expected = post(&url, body.clone()).await;
        assert_eq!(expected.0, 200, "{path}");
        assert_eq!(sent(&url, "gzip", gzip(body.as_bytes())).await, expected, "{path}");
        assert_eq!(sent(&url, "deflate", zlib(body.as_bytes())).await, expected, "{path}");
        assert_eq!(sent(&url, "identity", body.clone().into_bytes()).await, expected, "{path}");
    }
    let cat = std::fs::read(checkout("models/efficientnet_lite0/samples/cat.jpg")).unwrap();
    let (status, labels) = sent(&server.url("/predictions/efficientnet_lite0"), "gzip", gzip(&cat)).await;
    assert_eq!(status, 200, "{labels}");
}

#[tokio::test]
async fn binary_tensors_go_and_come_compressed() {
    const FLOATS: usize = 10_000;
    let server = Server::start(&checkout("tests/models"), &[]);
    let header = json!({"inputs": [{"name": "INPUT0", "shape": [1, FLOATS], "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * FLOATS}}], "parameters": {"binary_data_output": true}})
    .to_string();
    let tensor: Vec<u8> = (0..FLOATS).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let body = [header.as_bytes(), &tensor].concat();
    let ask = |accept: &'static str| {
        sending(&server.url("/v2/models/identity/infer"), "gzip", gzip(&body))
            .header("Inference-Header-Content-Length", header.len())
            .header("accept-encoding", accept)
            .send()
    };
    let plain = ask("*").await.unwrap();
    assert_eq!(plain.status(), 200);
    assert!(!plain.headers().contains_key("content-encoding"));
    let length: usize = plain.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let expected = plain.bytes().await.unwrap();
    assert_eq!(expected[length..], tensor);

    for accept in ["gzip", "deflate"] {
        let response = ask(accept).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], accept);
        assert_eq!(response.headers()["inference-header-content-length"], length.to_string().as_str());
        assert_eq!(inflated(response, accept).await, expected, "{accept}");
    }
}

async fn inflated(response: Response, encoding: &str) -> Vec<u8> {
    let body = response.bytes().await.unwrap();
    let mut out = Vec::new();
    match encoding {
        "gzip" => GzDecoder::new(&body[..]).read_to_end(&mut out).unwrap(),
        _ => ZlibDecoder::new(&body[..]).read_to_end(&mut out).unwrap(),
    };
    out
}

#[tokio::test]
async fn an_encoding_that_is_not_taken_is_named_with_those_that_are() {
    let server = Server::with_default_models(&[]);
    let response = sending(&server.url("/predict"), "br", vec![1, 2, 3]).send().await.unwrap();
    assert_eq!(response.status(), 415);
    assert_eq!(response.headers()["accept-encoding"], "gzip, deflate");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer, json!({"error": "Content-Encoding is 'br': expected gzip, deflate, or none"}));

    let (status, answer) = sent(&server.url("/predict"), "gzip", vec![0x1f, 0x8b, 8, 0]).await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["error"].as_str().unwrap().starts_with("the body isn't a whole gzip stream: "),
        "{answer}"
    );
}

#[tokio::test]
async fn the_limit_is_on_what_comes_out() {
    let server = Server::with_default_models(&["--http-max-input-size=100000"]);
    let url = server.url("/v2/models/simple/infer");
    for (encoding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib)] {
        assert_eq!(sent(&url, encoding, compress(&vec![b' '; 100_000])).await.0, 400, "the limit is let in");
        let (status, answer) = sent(&url, encoding, compress(&vec![b' '; 100_001])).await;
        let message = "the body inflates to over the limit of 100000 bytes (--http-max-input-size)";
        assert_eq!((status, answer), (413, json!({ "error": message })), "{encoding}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_without_being_unpacked() {
    const BOMB: usize = 256 << 20;
    const LENT: u64 = 64 << 20;
    // Small models: a large one's own runs at start would be measured too.
    let limits = ["--http-max-input-size=8388608", "--max-request-memory=67108864"];
    let server = Server::start(&crate::server::checkout("tests/models"), &limits);
    // In 250 kB.
    let bomb = gzip(&vec![b' '; BOMB]);
    let url = server.url("/v2/models/identity/infer");
    server.forget_peak();
    let before = server.resident_peak();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (url, bomb) = (url.clone(), bomb.clone());
        tasks.spawn(async move { sent(&url, "gzip", bomb).await.0 });
    }
    while let Some(status) = tasks.join_next().await {
        let status = status.unwrap();
        assert!(status == 413 || status == 503, "{status}");
    }
    let grown = server.resident_peak() - before;
    // As much again for what the allocator keeps: half of one bomb.
    assert!(grown < 2 * LENT, "the peak grew by {grown} bytes");
    for _ in 0..10 {
        assert_eq!(sent(&url, "gzip", gzip(&vec![b' '; 8 << 20])).await.0, 400, "what was lent is back");
    }
}
