//! Connections that wait for their next request, and the end of those that
//! wait too long.
//!
//! The framework gives up a first request head that doesn't come, but not the
//! second and later ones of a kept connection: a client that drips its head
//! would hold its connection, and a descriptor, for ever.

use std::any::Any;
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;

use crate::clock;

/// All open connections of a listener.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Table>);

#[derive(Debug)]
struct Table {
    start: Instant,
    next: AtomicU64,
    /// A connection takes itself out when it is dropped with its socket.
    open: Mutex<HashMap<u64, Weak<Connection>>>,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    table: Arc<Table>,
    /// A second handle on the socket: closing the first can't make this one
    /// point at a stranger's.
    socket: TcpStream,
    /// Whether a request is being answered.
    busy: AtomicBool,
    /// When the last answer ended, in milliseconds since the table's start.
    idle_since: AtomicU64,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Table { start: clock::now(), next: AtomicU64::new(0), open: Mutex::default() }))
    }

    /// Notes a new connection; the framework keeps the note for as long as
    /// the connection.
    pub(super) fn opened(&self, io: &dyn Any, data: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        // Small answers must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        // Without a second handle (no descriptor left) it can't be ended
        // early, and is served all the same.
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            id,
            table: Arc::clone(&self.0),
            socket: TcpStream::from(socket),
            busy: AtomicBool::new(false),
            idle_since: AtomicU64::new(self.0.now()),
        });
        self.0.lock().insert(id, Arc::downgrade(&connection));
        data.insert(connection);
    }

    /// Ends the connections that have waited for a request longer than
    /// `limit`; returns how many.
    pub(super) fn end_idle(&self, limit: Duration) -> usize {
        let now = self.0.now();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let open: Vec<Arc<Connection>> = self.0.lock().values().filter_map(Weak::upgrade).collect();
        let idle = |c: &&Arc<Connection>| {
            !c.busy.load(Ordering::Acquire)
                && now.saturating_sub(c.idle_since.load(Ordering::Acquire)) > limit
        };
        let ended = open.iter().filter(idle);
        ended.filter(|connection| connection.socket.shutdown(Shutdown::Both).is_ok()).count()
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
    /// isn't idle.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::Release);
        Busy(Arc::clone(self))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

/// A request in progress on a connection.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.table.now(), Ordering::Release);
        self.0.busy.store(false, Ordering::Release);
    }
}
