//! A stop under load loses no accepted request.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::{Load, busy_request};
use crate::server::{Server, checkout, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_stops_under_load_answer_all_that_was_accepted() {
    let request = busy_request();
    // Only the model under load: twenty starts of all the others tell nothing.
    let root = tempfile::tempdir().unwrap();
    let version = root.path().join("busy/1");
    std::fs::create_dir_all(&version).unwrap();
    for file in ["busy/config.pbtxt", "busy/1/model.pt"] {
        std::fs::copy(checkout("tests/models").join(file), root.path().join(file)).unwrap();
    }

    let mut answered = 0;
    for round in 0..20 {
        let server = Server::start(root.path(), &[]);
        let address = server.http;
        let load = Load::start(address, &request, 32);
        tokio::time::sleep(Duration::from_millis(150 + 10 * round)).await;
        load.stop_is_coming();
        server.signal(if round % 2 == 0 { libc::SIGTERM } else { libc::SIGINT });
        answered += load.answered(&format!("round {round}")).await;
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "round {round}: everything accepted was answered");
    }
    assert!(answered > 1_000, "{answered} answers over all rounds");
}

#[tokio::test]
async fn readiness_goes_first_and_a_second_signal_ends_it() {
    let server = Server::with_default_models(&[]);
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200);
    // A request that is never sent to its end holds the stop open.
    let mut half = TcpStream::connect(server.http).await.unwrap();
    half.write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.signal(libc::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ready = format!("http://{}/v2/health/ready", server.metrics);
    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 400);
    let live = format!("http://{}/v2/health/live", server.metrics);
    assert_eq!(reqwest::get(&live).await.unwrap().status(), 200, "draining is no reason to be killed");
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(3));
}

#[tokio::test]
async fn a_large_answer_in_progress_arrives_whole_and_the_stop_is_clean() {
    const FLOATS: usize = 4 << 20;
    let server = Server::start(&checkout("tests/models"), &[]);
    let header = format!(
        r#"{{"inputs":[{{"name":"INPUT0","shape":[1,{FLOATS}],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        FLOATS * 4
    );
    let head = format!(
        "POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nInference-Header-Content-Length: {}\r\n\r\n",
        header.len() + FLOATS * 4,
        header.len()
    );
    let body: Vec<u8> = (0..FLOATS as u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(&[head.as_bytes(), header.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = vec![0; 1 << 16];
    stream.read_exact(&mut answer).await.unwrap();
    server.signal(libc::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = std::time::Instant::now();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&body), "{} bytes came", answer.len());
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(7), "the stop waited for its time to run out");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_does_not_spoil_a_stop() {
    let server = Server::with_default_models(&[]);
    let mut stray = TcpStream::connect(server.http).await.unwrap();
    stray.write_all(b"G").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = std::time::Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(7), "the stop waited for its time to run out");
}
