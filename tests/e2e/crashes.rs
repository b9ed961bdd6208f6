//! A process that dies while it loads a model: the next one serves the others.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Server, checkout, command, get, post};

/// It warms up for hours.
const FOR_HOURS: &str = r#"model_warmup { name: "long" batch_size: 1 count: 4000000000
    inputs { key: "INPUT0" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } }"#;

/// Puts the model that gives its input back, with `more` in its configuration.
fn put(root: &Path, model: &str, more: &str) {
    fs::create_dir_all(root.join(model).join("1")).unwrap();
    fs::copy(checkout("tests/models/identity/1/model.pt"), root.join(model).join("1/model.pt")).unwrap();
    let config = fs::read_to_string(checkout("tests/models/identity/config.pbtxt")).unwrap();
    fs::write(
        root.join(model).join("config.pbtxt"),
        format!("{}\n{more}", config.replace("\"identity\"", &format!("\"{model}\""))),
    )
    .unwrap();
}

/// The marks of what is being loaded.
fn marks(state: &TempDir) -> Vec<String> {
    let inside =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = inside(state.path()).into_iter().flat_map(|directory| inside(&directory));
    files.map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

/// Starts a server, and waits until it loads this version.
fn loading(root: &TempDir, state: &TempDir, mark: &str) -> Child {
    let state_dir = format!("--state-dir={}", state.path().display());
    let mut process = command(root.path(), &[&state_dir]).stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..3000 {
        if marks(state) == [mark] {
            return process;
        }
        assert!(process.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    panic!("{mark} isn't being loaded: {:?}", marks(state));
}

fn start(root: &TempDir, state: &TempDir, arguments: &[&str]) -> Server {
    let state_dir = format!("--state-dir={}", state.path().display());
    Server::start(root.path(), &[&[&*state_dir], arguments].concat())
}

const LEFT_OUT: &str =
    "it was being loaded when the server's last process ended, so this start leaves it out";

#[tokio::test]
async fn a_model_that_ends_the_process_is_left_out_of_the_next_start() {
    let (root, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(root.path(), "good", "");
    put(root.path(), "slow", FOR_HOURS);
    let mut first = loading(&root, &state, "1 slow");
    first.kill().unwrap();
    first.wait().unwrap();

    let server = start(&root, &state, &[]);
    let told = format!("NOT served: slow: version 1: {LEFT_OUT}");
    assert!(server.announced.contains(&told), "{}", server.announced);
    assert_eq!(get(&server.url("/v2/models/good/ready")).await.0, 200);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 400);
    let (_, index) = post(&server.url("/v2/repository/index"), "").await;
    let reasons: Vec<&Value> = index.as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert!(reasons[1].as_str().unwrap().starts_with(LEFT_OUT), "{index}");
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));

    // Once: the next start tries it again. An orderly stop isn't the model's fault.
    let mut third = loading(&root, &state, "1 slow");
    let process = libc::pid_t::try_from(third.id()).unwrap();
    // SAFETY: no precondition; the process is our own child, not yet waited for.
    assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
    third.wait().unwrap();
    assert_eq!(marks(&state), [""; 0]);
}

#[tokio::test]
async fn a_server_whose_only_model_is_left_out_stays_and_takes_load_calls() {
    let (root, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(root.path(), "slow", FOR_HOURS);
    for arguments in [&["--model-name=slow"][..], &["--model-control-mode=explicit", "--load-model=*"]] {
        let mut process = loading(&root, &state, "1 slow");
        process.kill().unwrap();
        process.wait().unwrap();
        let server = start(&root, &state, arguments);
        assert!(server.announced.contains(LEFT_OUT), "{}", server.announced);
        assert_eq!(get(&server.url("/v2/health/live")).await.0, 200);
        assert_eq!(get(&server.url("/v2/models/slow/ready")).await.0, 400);
        if arguments.len() > 1 {
            put(root.path(), "slow", "");
            let (status, answer) = post(&server.url("/v2/repository/models/slow/load"), "").await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(get(&server.url("/v2/models/slow/ready")).await.0, 200);
        }
    }
}
