//! Clients that keep a server busy, and record how each request ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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

/// A request to the test model that computes for two milliseconds.
pub(crate) fn busy_request() -> String {
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    format!("POST /v2/models/busy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Clients that send one request after the other, each on a connection of its
/// own, until none can be opened.
pub(crate) struct Load {
    clients: JoinSet<Vec<(End, bool)>>,
    stopping: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, request: &str, clients: usize) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let request: Arc<str> = request.into();
        let clients = (0..clients).map(|_| client(address, Arc::clone(&request), Arc::clone(&stopping)));
        Self { clients: clients.collect(), stopping }
    }

    /// From here on a connection may end without an answer, as long as the
    /// server read nothing from it.
    pub(crate) fn stop_is_coming(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Waits for the last client, and counts the answers.
    ///
    /// # Panics
    /// When anything that was accepted was lost, or anything at all before the
    /// stop.
    pub(crate) async fn answered(mut self, when: &str) -> u32 {
        let mut answered = 0;
        while let Some(ends) = self.clients.join_next().await {
            for (end, early) in ends.unwrap() {
                assert!(!early, "{when}: lost before the stop: {end:?}");
                assert!(matches!(end, End::Answered | End::NotAccepted), "{when}: {end:?}");
                answered += u32::from(end == End::Answered);
            }
        }
        answered
    }
}

async fn client(address: SocketAddr, request: Arc<str>, stopping: Arc<AtomicBool>) -> Vec<(End, bool)> {
    // A container's address goes with it; then connections aren't refused but
    // time out.
    let connect = || tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(address));
    let mut ends = Vec::new();
    'connections: while let Ok(Ok(mut stream)) = connect().await {
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
}
