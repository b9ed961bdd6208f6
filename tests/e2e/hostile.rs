//! Clients that are hostile or broken.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::{Load, busy_request};
use crate::server::{Server, checkout, get, post, raw};

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
    let server = Server::with_default_models(&["--http-max-input-size=1000"]);
    let url = server.url("/v2/models/simple/infer");
    let (status, answer) = post(&url, vec![b' '; 1001]).await;
    assert_eq!(status, 413);
    assert_eq!(
        answer,
        json!({"error": "request JSON size of 1001 bytes exceeds the maximum allowed input size of 1000 bytes. Use --http-max-input-size to increase the limit"})
    );
    assert_eq!(post(&url, vec![b' '; 1000]).await.0, 400, "the limit itself is let in");
    let chunked = [
        b"POST /v2/models/simple/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
            .as_slice(),
        &[b' '; 1001],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert!(raw(server.http, &chunked, Duration::from_secs(3)).starts_with("HTTP/1.1 413"));
}

/// Reads an answer to the end of its JSON.
fn error_of(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn an_unknown_model_is_refused_before_its_body_is_sent() {
    const BYTES: usize = 64 << 20;
    const GONE: &str = "HTTP/1.1 404 Not Found\r\n";
    let server = Server::with_default_models(&[]);
    let connect = || TcpStream::connect(server.http).unwrap();
    let head = |path: &str, more: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let length = format!("Content-Length: {BYTES}\r\n");
    for path in [
        "/v2/models/nope/infer",
        "/v2/models/simple/versions/9/infer",
        "/predictions/nope",
        "/predictions/simple/9.0",
        "/v1/models/nope:predict",
        "/v1/models/simple/versions/9:predict",
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut stream = connect();
            // Not a byte of the body.
            stream.write_all(head(path, &format!("{length}{expect}")).as_bytes()).unwrap();
            let answer = error_of(&mut stream);
            let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
            assert!(answer.starts_with(GONE), "{path}: {answer}");
            assert!(answer.contains("Request for unknown model: "), "{path}: {answer}");
            assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{path}: {answer}");
        }
    }
    // Of a body in chunks the length isn't known.
    let mut stream = connect();
    let chunked = head("/v2/models/nope/infer", "Transfer-Encoding: chunked\r\n");
    stream.write_all(chunked.as_bytes()).unwrap();
    assert!(error_of(&mut stream).starts_with(GONE));

    // A client that reads when it has sent everything has its answer, too.
    let mut stream = connect();
    stream.write_all(head("/predictions/nope", &length).as_bytes()).unwrap();
    stream.write_all(&vec![0; BYTES]).expect("the connection isn't reset");
    assert!(error_of(&mut stream).starts_with(GONE));

    // And a short body costs no connection.
    let mut stream = connect();
    let short = head("/v2/models/nope/infer", "Content-Length: 2\r\n");
    for _ in 0..2 {
        stream.write_all(short.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"{}").unwrap();
        let answer = error_of(&mut stream);
        assert!(answer.starts_with(GONE) && !answer.contains("close"), "{answer}");
    }
}

/// The test model that computes for two milliseconds, one request at a time.
fn busy_alone() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("busy");
    std::fs::create_dir_all(model.join("1")).unwrap();
    std::fs::copy(checkout("tests/models/busy/1/model.pt"), model.join("1/model.pt")).unwrap();
    let config = std::fs::read_to_string(checkout("tests/models/busy/config.pbtxt")).unwrap();
    let alone = config.replace("dynamic_batching { }", "instance_group [ { count: 1 kind: KIND_CPU } ]");
    assert_ne!(config, alone);
    std::fs::write(model.join("config.pbtxt"), alone).unwrap();
    root
}

/// What comes within a moment of an answer's head; empty if nothing does.
fn beginning(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 4096];
    let count = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_model_refuses_before_a_body_is_sent() {
    const BYTES: usize = 48 << 20;
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\n";
    let repository = busy_alone();
    let server = Server::start(repository.path(), &["--max-queue-wait=1ms"]);
    // One of them runs, one is the next, and the others are refused and come
    // again.
    let load = Load::start(server.http, &busy_request(), 8);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The next place may be free at any one moment.
    let refused = |send: &dyn Fn(&mut TcpStream)| {
        for _ in 0..100 {
            let mut stream = TcpStream::connect(server.http).unwrap();
            send(&mut stream);
            let answer = beginning(&mut stream);
            if answer.starts_with(BUSY) {
                return answer;
            }
        }
        panic!("it was let in 100 times");
    };
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {BYTES}\r\nx-request-id: mine\r\n{more}\r\n"
        )
    };
    for path in
        ["/v2/models/busy/versions/1/infer", "/predictions/busy", "/v1/models/busy:predict", "/predict"]
    {
        for expect in ["", "Expect: 100-continue\r\n"] {
            // Not a byte of the body; and no 100 comes before the refusal.
            let answer = refused(&|stream| stream.write_all(head(path, expect).as_bytes()).unwrap());
            assert!(
                answer.contains("model 'busy' is overloaded: the queue ahead needs "),
                "{path}: {answer}"
            );
            assert!(answer.contains(" at most 1 ms are allowed (--max-queue-wait)"), "{path}: {answer}");
            let head = answer.to_lowercase();
            for line in ["connection: close", "retry-after: 1", "x-request-id: mine"] {
                assert!(head.contains(&format!("\r\n{line}\r\n")), "{path}: {answer}");
            }
        }
    }
    // A client that asks first is told of an unknown model, too.
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.write_all(head("/predictions/nope", "Expect: 100-continue\r\n").as_bytes()).unwrap();
    assert!(beginning(&mut stream).starts_with("HTTP/1.1 404 "));
    // A client that reads when it has sent everything has its answer.
    let body = vec![b' '; BYTES];
    refused(&|stream| {
        stream.write_all(head("/predictions/busy", "").as_bytes()).unwrap();
        stream.write_all(&body).expect("the connection isn't reset");
    });
    drop(load);
    let rejected = server.metric("nv_inference_request_failure", "model=\"busy\",reason=\"REJECTED\"").await;
    assert!(rejected >= 9.0, "{rejected}");
    assert!(server.metric("nv_inference_request_success", "model=\"busy\"").await > 0.0, "and answers some");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let server = Server::with_default_models(&["--http-body-timeout-secs=1"]);
    let started = Instant::now();
    let head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
    let answer = raw(server.http, head, Duration::from_secs(10));
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(9), "the connection was ended");
}

#[tokio::test]
async fn a_second_head_that_drips_ends_its_connection() {
    let server = Server::with_default_models(&["--http-keep-alive-secs=1"]);
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 1024];
    assert!(stream.read(&mut answer).unwrap() > 0);
    let started = Instant::now();
    let ended = loop {
        // A byte of the next head every half second.
        if stream.write_all(b"G").is_err() {
            break true;
        }
        match stream.read(&mut answer) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break true,
        }
        if started.elapsed() > Duration::from_secs(20) {
            break false;
        }
    };
    assert!(ended, "the connection is still open after 20 s");
}

#[tokio::test]
async fn an_answer_that_is_left_unread_is_given_up() {
    const BYTES: usize = 32 << 20;
    let server = Server::start(&checkout("tests/models"), &["--http-body-timeout-secs=2"]);
    let header = format!(
        r#"{{"inputs":[{{"name":"INPUT0","shape":[1,{}],"datatype":"FP32","parameters":{{"binary_data_size":{BYTES}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        BYTES / 4
    );
    let head = format!(
        "POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nInference-Header-Content-Length: {}\r\n\r\n",
        header.len() + BYTES,
        header.len()
    );
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.write_all(&[head.as_bytes(), header.as_bytes(), &vec![0; BYTES]].concat()).unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "the answer had begun");
    assert!(answer.len() < BYTES, "all of it came: nothing was given up");
    assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "still open");
}

#[tokio::test]
async fn promises_of_large_bodies_hold_nobody_up() {
    let server = Server::with_default_models(&["--max-request-memory=100000000"]);
    let promises: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(server.http).unwrap();
            stream
                .write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cat = std::fs::read(checkout("models/efficientnet_lite0/samples/cat.jpg")).unwrap();
    assert_eq!(post(&server.url("/predict"), cat).await.0, 200);
    drop(promises);
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_request() {
    let server = Server::start(&checkout("tests/models"), &[]);
    let body = json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}]})
        .to_string();
    let request = format!(
        "POST /v2/models/busy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Enough to queue behind each other, and then all hang up.
    let streams: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = TcpStream::connect(server.http).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    streams.iter().for_each(|stream| stream.shutdown(Shutdown::Both).unwrap());
    drop(streams);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let label = "model=\"busy\"";
    let pending = server.metric("nv_inference_pending_request_count", label).await;
    let computed = server.metric("nv_inference_request_success", label).await;
    let canceled = server.metric("nv_inference_request_failure", "model=\"busy\",reason=\"CANCELED\"").await;
    assert_eq!(pending, 0.0);
    assert!(computed + canceled <= 400.0, "{computed} computed, {canceled} canceled");
    assert_eq!(get(&server.url("/v2/health/ready")).await.0, 200);
}
