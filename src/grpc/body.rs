//! A call's body on its way to the framework: bounded in bytes, in time and in
//! the memory that all requests take together, and ended by a stop of the
//! server between two messages of a stream.
//!
//! The framework reads a body to the end of its message before the service is
//! called. So the checks that HTTP makes while it reads a body are made by the
//! body itself here. Bytes that a client sent before they were asked for wait
//! in HTTP/2's windows and aren't counted: each connection's windows are
//! bounded.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Request, Status};

use super::status;
use crate::admission::Permit;
use crate::error::{Error, ErrorCode, Result};
use cresset_clock as clock;

/// For each of so many bytes that have come, a message gets a second more.
const BYTES_PER_SECOND: usize = 256 * 1024;

/// How long a stop reads messages that have come already, so that a client that
/// keeps sending doesn't hold it up.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The lease of the current call: the framework's decoder gets nothing but
    /// bytes.
    static LEASE: Lease;
}

/// Lends the current call memory for a message of `length` bytes and for
/// `elements` bytes that are made of it.
pub(super) fn lend(length: usize, elements: usize) -> Result<()> {
    let lent = LEASE.try_with(|lease| {
        let mut permit = lease.lock();
        permit.grow(elements)?;
        // A compressed message takes more than it took on the wire.
        permit.cover(length.saturating_add(elements))
    });
    // Only tests are outside of calls.
    lent.unwrap_or(Ok(()))
}

/// The memory that a call's messages were lent; the code that takes a message
/// takes its memory from here.
#[derive(Debug, Clone)]
pub(super) struct Lease(Arc<Mutex<Permit>>);

impl Lease {
    pub(super) fn new(permit: Permit) -> Self {
        Self(Arc::new(Mutex::new(permit)))
    }

    /// The lease of a request, which came with its body.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let lease = request.extensions().get().cloned();
        lease.ok_or_else(|| status::failed(&Error::internal("the request lost its memory's lease")))
    }

    /// The memory that was lent since the last call of this.
    pub(super) fn take(&self) -> Permit {
        self.lock().take()
    }

    /// Runs work of this lease's call.
    pub(super) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        LEASE.sync_scope(self, work)
    }

    /// The same for async work.
    pub(super) async fn throughout<T>(self, work: impl Future<Output = T>) -> T {
        LEASE.scope(self, work).await
    }

    fn grow(&self, bytes: usize) -> Result<()> {
        self.lock().grow(bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Permit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's answers: its messages are read while these are made.
pub(super) struct Lending {
    inner: tonic::body::Body,
    lease: Lease,
}

impl Lending {
    pub(super) fn new(inner: tonic::body::Body, lease: Lease) -> Self {
        Self { inner, lease }
    }
}

impl Body for Lending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        this.lease.clone().during(|| Pin::new(&mut this.inner).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How many messages a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// Exactly one.
    Unary,
    /// Any number, as they come.
    Stream,
}

/// What bounds a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes.
    pub(super) message: usize,
    /// How long it may take, beside what its length earns it.
    pub(super) patience: Duration,
}

/// The body.
pub(super) struct Metered {
    inner: Incoming,
    lease: Lease,
    arity: Arity,
    bounds: Bounds,
    place: MessageProgress,
    /// How long the client was waited for in the present message.
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    stopping: CancellationToken,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    stopped_at: Option<Instant>,
    over: bool,
}

/// A body's position in its messages: before each stand a byte of flags and its
/// length in four bytes.
#[derive(Debug, Default)]
struct MessageProgress {
    prefix: [u8; 5],
    prefix_read: usize,
    left: usize,
    /// Bytes of the present message that have come.
    come: usize,
    begun: usize,
}

impl MessageProgress {
    fn between_messages(&self) -> bool {
        self.prefix_read == 0 && self.left == 0
    }

    /// Goes on by `data`, up to a message over `limit`.
    fn advance(&mut self, mut data: &[u8], limit: usize) -> Result<()> {
        while !data.is_empty() {
            if self.left > 0 {
                let step = self.left.min(data.len());
                self.left -= step;
                self.come += step;
                data = &data[step..];
                continue;
            }
            let step = data.len().min(self.prefix.len() - self.prefix_read);
            self.prefix[self.prefix_read..self.prefix_read + step].copy_from_slice(&data[..step]);
            self.prefix_read += step;
            data = &data[step..];
            if self.prefix_read == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.prefix_read = 0;
                self.come = 0;
                self.begun += 1;
                self.left = u32::from_be_bytes(length) as usize;
                if self.left > limit {
                    return Err(Error::new(
                        ErrorCode::PayloadTooLarge,
                        format!("the body is over the limit of {limit} bytes (--http-max-input-size)"),
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Metered {
    pub(super) fn new(
        inner: Incoming,
        lease: Lease,
        arity: Arity,
        bounds: Bounds,
        stopping: &CancellationToken,
    ) -> Self {
        Self {
            inner,
            lease,
            arity,
            bounds,
            place: MessageProgress::default(),
            waited: Duration::ZERO,
            waiting: None,
            stopping: stopping.clone(),
            stop: Box::pin(stopping.clone().cancelled_owned()),
            stopped_at: None,
            over: false,
        }
    }

    /// Whether a stop of the server may end it here.
    fn may_stop(&self) -> bool {
        self.arity == Arity::Stream && self.place.between_messages()
    }

    fn take_in(&mut self, data: &[u8]) -> Result<()> {
        let message = self.place.begun;
        self.place.advance(data, self.bounds.message)?;
        if self.arity == Arity::Unary && self.place.begun > 1 {
            return Err(Error::invalid("the call takes one message, and more came"));
        }
        if self.place.begun != message {
            self.waited = Duration::ZERO;
        }
        self.lease.grow(data.len())
    }

    /// Waits, ends the body for a stop, or gives it up.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.may_stop() {
            return match self.stop.as_mut().poll(cx) {
                Poll::Ready(()) => self.end(status::stopping()),
                Poll::Pending => Poll::Pending,
            };
        }
        let earned = Duration::from_secs((self.place.come / BYTES_PER_SECOND) as u64);
        let patience = self.bounds.patience + earned;
        let left = patience.saturating_sub(self.waited);
        let (_, sleep) =
            self.waiting.get_or_insert_with(|| (clock::now(), Box::pin(tokio::time::sleep(left))));
        match sleep.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => self.end(status::failed(&Error::new(
                ErrorCode::RequestTimeout,
                format!("the body didn't come within {} s", patience.as_secs()),
            ))),
        }
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        Poll::Ready(Some(Err(status)))
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if this.may_stop() && this.stopping.is_cancelled() {
            let stopped_at = *this.stopped_at.get_or_insert_with(clock::now);
            if clock::now() - stopped_at > LAST_MESSAGES {
                return this.end(status::stopping());
            }
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => return this.wait(cx),
            Poll::Ready(frame) => frame,
        };
        if let Some((since, _)) = this.waiting.take() {
            this.waited += clock::now() - since;
        }
        match frame {
            None => Poll::Ready(None),
            Some(Err(_)) => this.end(status::broken_off()),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref()
                    && let Err(error) = this.take_in(data)
                {
                    return this.end(status::failed(&error));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_messages_is_known_however_they_are_cut() {
        let messages = [&[0, 0, 0, 0, 3, 9, 9, 9][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 8, 8]];
        let bytes = messages.concat();
        for cut in 0..bytes.len() {
            let mut place = MessageProgress::default();
            place.advance(&bytes[..cut], 3).unwrap();
            assert_eq!(place.between_messages(), [0, 8, 13].contains(&cut), "{cut}");
            place.advance(&bytes[cut..], 3).unwrap();
            assert!(place.between_messages());
            assert_eq!(place.begun, 3);
        }
        let error = MessageProgress::default().advance(&bytes, 2).unwrap_err();
        assert_eq!(error.message(), "the body is over the limit of 2 bytes (--http-max-input-size)");
    }
}
