//! A stop under load loses nothing that was accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::server::{Server, checkout, get};

/// How a request on an open connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A whole response came.
    Answered,
    /// The connection ended before the server read a byte of the request: no
    /// loss.
    NotAccepted,
    /// The server read the request and ended the connection without an answer.
    Lost,
    /// A response broke off.
    Broken(String),
}

/// Tells the two apart by what the kernel does: a socket that is closed with
/// unread bytes, or that gets bytes after its close, resets the connection;
/// one whose bytes were read ends it in order. The reset comes with the close,
/// which may be a moment after the end of the stream.
async fn without_an_answer(stream: &TcpStream, read: std::io::Result<usize>) -> End {
    if read.is_err() {
        return End::NotAccepted;
    }
    for _ in 0..100 {
        if socket2::SockRef::from(stream).take_error().is_ok_and(|error| error.is_some()) {
            return End::NotAccepted;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    End::Lost
}

/// Sends one request and reads its whole response.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> End {
    if stream.write_all(request).await.is_err() {
        return End::NotAccepted;
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            if length.is_some_and(|length| answer.len() >= head + 4 + length) {
                return End::Answered;
            }
        }
        match stream.read(&mut chunk).await {
            end @ (Ok(0) | Err(_)) if answer.is_empty() => return without_an_answer(stream, end).await,
            Ok(0) | Err(_) => return End::Broken(String::from_utf8_lossy(&answer).into_owned()),
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_stops_under_load_answer_all_that_was_accepted() {
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    let request: Arc<str> = format!(
        "POST /v2/models/busy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into();
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
        let stopping = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..32 {
            let (request, stopping) = (Arc::clone(&request), Arc::clone(&stopping));
            clients.spawn(async move {
                let mut ends = Vec::new();
                'connections: while let Ok(mut stream) = TcpStream::connect(address).await {
                    loop {
                        let end = exchange(&mut stream, request.as_bytes()).await;
                        let over = end != End::Answered;
                        // Before the signal nothing may be refused at all.
                        let early = over && !stopping.load(Ordering::Acquire);
                        ends.push((end, early));
                        if over && stopping.load(Ordering::Acquire) {
                            continue 'connections;
                        }
                        if over {
                            break 'connections;
                        }
                    }
                }
                ends
            });
        }
        tokio::time::sleep(Duration::from_millis(150 + 10 * round)).await;
        stopping.store(true, Ordering::Release);
        server.signal(if round % 2 == 0 { libc::SIGTERM } else { libc::SIGINT });
        while let Some(ends) = clients.join_next().await {
            for (end, early) in ends.unwrap() {
                assert!(!early, "round {round}: lost before the stop: {end:?}");
                assert!(matches!(end, End::Answered | End::NotAccepted), "round {round}: {end:?}");
                answered += u32::from(end == End::Answered);
            }
        }
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
