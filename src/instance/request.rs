//! A request in the queue, with the way back to who asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::joined::Part;
use crate::error::{Error, Result};
use crate::metrics::{Durations, FailureReason, ModelMetrics, PendingGuard};
use crate::scheduler::{RowSize, Turnstile, Waiting};
use cresset_clock as clock;
use cresset_protocol::{RequestedOutput, Schedule, Tensor};

/// A request that was checked, bound and admitted.
#[derive(Debug)]
pub struct QueuedRequest {
    /// In the order in which the model takes them; shapes are the model's
    /// (reshaped where the configuration says so). Data is missing where it is
    /// made while the batch is collected: see [`Fill`](super::Fill).
    pub inputs: Vec<Tensor>,
    /// The outputs asked for, in the order asked for; empty for all of them.
    pub asked: Vec<RequestedOutput>,
    /// Rows of the batch dimension; 1 where the model doesn't batch.
    pub rows: u32,
    /// What must be equal for requests to run together.
    pub bucket: Vec<i64>,
    /// How large its rows are, where that is asked for.
    pub size: RowSize,
    /// When it came.
    pub arrival: Instant,
    /// Its own wishes.
    pub schedule: Schedule,
    /// The way back; answers by itself when it is dropped unanswered.
    pub responder: Responder,
    /// Counts it among the waiting until its batch leaves.
    pub pending: Option<PendingGuard>,
}

impl Waiting for QueuedRequest {
    fn rows(&self) -> u32 {
        self.rows
    }
    fn bucket(&self) -> &[i64] {
        &self.bucket
    }
    fn size(&self) -> RowSize {
        self.size
    }
    fn arrival(&self) -> Instant {
        self.arrival
    }
    fn cancelled(&self) -> bool {
        self.responder.cancelled()
    }
    fn priority(&self) -> u64 {
        self.schedule.priority
    }
    fn timeout(&self) -> Option<Duration> {
        self.schedule.timeout
    }
    fn deadline(&self) -> Option<Instant> {
        self.schedule.deadline
    }
    fn expire(self) {
        // Triton's words.
        self.responder.refuse(Error::unavailable("Request timeout expired"));
    }
}

/// What the model made of one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// In the order asked for, else the model's; slices of the batch's outputs.
    pub outputs: Vec<Tensor>,
    /// Where the time went.
    pub durations: Durations,
}

/// The one-time way back to a waiting client. Whatever becomes of the request
/// (a panic, a dead thread), dropping this answers: nothing that was accepted
/// is lost. Each answer is counted here, once.
#[derive(Debug)]
pub struct Responder {
    channel: Option<oneshot::Sender<Result<Answer>>>,
    metrics: Arc<ModelMetrics>,
    arrival: Instant,
    turn: Option<Turn>,
    /// Where it isn't a client's, but that of a part of a request.
    part: Option<Part>,
}

/// Lets a model's answers leave in the order in which their requests came.
pub type Order = Mutex<Turnstile<Leaving>>;

/// An answer on its way to its client.
#[derive(Debug)]
pub struct Leaving {
    channel: oneshot::Sender<Result<Answer>>,
    result: Result<Answer>,
}

/// A request's place in an order.
#[derive(Debug)]
struct Turn {
    order: Arc<Order>,
    number: u64,
}

impl Turn {
    fn leave(self, leaving: Option<Leaving>) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: the next may leave only behind these.
        for Leaving { channel, result } in order.leave(self.number, leaving) {
            let _ = channel.send(result);
        }
    }
}

impl Responder {
    /// A responder for a request that came at `arrival`, and the end that waits
    /// for it.
    #[must_use]
    pub fn new(metrics: Arc<ModelMetrics>, arrival: Instant) -> (Self, oneshot::Receiver<Result<Answer>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { channel: Some(sender), metrics, arrival, turn: None, part: None }, receiver)
    }

    pub(super) fn of_part(part: Part, metrics: &Arc<ModelMetrics>, arrival: Instant) -> Self {
        Self { channel: None, metrics: Arc::clone(metrics), arrival, turn: None, part: Some(part) }
    }

    /// Where it counts, and when its request came.
    pub(super) fn origin(&self) -> (Arc<ModelMetrics>, Instant) {
        (Arc::clone(&self.metrics), self.arrival)
    }

    /// From now on it answers behind those that were put into this order
    /// before it.
    #[must_use]
    pub fn in_turn(mut self, order: &Arc<Order>) -> Self {
        let number = order.lock().unwrap_or_else(PoisonError::into_inner).enter();
        self.turn = Some(Turn { order: Arc::clone(order), number });
        self
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        match &self.part {
            Some(part) => part.cancelled(),
            None => self.channel.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    /// Answers with outputs.
    pub fn succeed(mut self, rows: u32, answer: Answer) {
        if let Some(part) = self.part.take() {
            return part.succeed(answer);
        }
        self.metrics.succeeded(rows, &answer.durations);
        self.send(Ok(answer));
    }

    /// Answers with an error.
    pub fn fail(mut self, reason: FailureReason, error: Error) {
        if let Some(part) = self.part.take() {
            return part.fail(reason, error);
        }
        self.count(reason);
        self.send(Err(error));
    }

    /// Answers a request that doesn't run with an error, out of its turn.
    pub fn refuse(mut self, error: Error) {
        if let Some(part) = self.part.take() {
            return part.refuse(error);
        }
        // Before those behind it, whose answers may only have waited for this one.
        let turn = self.turn.take();
        self.fail(FailureReason::Rejected, error);
        if let Some(turn) = turn {
            turn.leave(None);
        }
    }

    fn give_turn_up(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.leave(None);
        }
    }

    fn count(&self, reason: FailureReason) {
        self.metrics.failed(reason, clock::now().saturating_duration_since(self.arrival));
    }

    fn send(&mut self, result: Result<Answer>) {
        let Some(channel) = self.channel.take() else { return };
        match self.turn.take() {
            Some(turn) => turn.leave(Some(Leaving { channel, result })),
            // The client may have gone in between: then there is nobody to tell.
            None => _ = channel.send(result),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            part.dropped();
        }
        if self.channel.is_none() {
            return;
        }
        if self.cancelled() {
            self.give_turn_up();
            self.count(FailureReason::Canceled);
        } else {
            self.count(FailureReason::Other);
            self.send(Err(Error::internal(
                "the request was dropped by a failure in the server; see its log",
            )));
        }
    }
}
