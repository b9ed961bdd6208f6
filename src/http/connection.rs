//! The server's view of its connections: which of them are between requests,
//! and when they end.
//!
//! The web framework gets this stream instead of the socket, for three things
//! that it can't do:
//!
//! - A stop must end a kept connection that waits for its next request. It must
//!   not end one if even a byte of a request was read. The framework's own
//!   graceful stop reads a request that comes at that moment and drops it.
//! - A client that sends the head of its second request very slowly would hold
//!   its connection for ever. The framework bounds only the first head.
//! - A client that doesn't read its answer would hold the answer's memory.
//!
//! The first two are decided where bytes are read: a connection that is to end
//! reads as ended before a byte of a further request is taken from the kernel.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use cresset_clock as clock;

/// All open connections of a listener.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<ConnectionTable>);

#[derive(Debug)]
struct ConnectionTable {
    start: Instant,
    next: AtomicU64,
    draining: AtomicBool,
    /// A connection takes itself out when it is dropped.
    open: Mutex<HashMap<u64, Weak<HttpConnection>>>,
}

/// What is known of one open connection.
#[derive(Debug)]
pub(super) struct HttpConnection {
    id: u64,
    table: Arc<ConnectionTable>,
    /// Whether it came to a loopback address.
    loopback: bool,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// Whether a byte was read since the last answer ended; then there is a
    /// request that must be answered.
    begun: AtomicBool,
    /// Whether its next head took too long. Then nothing more is read; an
    /// answer that is being written is finished.
    expired: AtomicBool,
    /// Whether its client left its answer unread for too long. Then nothing
    /// more is written.
    stalled: AtomicBool,
    /// When the last answer ended or the next request began, in milliseconds
    /// since the table's start.
    idle_since: AtomicU64,
    /// Since when a write waits for the client to read, in milliseconds since
    /// the table's start; zero if no write waits.
    blocked_since: AtomicU64,
    /// The tasks that wait to read and to write.
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

/// A socket that the server can end between requests.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    connection: Arc<HttpConnection>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(ConnectionTable {
            start: clock::now(),
            next: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            open: Mutex::default(),
        }))
    }

    /// Takes a new socket in.
    pub(super) fn open(&self, socket: TcpStream) -> Stream {
        // Small answers must not wait for an acknowledgement; a socket that
        // can't be told so works all the same.
        let _ = socket.set_nodelay(true);
        // An address that can't be told counts as one: that is the stricter view.
        let loopback = socket.local_addr().map_or(true, |address| address.ip().to_canonical().is_loopback());
        let connection = Arc::new(HttpConnection {
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            table: Arc::clone(&self.0),
            loopback,
            busy: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            idle_since: AtomicU64::new(self.0.now()),
            blocked_since: AtomicU64::new(0),
            reader: Mutex::default(),
            writer: Mutex::default(),
        });
        self.0.lock().insert(connection.id, Arc::downgrade(&connection));
        Stream { socket, connection }
    }

    /// From now on connections end when they are between requests.
    pub(super) fn drain(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
        self.all().iter().for_each(|connection| connection.wake());
    }

    /// Ends the connections that have waited for a whole request head longer
    /// than `idle`, and the connections whose client has read nothing of its
    /// answer for longer than `stalled`. Returns how many. In a stop a head
    /// that was begun has [`HEAD_IN_A_STOP`] to come whole.
    pub(super) fn end_overdue(&self, idle: Duration, stalled: Duration) -> usize {
        let now = self.0.now();
        let draining = self.0.draining.load(Ordering::SeqCst);
        let idle = milliseconds(if draining { HEAD_IN_A_STOP.min(idle) } else { idle });
        let stalled = milliseconds(stalled);
        let mut ended = 0;
        for connection in self.all() {
            let waited = now.saturating_sub(connection.idle_since.load(Ordering::SeqCst));
            let blocked = connection.blocked_since.load(Ordering::SeqCst);
            if blocked > 0 && now.saturating_sub(blocked) > stalled {
                connection.stalled.store(true, Ordering::SeqCst);
            } else if blocked == 0 && !connection.busy.load(Ordering::SeqCst) && waited > idle {
                connection.expired.store(true, Ordering::SeqCst);
            } else {
                continue;
            }
            connection.wake();
            ended += 1;
        }
        ended
    }

    fn all(&self) -> Vec<Arc<HttpConnection>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}

/// How long a request head that was begun may take to come whole in a stop.
const HEAD_IN_A_STOP: Duration = Duration::from_secs(1);

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ConnectionTable {
    /// Milliseconds since the table's start; never zero.
    fn now(&self) -> u64 {
        milliseconds(clock::now() - self.start) + 1
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<HttpConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpConnection {
    /// A request's head has come; until the value is dropped the connection
    /// is busy with it.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::SeqCst);
        Busy(Arc::clone(self))
    }

    /// Whether it came to a loopback address.
    pub(super) fn loopback(&self) -> bool {
        self.loopback
    }

    /// Whether no further request may be read.
    fn ends(&self) -> bool {
        let draining = self.table.draining.load(Ordering::SeqCst) && !self.begun.load(Ordering::SeqCst);
        (draining || self.expired.load(Ordering::SeqCst)) && !self.busy.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        for waiting in [&self.reader, &self.writer] {
            let waker = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Notes the task to wake.
    fn wait(waiting: &Mutex<Option<Waker>>, waker: &Waker) {
        let mut known = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_mut() {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Notes the result of a write, and ends a write that has waited too long.
    fn wrote<T>(&self, written: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked_since.store(0, Ordering::SeqCst);
            return written;
        }
        Self::wait(&self.writer, cx.waker());
        if self.stalled.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let now = self.table.now();
        // Only the first of several failed writes in a row counts.
        let _ = self.blocked_since.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        Poll::Pending
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

/// A request in progress on a connection: from its head until its answer was
/// handed to the writer.
#[derive(Debug)]
pub(super) struct Busy(Arc<HttpConnection>);

impl Drop for Busy {
    fn drop(&mut self) {
        // A client that pipelines may have sent more already. In a stop this
        // answer's `Connection: close` tells it that this won't be read.
        self.0.begun.store(false, Ordering::SeqCst);
        self.0.idle_since.store(self.0.table.now(), Ordering::SeqCst);
        self.0.busy.store(false, Ordering::SeqCst);
        // If a stop came while the connection was busy, the reader wasn't
        // woken.
        if self.0.ends() {
            self.0.wake();
        }
    }
}

impl Stream {
    pub(super) fn connection(&self) -> &Arc<HttpConnection> {
        &self.connection
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.ends() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buf) {
            Poll::Ready(result) => {
                // A request's first byte: from here it has a head's time, and
                // an answer.
                if buf.filled().len() > before && !self.connection.begun.swap(true, Ordering::SeqCst) {
                    self.connection.idle_since.store(self.connection.table.now(), Ordering::SeqCst);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                HttpConnection::wait(&self.connection.reader, cx.waker());
                // It may have been told to end in between; then the reader
                // would never be woken.
                if self.connection.ends() { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.connection.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.connection.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl ActixStream for Stream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.socket, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.socket, cx)
    }
}
