//! What `forward` takes, and what it says when it fails.

use serde_json::{Value, json};

use crate::server::{Server, checkout, post};
use crate::surfaces::{both, tensor};
use cresset::protocol::Datatype;

/// Models of `tests/arguments`, each with its configuration where it has one.
fn repository(models: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, file, config) in models {
        let directory = root.path().join(name);
        std::fs::create_dir_all(directory.join("1")).unwrap();
        let file = checkout("tests/arguments").join(format!("{file}.pt"));
        std::fs::copy(file, directory.join("1/model.pt")).unwrap();
        if !config.is_empty() {
            std::fs::write(directory.join("config.pbtxt"), config).unwrap();
        }
    }
    root
}

#[tokio::test]
async fn a_traced_model_says_what_was_wrong() {
    let root = repository(&[("emb", "traced_embedding", "")]);
    let server = Server::start(root.path(), &[]);
    let request =
        json!({"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 4], "data": [1, 2, 3, 99]}]});
    let (status, answer): (u16, Value) = post(&server.url("/v2/models/emb/infer"), request.to_string()).await;
    assert_eq!(status, 500);
    let cause = "RuntimeError: index out of range in self";
    assert!(answer["error"].as_str().unwrap().ends_with(cause), "{answer}");
    let data = [1_i64, 2, 3, 99].iter().flat_map(|id| id.to_le_bytes()).collect();
    let refused = both(&server, "emb", &[tensor("ids", Datatype::Int64, &[1, 4], data)]).await.unwrap_err();
    assert!(refused.ends_with(cause), "{refused}");
}
