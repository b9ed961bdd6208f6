//! A whole server whose device fails, in a process of its own, over a mock
//! device.
// A test may say what it expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use cresset::cli::{Cli, Command};
use cresset::serve;
use cresset_backend::DeviceFault;
use cresset_backend::mock::{Behaviour, MockBackend};
use cresset_backend::mock_device::{DeviceTimes, MockDevice};
use cresset_clock as clock;
use serde_json::{Value, json};

/// Names what the server's flags are given by.
const FLAGS: &str = "CRESSET_TEST_SERVER_FLAGS";

/// Not a test but the server that the tests start: this file's binary, asked
/// for this function alone.
#[test]
#[ignore = "the tests start it by themselves"]
fn server() {
    let Ok(flags) = std::env::var(FLAGS) else { return };
    let arguments = ["cresset", "serve"].into_iter().chain(flags.split('\n'));
    let Command::Serve(settings) = Cli::parse_from(arguments).command else { panic!("not serve") };
    let ms = Duration::from_millis(1);
    let device = MockDevice::new(DeviceTimes {
        copy_in: ms,
        compute: 500 * ms,
        copy_out: ms,
        ..DeviceTimes::default()
    });
    let backend = MockBackend::new(Behaviour::Poisons(DeviceFault::Assert), &["x"]).on_device(device);
    let outcome = serve::run(&settings, Arc::new(backend)).expect("serves");
    std::process::exit(outcome.exit_code());
}

struct Server {
    process: Child,
    http: String,
}

impl Server {
    fn start(repository: &Path, more: &[&str]) -> Self {
        let mut flags = vec!["--model-repository", repository.to_str().unwrap()];
        flags.extend(["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]);
        flags.extend(more);
        let mut process = Process::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "server", "--nocapture"])
            .env(FLAGS, flags.join("\n"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut http = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(address) = line.strip_prefix("inference") {
                http = address.trim().to_owned();
            }
            if line == "ready" {
                return Self { process, http };
            }
        }
        panic!("the server ended before it was ready: {:?}", process.wait());
    }

    async fn infer(&self, value: u8) -> (u16, String) {
        let input = json!({"name": "x", "shape": [1, 1], "datatype": "UINT8", "data": [value]});
        let url = format!("{}/v2/models/m/infer", self.http);
        let sent = reqwest::Client::new().post(url).body(json!({ "inputs": [input] }).to_string());
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn status(&self, path: &str) -> Option<u16> {
        let answer = reqwest::get(format!("{}{path}", self.http)).await.ok()?;
        Some(answer.status().as_u16())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("m/1")).unwrap();
    std::fs::write(folder.path().join("m/1/model.pt"), "a mock reads no file").unwrap();
    let config = r#"
        max_batch_size: 4
        input [ { name: "x" data_type: TYPE_UINT8 dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_UINT8 dims: [ 1 ] } ]
        dynamic_batching { }
    "#;
    std::fs::write(folder.path().join("m/config.pbtxt"), config).unwrap();
    folder
}

#[tokio::test]
async fn it_is_not_ready_within_a_second_answers_503_and_ends_with_its_own_code() {
    let repository = repository();
    let mut server = Server::start(repository.path(), &[]);
    let (status, text) = server.infer(7).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["outputs"][0]["data"], json!([7]));

    // One of these breaks the device; what is queued behind it isn't run.
    let later = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        server.infer(8).await
    };
    let (guilty, behind) = tokio::join!(server.infer(255), later);
    let began = clock::now();
    for (status, text) in [guilty, behind] {
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("device cuda:0 has failed"), "{text}");
    }
    // A server that is gone isn't ready either.
    while server.status("/v2/health/ready").await == Some(200) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = clock::now() - began;
    assert!(took < Duration::from_secs(1), "not ready after {took:?}");
    assert_eq!(server.process.wait().unwrap().code(), Some(70));
}

#[tokio::test]
async fn told_to_stay_it_lives_on_and_is_never_ready_again() {
    let repository = repository();
    let mut server = Server::start(repository.path(), &["--on-device-fault", "stay"]);
    assert_eq!(server.infer(255).await.0, 503);
    for _ in 0..50 {
        assert_eq!(server.status("/v2/health/ready").await, Some(400), "as with Triton");
        assert_eq!(server.status("/v2/models/m/ready").await, Some(400));
        assert_eq!(server.status("/v2/health/live").await, Some(200));
        let (status, text) = server.infer(1).await;
        assert_eq!(status, 503);
        assert!(text.contains("device cuda:0 has failed"), "{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.process.try_wait().unwrap().is_none(), "it stays");
    let process = libc::pid_t::try_from(server.process.id()).unwrap();
    // SAFETY: no precondition; the process is our own child, not yet waited for.
    assert_eq!(unsafe { libc::kill(process, libc::SIGTERM) }, 0);
    assert_eq!(server.process.wait().unwrap().code(), Some(0), "a stop is a stop");
}
