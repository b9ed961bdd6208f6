//! A request in the queue, with the way back to who asked.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::clock;
use crate::error::{Error, Result};
use crate::metrics::{Durations, FailureReason, ModelMetrics, PendingGuard};
use crate::protocol::{RequestedOutput, Tensor};
use crate::scheduler::Waiting;
use std::sync::Arc;

/// A request that was checked, bound and admitted.
#[derive(Debug)]
pub struct QueuedRequest {
    /// In the order in which the model takes them; shapes are the model's
    /// (reshaped where the configuration says so).
    pub inputs: Vec<Tensor>,
    /// The outputs asked for, in the order asked for; empty for all of them.
    pub asked: Vec<RequestedOutput>,
    /// Rows of the batch dimension; 1 where the model doesn't batch.
    pub rows: u32,
    /// What must be equal for requests to run together.
    pub bucket: Vec<i64>,
    /// When it came.
    pub arrival: Instant,
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
    fn arrival(&self) -> Instant {
        self.arrival
    }
    fn cancelled(&self) -> bool {
        self.responder.cancelled()
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
}

impl Responder {
    /// A responder for a request that came at `arrival`, and the end that waits
    /// for it.
    #[must_use]
    pub fn new(metrics: Arc<ModelMetrics>, arrival: Instant) -> (Self, oneshot::Receiver<Result<Answer>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { channel: Some(sender), metrics, arrival }, receiver)
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.channel.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Answers with outputs.
    pub fn succeed(mut self, rows: u32, answer: Answer) {
        self.metrics.succeeded(rows, &answer.durations);
        self.send(Ok(answer));
    }

    /// Answers with an error.
    pub fn fail(mut self, reason: FailureReason, error: Error) {
        self.count(reason);
        self.send(Err(error));
    }

    fn count(&self, reason: FailureReason) {
        self.metrics.failed(reason, clock::now().saturating_duration_since(self.arrival));
    }

    fn send(&mut self, result: Result<Answer>) {
        if let Some(channel) = self.channel.take() {
            // The client may have gone in between: then there is nobody to tell.
            let _ = channel.send(result);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.channel.is_none() {
            return;
        }
        if self.cancelled() {
            self.count(FailureReason::Canceled);
        } else {
            self.count(FailureReason::Other);
            self.send(Err(Error::internal(
                "the request was dropped by a failure in the server; see its log",
            )));
        }
    }
}
