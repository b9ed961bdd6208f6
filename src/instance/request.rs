//! A request in the queue, with the way back to its client.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::context::RequestContext;
use crate::error::{Error, Result};
use crate::metrics::{Durations, FailureReason, ModelMetrics, PendingGuard};
use cresset_clock as clock;
use cresset_protocol::{RequestedOutput, Schedule, Tensor};
use cresset_scheduler::{ResponseSequencer, RowSize, Schedulable};

/// A request that was checked, bound and admitted.
#[derive(Debug)]
pub struct QueuedRequest {
    /// In the order in which the model takes them; shapes are the model's
    /// (reshaped if the configuration says so). An input that is made while the
    /// batch is collected has no data: see [`Fill`](super::Fill).
    pub inputs: Vec<Tensor>,
    /// The outputs asked for, in the order asked for; empty for all of them.
    pub asked: Vec<RequestedOutput>,
    /// Rows of the batch dimension; 1 if the model doesn't batch.
    pub rows: u32,
    /// What must be equal for requests to run together.
    pub bucket: Vec<i64>,
    /// How large its rows are, if the model's batching asks for that.
    pub size: RowSize,
    /// When it arrived.
    pub arrival: Instant,
    /// Its own priority and timeout.
    pub schedule: Schedule,
    /// The way back, with the request's context; answers by itself when it is
    /// dropped unanswered.
    pub responder: Responder,
    /// Counts it among the waiting until its batch leaves.
    pub pending: Option<PendingGuard>,
}

impl Schedulable for QueuedRequest {
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
        self.responder.context().deadline
    }
    fn follows(&self) -> bool {
        self.responder.context().follows
    }
    fn expire(self) {
        tracing::debug!(request = %self.responder.context().id, "waited in the queue for longer than it may");
        // Triton's words.
        self.responder.refuse(Error::unavailable("Request timeout expired"));
    }
}

/// The model's answer to one request.
#[derive(Debug, Clone)]
pub struct ModelAnswer {
    /// In the order asked for, else the model's; slices of the batch's outputs.
    pub outputs: Vec<Tensor>,
    /// How long each stage took.
    pub durations: Durations,
}

/// The way back to a waiting client, used once. Dropping it answers with an
/// error, so that no accepted request is lost by a panic or a dead thread. Each
/// answer is counted here, once.
#[derive(Debug)]
pub struct Responder {
    channel: Option<oneshot::Sender<Result<ModelAnswer>>>,
    context: RequestContext,
    metrics: Arc<ModelMetrics>,
    arrival: Instant,
    turn: Option<ResponseTurn>,
    /// Present if this is the responder of a part of a request.
    part: Option<Box<dyn PartOfRequest>>,
}

/// The way back of one part of a request that runs in several parts: to the
/// request's own responder.
pub(super) trait PartOfRequest: fmt::Debug + Send {
    /// Whether its answer isn't waited for any more.
    fn cancelled(&self) -> bool;
    /// Answers the request if this is the last of its parts.
    fn succeed(&self, answer: ModelAnswer);
    /// Answers the request with an error, if none was before.
    fn fail(&self, reason: FailureReason, error: Error);
    /// The same for a part that didn't run.
    fn refuse(&self, error: Error);
    /// What dropping the request's own responder does.
    fn dropped(&self);
}

/// Lets a model's answers leave in the order in which their requests came.
pub type Order = Mutex<ResponseSequencer<SequencedAnswer>>;

/// An answer on its way to its client.
#[derive(Debug)]
pub struct SequencedAnswer {
    channel: oneshot::Sender<Result<ModelAnswer>>,
    result: Result<ModelAnswer>,
}

/// A request's place in an order.
#[derive(Debug)]
struct ResponseTurn {
    order: Arc<Order>,
    number: u64,
}

impl ResponseTurn {
    fn leave(self, leaving: Option<SequencedAnswer>) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: the next may leave only behind these.
        for SequencedAnswer { channel, result } in order.leave(self.number, leaving) {
            let _ = channel.send(result);
        }
    }
}

impl Responder {
    /// A responder for a request that came at `arrival`, and the end that waits
    /// for it.
    #[must_use]
    pub fn new(
        context: RequestContext,
        metrics: Arc<ModelMetrics>,
        arrival: Instant,
    ) -> (Self, oneshot::Receiver<Result<ModelAnswer>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { channel: Some(sender), context, metrics, arrival, turn: None, part: None }, receiver)
    }

    /// The responder of a part of this one's request, which may follow another.
    pub(super) fn of_part(&self, part: Box<dyn PartOfRequest>, follows: bool) -> Self {
        let context = self.context.clone();
        Self {
            channel: None,
            context: RequestContext { follows: follows || context.follows, ..context },
            metrics: Arc::clone(&self.metrics),
            arrival: self.arrival,
            turn: None,
            part: Some(part),
        }
    }

    /// The context of its request.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// From now on its answer follows those of the requests that were put into
    /// this order before.
    #[must_use]
    pub fn in_turn(mut self, order: &Arc<Order>) -> Self {
        let number = order.lock().unwrap_or_else(PoisonError::into_inner).enter();
        self.turn = Some(ResponseTurn { order: Arc::clone(order), number });
        self
    }

    /// Whether the client doesn't wait any more.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        match &self.part {
            Some(part) => part.cancelled(),
            None => self.channel.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    /// Answers with outputs.
    pub fn succeed(mut self, rows: u32, answer: ModelAnswer) {
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

    /// Answers with an error, out of turn, because the request doesn't run.
    pub fn refuse(mut self, error: Error) {
        if let Some(part) = self.part.take() {
            return part.refuse(error);
        }
        // Before the later requests: their answers may have waited for this one
        // only.
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

    fn send(&mut self, result: Result<ModelAnswer>) {
        let Some(channel) = self.channel.take() else { return };
        match self.turn.take() {
            Some(turn) => turn.leave(Some(SequencedAnswer { channel, result })),
            // The client may have gone in between: then its answer is dropped.
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
        let request = &self.context.id;
        if self.cancelled() {
            tracing::debug!(%request, "dropped: its client doesn't wait any more");
            self.give_turn_up();
            self.count(FailureReason::Canceled);
        } else {
            tracing::error!(%request, "dropped by a failure in the server");
            self.count(FailureReason::Other);
            self.send(Err(Error::internal(
                "the request was dropped by a failure in the server; see its log",
            )));
        }
    }
}
