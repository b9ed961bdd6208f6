//! One connection: its HTTP/2, and its end.
//!
//! A stop tells every client that no more calls are taken; the framework then
//! ends the connection with the last answer. Three kinds of client would delay
//! that, or hold memory for nothing:
//!
//! - a client that never says which protocol it speaks;
//! - a client that doesn't answer the goodbye;
//! - a client that doesn't read its answers.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::call;
use super::shared::Shared;
use super::socket::{self, Socket};
use cresset_clock as clock;

/// How long a client may take to say that it speaks HTTP/2.
const PREFACE: Duration = Duration::from_secs(10);
/// How often a silent client is pinged, and how long its answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How often a connection is checked.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is checked while the server stops, and how long a connection
/// without calls may take to end.
const LAST_LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How many bytes all calls of a connection together may have under way, in
/// windows of one call.
const WINDOWS: u32 = 4;
/// Enough for one client to fill the batches of a busy model.
const CALLS_AT_A_TIME: u32 = 1024;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct GrpcConnection(Mutex<Calls>);

#[derive(Debug)]
struct Calls {
    next: u64,
    /// The calls in progress, each with the time since when a piece of its
    /// answer waits for the client to read.
    open: HashMap<u64, Option<Instant>>,
    idle_since: Instant,
}

/// A call in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenCall {
    id: u64,
    connection: Arc<GrpcConnection>,
}

impl GrpcConnection {
    fn new() -> Self {
        Self(Mutex::new(Calls { next: 0, open: HashMap::new(), idle_since: clock::now() }))
    }

    /// A call comes.
    pub(super) fn begin(self: &Arc<Self>) -> OpenCall {
        let mut calls = self.calls();
        let id = calls.next;
        calls.next += 1;
        calls.open.insert(id, None);
        OpenCall { id, connection: Arc::clone(self) }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no call has been in progress for `time`.
    fn idle_for(&self, time: Duration) -> bool {
        let calls = self.calls();
        calls.open.is_empty() && clock::now() - calls.idle_since >= time
    }

    /// Whether an answer has been left unread for `time`.
    fn stalled_for(&self, time: Duration) -> bool {
        let now = clock::now();
        self.calls().open.values().flatten().any(|since| now - *since >= time)
    }
}

impl OpenCall {
    /// A piece of the answer goes to the connection.
    pub(super) fn handed_over(&self) {
        self.set(Some(clock::now()));
    }

    /// The connection has room for the next.
    pub(super) fn taken(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        if let Some(call) = self.connection.calls().open.get_mut(&self.id) {
            *call = since;
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.connection.calls();
        calls.open.remove(&self.id);
        calls.idle_since = clock::now();
    }
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream) {
    // Small answers must not wait for an acknowledgement; a socket that can't
    // be told so works all the same.
    let _ = socket.set_nodelay(true);
    tokio::select! {
        spoken = tokio::time::timeout(PREFACE, speaks_http2(&socket)) => {
            if !matches!(spoken, Ok(Ok(true))) {
                tracing::debug!("a connection that isn't gRPC's");
                return;
            }
        }
        () = shared.stopping.cancelled() => return,
    }
    let (socket, returned) = socket::lend(socket);
    converse(&shared, socket).await;
    returned.close().await;
}

/// Speaks HTTP/2 until one side ends it.
async fn converse(shared: &Arc<Shared>, socket: Socket) {
    let connection = Arc::new(GrpcConnection::new());
    let service = {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
        service_fn(move |request| call::answer(Arc::clone(&shared), Arc::clone(&connection), request))
    };
    let http = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(shared.window)
        .initial_connection_window_size(shared.window.saturating_mul(WINDOWS))
        .max_concurrent_streams(CALLS_AT_A_TIME)
        // Many deadlines may pass at once; that is no attack.
        .max_pending_accept_reset_streams(CALLS_AT_A_TIME as usize)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(socket), service);
    let mut http = std::pin::pin!(http);
    let mut stopping = false;
    loop {
        let look = if stopping { LAST_LOOKS.0 } else { LOOK };
        tokio::select! {
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = shared.stopping.cancelled(), if !stopping => {
                http.as_mut().graceful_shutdown();
                stopping = true;
            }
            () = tokio::time::sleep(look) => {}
        }
        if connection.stalled_for(shared.bounds.patience) {
            tracing::debug!("ended a connection whose client doesn't read its answers");
            return;
        }
        if stopping && connection.idle_for(LAST_LOOKS.1) {
            return;
        }
    }
}

/// Whether the connection begins with HTTP/2's preface. Its bytes stay in the
/// socket.
async fn speaks_http2(socket: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut first = [0; PREFACE.len()];
    loop {
        let count = socket.peek(&mut first).await?;
        if count == PREFACE.len() || count == 0 {
            return Ok(first == PREFACE);
        }
        if first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        // Peeking returns at once if any bytes are there; it doesn't wait for
        // more.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
