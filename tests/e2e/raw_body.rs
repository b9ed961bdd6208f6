//! Bodies that are one tensor and nothing else: `Inference-Header-Content-Length`
//! of 0.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::server::Server;
use crate::surfaces::{repository, start};

const ROWS: &str = "max_batch_size: 4
    input [ { name: 'words' data_type: TYPE_STRING dims: [ 1 ] } ]
    output [ { name: 'n' data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]";
const OPEN: &str = "max_batch_size: 4
    input [ { name: 'x' data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
    output [ { name: 'y' data_type: TYPE_FP32 dims: [ -1, 2 ] } ]
    dynamic_batching { }";

/// Status, the answer's JSON, and what stands behind it.
async fn send(server: &Server, model: &str, encoding: &str, body: Vec<u8>) -> (u16, Value, Vec<u8>) {
    let url = server.url(&format!("/v2/models/{model}/infer"));
    let request = reqwest::Client::new().post(url).header("Inference-Header-Content-Length", "0").body(body);
    let request = match encoding {
        "" => request,
        encoding => request.header("Content-Encoding", encoding),
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let json = answer.headers().get("Inference-Header-Content-Length");
    let json: Option<usize> = json.map(|length| length.to_str().unwrap().parse().unwrap());
    let body = answer.bytes().await.unwrap();
    let json = json.unwrap_or(body.len());
    (status, serde_json::from_slice(&body[..json]).unwrap(), body[json..].to_vec())
}

#[tokio::test]
async fn a_body_that_is_one_tensor_is_answered_in_binary() {
    let root = repository(&[("open", "identity", OPEN), ("rows", "words", ROWS)]);
    let server = start(root.path());
    let floats: Vec<u8> =
        [1.5_f32, -2.0, 3.25, 4.0, 5.0, 6.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let expected = json!([{"name": "y", "datatype": "FP32", "shape": [1, 3, 2],
        "parameters": {"binary_data_size": 24}}]);
    let (status, json, data) = send(&server, "open", "", floats.clone()).await;
    assert_eq!((status, &json["outputs"], &data), (200, &expected, &floats), "{json}");

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&floats).unwrap();
    let (status, json, data) = send(&server, "open", "gzip", gzip.finish().unwrap()).await;
    assert_eq!((status, &json["outputs"], &data), (200, &expected, &floats), "{json}");

    // A string without its length.
    let (status, json, data) = send(&server, "rows", "", b"seven b".to_vec()).await;
    assert_eq!((status, &data[..]), (200, &7_i64.to_le_bytes()[..]), "{json}");

    let (status, json, _) = send(&server, "open", "", floats[..20].to_vec()).await;
    let wrong = "input byte size mismatch for input 'x' for model 'open'. Expected 16, got 20: FP32 of shape [1, 2, 2]";
    assert_eq!((status, &json["error"]), (400, &json!(wrong)));
}

#[tokio::test]
async fn a_model_that_a_body_alone_cannot_ask_says_why() {
    let root = repository(&[("undeclared", "identity", ""), ("several", "multi_io", "")]);
    let server = start(root.path());
    for (model, why) in [
        ("undeclared", "has none"),
        ("several", "to be deduced but got 3 inputs in 'several' model configuration"),
    ] {
        let (status, json, _) = send(&server, model, "", vec![0; 16]).await;
        assert_eq!(status, 400, "{json}");
        assert!(json["error"].as_str().unwrap().contains(why), "{json}");
    }
}
