//! `cresset bench` on `cresset serve`: every protocol, with answers checked.

use std::process::Command;

use serde_json::{Value, json};

use crate::server::{Server, checkout};

/// Runs the generator; its exit code and what it measured.
fn bench(url: &str, arguments: &str) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_cresset"))
        .args(["bench", url, "--json", "--warm-up", "0s"])
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let outcome = serde_json::from_slice(&output.stdout);
    let outcome = outcome.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), outcome)
}

#[test]
fn every_protocol_gets_the_answers_that_are_expected() {
    let server = Server::with_default_models(&[]);
    let (http, grpc) = (server.url(""), format!("grpc://{}", server.grpc));
    let file = tempfile::NamedTempFile::new().unwrap();
    let case = |a: i32, b: i32| json!({"INPUT0": vec![a; 16], "INPUT1": vec![b; 16]});
    let answer = |a: i32, b: i32| json!({"OUTPUT0": vec![a + b; 16], "OUTPUT1": vec![a - b; 16]});
    let cases = |wrong| json!({"data": [case(1, 2), case(5, 3)], "validation_data": [answer(1, 2), answer(5, 3 + wrong)]});
    let protocols = [
        (&http, "--format binary"),
        (&http, "--format json"),
        (&grpc, ""),
        (&http, "--protocol torchserve"),
        (&http, "--protocol kserve-v1"),
    ];
    for (wrong, code) in [(0, 0), (1, 1)] {
        std::fs::write(file.path(), cases(wrong).to_string()).unwrap();
        for (url, protocol) in protocols {
            let arguments =
                format!("--model simple {protocol} -n 20 -c 2 --input-data {}", file.path().display());
            let (came, outcome) = bench(url, &arguments);
            let level = &outcome["levels"][0];
            assert_eq!((came, &level["requests"]), (Some(code), &json!(20)), "{protocol}: {outcome}");
            assert_eq!(level["server"]["requests"], 20, "{protocol}: the server's statistics: {outcome}");
            let errors = if wrong == 0 { json!([]) } else { json!([["wrong answer", 10]]) };
            let told: Vec<Value> =
                level["errors"].as_array().unwrap().iter().map(|e| json!([e["cause"], e["count"]])).collect();
            assert_eq!(json!(told), errors, "{protocol}");
        }
    }
}

#[test]
fn photographs_are_posted_and_their_labels_checked() {
    let server = Server::with_default_models(&[]);
    let folder = tempfile::tempdir().unwrap();
    let cat = checkout("models/efficientnet_lite0/samples/cat.jpg");
    std::fs::copy(cat, folder.path().join("cat.jpg")).unwrap();
    let expected = json!({"predictions": [{"label": "Egyptian cat", "probability": 0.69}]});
    std::fs::write(folder.path().join("cat.jpg.expected.json"), expected.to_string()).unwrap();
    let arguments = format!("--body {} -n 3 --tolerance 0.05", folder.path().display());
    let (code, outcome) = bench(&server.url(""), &arguments);
    assert_eq!(code, Some(0), "{outcome}");
    assert_eq!(
        (&outcome["content"], &outcome["levels"][0]["latency"]["count"]),
        (&json!("image/jpeg"), &json!(3))
    );
}
