//! Connections as the server sees them: which of them are between requests,
//! and the end of those.
//!
//! The web framework is given this stream in the place of the socket, for two
//! things that it can't do itself. A stop must end a kept connection that
//! waits for its next request, and must not end one whose request was read,
//! if only its first byte: the framework's own graceful stop reads a request
//! that comes at that moment and drops it. And a client that drips the head
//! of its second request would hold its connection for ever: the framework
//! bounds the first head alone.
//!
//! Both are decided where bytes are read: a connection that is to end reads
//! as ended, before a byte of a further request is taken from the kernel.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;

/// All open connections of a listener.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Table>);

#[derive(Debug)]
struct Table {
    start: Instant,
    next: AtomicU64,
    draining: AtomicBool,
    /// A connection takes itself out when it is dropped.
    open: Mutex<HashMap<u64, Weak<Connection>>>,
}

/// What is known of one open connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    table: Arc<Table>,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// Whether a byte was read since the last answer ended: of a request that
    /// must be answered.
    begun: AtomicBool,
    /// Whether it waited too long: it ends, whatever was begun.
    expired: AtomicBool,
    /// When the last answer ended, in milliseconds since the table's start.
    idle_since: AtomicU64,
    /// Who waits for bytes.
    reader: Mutex<Option<Waker>>,
}

/// A socket with the server's say in when it ends.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    connection: Arc<Connection>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Table {
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
        let connection = Arc::new(Connection {
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            table: Arc::clone(&self.0),
            busy: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            idle_since: AtomicU64::new(self.0.now()),
            reader: Mutex::default(),
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
    /// than `limit`; returns how many.
    pub(super) fn end_idle(&self, limit: Duration) -> usize {
        let now = self.0.now();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let waited = |c: &&Arc<Connection>| {
            !c.busy.load(Ordering::SeqCst) && now.saturating_sub(c.idle_since.load(Ordering::SeqCst)) > limit
        };
        let all = self.all();
        all.iter()
            .filter(waited)
            .map(|connection| {
                connection.expired.store(true, Ordering::SeqCst);
                connection.wake();
            })
            .count()
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Table {
    fn now(&self) -> u64 {
        u64::try_from((clock::now() - self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request's head has come; until the value is dropped the connection
    /// is busy with it.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::SeqCst);
        Busy(Arc::clone(self))
    }

    /// Whether no further request may be read.
    fn ends(&self) -> bool {
        let draining = self.table.draining.load(Ordering::SeqCst) && !self.begun.load(Ordering::SeqCst);
        (draining || self.expired.load(Ordering::SeqCst)) && !self.busy.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        match reader.as_mut() {
            Some(known) => known.clone_from(waker),
            None => *reader = Some(waker.clone()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

/// A request in progress on a connection: from its head until its answer was
/// handed to the writer.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        // A client that pipelines may have sent more already: in a stop it is
        // told by this answer's `Connection: close` that it won't be read.
        self.0.begun.store(false, Ordering::SeqCst);
        self.0.idle_since.store(self.0.table.now(), Ordering::SeqCst);
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

impl Stream {
    pub(super) fn connection(&self) -> &Arc<Connection> {
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
                if buf.filled().len() > before {
                    self.connection.begun.store(true, Ordering::SeqCst);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.connection.wait(cx.waker());
                // Told to end in between: nobody would wake the reader.
                if self.connection.ends() { Poll::Ready(Ok(())) } else { Poll::Pending }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
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
