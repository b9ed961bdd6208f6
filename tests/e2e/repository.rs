//! Repositories with something wrong in them.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::server::{Server, checkout, command, get, post};

fn put(root: &Path, model: &str, file: &[u8]) {
    let version = root.join(model).join("1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.pt"), file).unwrap();
}

#[tokio::test]
async fn a_broken_model_fails_alone_and_says_why() {
    let root = tempfile::tempdir().unwrap();
    let whole = std::fs::read(checkout("models/simple/1/model.pt")).unwrap();
    put(root.path(), "good", &whole);
    put(root.path(), "truncated", &whole[..whole.len() / 2]);
    put(root.path(), "random", &[0x5a; 3000]);
    put(root.path(), "empty", b"");
    put(root.path(), "misconfigured", &whole);
    std::fs::write(root.path().join("misconfigured/config.pbtxt"), "max_batch_sise: 3").unwrap();
    std::fs::create_dir(root.path().join("versionless")).unwrap();

    let server = Server::start(root.path(), &[]);
    for model in ["truncated", "random", "empty", "misconfigured", "versionless"] {
        assert!(server.announced.contains(&format!("NOT served: {model}: ")), "{}", server.announced);
        let (status, answer) =
            post(&server.url(&format!("/v2/models/{model}/infer")), "{\"inputs\":[]}").await;
        assert_eq!(status, 503, "{model}: {answer}");
        let message = answer["error"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("Request for unknown model: '{model}' has no available versions: ")),
            "{message}"
        );
        assert!(!message.contains(root.path().to_str().unwrap()), "no path of the server's: {message}");
    }
    assert!(server.announced.contains("max_batch_sise"), "{}", server.announced);

    let index = server.url("/v2/repository/index");
    let (status, all) = post(&index, "").await;
    assert_eq!(status, 200, "{all}");
    let of = |name: &str| all.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(*of("good"), json!({"name": "good", "version": "1", "state": "READY", "reason": ""}));
    assert_eq!(of("truncated")["version"], "1");
    assert_eq!(of("misconfigured")["version"], "", "the whole model");
    for model in ["truncated", "random", "empty", "misconfigured", "versionless"] {
        assert_eq!(of(model)["state"], "UNAVAILABLE");
        assert_ne!(of(model)["reason"], "");
    }
    let (_, ready) = post(&index, r#"{"ready": true, "of": "another client"}"#).await;
    assert_eq!(ready, json!([of("good")]));
    assert_eq!(post(&index, r#"{"ready": false}"#).await, (200, all.clone()));
    assert_eq!(post(&index, r#"{"ready": 1}"#).await.0, 400);
    assert_eq!(post(&index, "[".repeat(100_000)).await.0, 400);

    for action in ["load", "unload"] {
        let (status, answer) = post(&server.url(&format!("/v2/repository/models/good/{action}")), "").await;
        assert_eq!(status, 503, "as Triton answers it");
        let message = answer["error"].as_str().unwrap();
        let expected = "explicit model load / unload is not allowed if polling is enabled";
        assert!(message.starts_with(expected) && message.ends_with("mode is none"), "{message}");
    }
    assert_eq!(get(&server.url("/v2/models/good/ready")).await.0, 200);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 400, "not every model answers");
    assert_eq!(get(&server.url("/v2/health/live")).await.0, 200);
}

#[tokio::test]
async fn without_a_configuration_names_come_from_the_file() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "plain", &std::fs::read(checkout("models/simple/1/model.pt")).unwrap());
    let server = Server::start(root.path(), &[]);
    let (status, metadata) = get(&server.url("/v2/models/plain")).await;
    assert_eq!(status, 200);
    let names: Vec<&Value> = metadata["inputs"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
    assert_eq!(names, ["INPUT0", "INPUT1"]);
    let (status, answer) =
        post(&server.url("/predict"), r#"{"INPUT1": [[1.5, 2.5]], "INPUT0": [[1.0], [2.0]]}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer.to_string(),
        r#"{"OUTPUT__0":[[2.5,3.5],[3.5,4.5]],"OUTPUT__1":[[-0.5,-1.5],[0.5,-0.5]]}"#
    );
}

#[test]
fn a_repository_that_cannot_be_served_is_one_clear_line() {
    let empty = tempfile::tempdir().unwrap();
    for (repository, cause) in
        [(empty.path(), "holds no model"), (Path::new("/nowhere/models"), "/nowhere/models")]
    {
        let output = command(repository, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.lines().last().unwrap().starts_with("cresset: ") && text.contains(cause), "{text}");
    }
}

/// By default that ends the start: it is a mistyped directory, mostly.
#[tokio::test]
async fn an_empty_repository_is_served_where_errors_are_to_end_nothing() {
    let empty = tempfile::tempdir().unwrap();
    let log = empty.path().join("log");
    let log_file = format!("--log-file={}", log.display());
    let server = Server::start(empty.path(), &["--exit-on-error=false", "--log=warn", &log_file]);
    assert!(
        server.announced.contains("  no models: the model repository holds none"),
        "{}",
        server.announced
    );
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("WARN") && said.contains("holds no model: expected <model>/<version>/"), "{said}");
    assert_eq!(get(&server.url("/v2/health/live")).await.0, 200);
    assert_eq!(post(&server.url("/v2/repository/index"), "").await, (200, json!([])));
}

#[tokio::test]
async fn a_name_in_two_repositories_fails_alone() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = std::fs::read(checkout("models/simple/1/model.pt")).unwrap();
    put(one.path(), "both", &file);
    put(other.path(), "both", &file);
    put(other.path(), "good", &file);
    // The second directory is given twice, which means nothing.
    let second = format!("--model-repository={}", other.path().display());
    let server = Server::start(one.path(), &[&second, &second]);
    assert!(server.announced.contains("NOT served: both: model appears in two or"), "{}", server.announced);
    assert_eq!(get(&server.url("/v2/models/good/ready")).await.0, 200);
    assert_eq!(get(&server.url("/v2/models/both/ready")).await.0, 400);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 400, "not every model answers");
    let (_, index) = post(&server.url("/v2/repository/index"), "").await;
    let reason = "model appears in two or more repositories: the server's log names them";
    let both = json!({"name": "both", "version": "", "state": "UNAVAILABLE", "reason": reason});
    assert_eq!(index[0], both);
    assert_eq!((&index[1]["name"], &index[1]["state"]), (&json!("good"), &json!("READY")));
}

#[test]
fn a_default_model_that_is_not_there_is_named_at_once() {
    let output = command(&checkout("tests/models"), &["--model-name=nope"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let expected = "cresset: MODEL_NAME (--model-name) is 'nope', and the model repository holds no such model; \
                    there are: busy, ";
    assert!(text.lines().last().unwrap().starts_with(expected), "{text}");
}

#[test]
fn a_gpu_that_is_demanded_and_missing_is_named() {
    if Path::new("/dev/nvidia0").exists() {
        return;
    }
    let output = command(&checkout("models"), &["--device=cuda"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--device cuda: there is no GPU to use: "), "{text}");
}

/// As DVC, git-annex and content-addressed stores lay models, at a path with
/// colons, and one model's folder or file by itself.
#[tokio::test]
async fn models_are_found_where_people_put_them() {
    let root = tempfile::tempdir().unwrap();
    let whole = std::fs::read(checkout("models/simple/1/model.pt")).unwrap();
    std::fs::create_dir_all(root.path().join("blobs")).unwrap();
    std::fs::write(root.path().join("blobs/abc123"), &whole).unwrap();
    let models = root.path().join("at:12:00");
    std::fs::create_dir_all(models.join("m/1")).unwrap();
    std::os::unix::fs::symlink("../../../blobs/abc123", models.join("m/1/model.pt")).unwrap();

    let server = Server::start(&models, &[]);
    assert_eq!(get(&server.url("/v2/models/m/ready")).await.0, 200);
    let walled = command(&models, &["--no-follow-links"]).output().unwrap();
    let said = String::from_utf8_lossy(&walled.stderr);
    assert!(said.contains("leaves the model repository, which --no-follow-links refuses"), "{said}");

    let one = Server::start(&models.join("m"), &["--model-name=named"]);
    assert_eq!(get(&one.url("/v2/models/named/ready")).await.0, 200);
    std::fs::write(root.path().join("alone.pt"), &whole).unwrap();
    let one = Server::start(&root.path().join("alone.pt"), &[]);
    assert_eq!(get(&one.url("/v2/models/alone/ready")).await.0, 200);
}

#[test]
fn what_can_not_be_read_is_told_before_anything_is_loaded() {
    for (repository, arguments, words) in [
        ("s3://bucket/models", Vec::new(), "is a remote address, and those aren't read"),
        ("models", vec!["--model-name=nope"], "holds no such model; there are: efficientnet_lite0, simple"),
    ] {
        let output = command(Path::new(repository), &arguments).current_dir(checkout("")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
}

/// A file that is no TorchScript is named for what it is.
#[tokio::test]
async fn a_file_is_named_for_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "good", &std::fs::read(checkout("models/simple/1/model.pt")).unwrap());
    let safetensors = [&20_u64.to_le_bytes()[..], br#"{"w":{"dtype":"F32"}}"#].concat();
    let kinds: [(&str, &[u8], &str); 4] = [
        (
            "lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer, not the file itself: run git lfs pull",
        ),
        ("safetensors", &safetensors, "a safetensors file: weights without code"),
        ("page", b"<!DOCTYPE html><html></html>", "a web page, not a model"),
        ("gguf", b"GGUF\x03\0\0\0", "GGUF"),
    ];
    for (name, bytes, _) in kinds {
        put(root.path(), name, bytes);
    }
    let server = Server::start(root.path(), &[]);
    for (name, _, words) in kinds {
        let line =
            server.announced.lines().find(|line| line.contains(&format!("NOT served: {name}: "))).unwrap();
        assert!(line.contains(words), "{line}");
    }
}
