//! One batch from start to end.

use std::sync::Arc;
use std::time::Duration;

use super::collect::Collected;
use super::respond::{choose, name_outputs, take_rows};
use super::{Answer, QueuedRequest};
use crate::backend::ModelInstance;
use crate::clock;
use crate::error::{Error, Result};
use crate::metrics::{Durations, FailureReason, ModelMetrics};
use crate::model_config::Binding;
use crate::protocol::Tensor;
use crate::scheduler::{Batch, CloseReason};

/// Runs batches on one model instance, on its thread.
pub(super) struct Executor {
    pub(super) instance: Box<dyn ModelInstance>,
    pub(super) binding: Arc<Binding>,
    pub(super) metrics: Arc<ModelMetrics>,
    /// Whether dimension 0 is a batch.
    pub(super) batched: bool,
    /// Whether a failed batch may be run again, request by request: not where
    /// the model keeps state.
    pub(super) repeatable: bool,
    pub(super) collected: Collected,
}

impl Executor {
    /// Runs a batch and answers each of its requests.
    pub(super) fn run(&mut self, mut batch: Batch<QueuedRequest>) {
        // From here on they don't wait any more.
        batch.requests.iter_mut().for_each(|request| request.pending = None);
        let alone = batch.requests.len() == 1;
        let rest = match self.attempt(batch.requests, batch.rows, batch.reason) {
            Ok(()) => return,
            Err((error, requests)) if alone || !self.repeatable => {
                for request in requests {
                    request.responder.fail(FailureReason::Backend, error.clone());
                }
                return;
            }
            Err((_, requests)) => requests,
        };
        // One bad request must not fail its neighbours: each by itself.
        tracing::debug!(requests = rest.len(), "a batch failed; its requests run one by one");
        for request in rest {
            let rows = request.rows;
            if let Err((error, requests)) = self.attempt(vec![request], rows, CloseReason::Retry) {
                for request in requests {
                    request.responder.fail(FailureReason::Backend, error.clone());
                }
            }
        }
    }

    /// Runs requests together; hands them back unanswered when that fails.
    fn attempt(
        &mut self,
        requests: Vec<QueuedRequest>,
        rows: u32,
        reason: CloseReason,
    ) -> Result<(), (Error, Vec<QueuedRequest>)> {
        let left = clock::now();
        let instance = &self.instance;
        if let Err(error) = self.collected.collect(&requests, self.batched, || instance.buffer()) {
            return Err((error, requests));
        }
        let collected = clock::now();
        let forward = self.instance.forward(&self.collected.inputs());
        let computed = clock::now();
        self.metrics.executed(rows, reason);
        let outputs = match forward {
            Ok(outputs) => outputs,
            Err(error) => {
                // A client can make a model fail as often as it likes: the
                // whole of it is for whoever looks for it.
                tracing::debug!(%error, detail = error.detail(), "the model failed");
                return Err((error.into(), requests));
            }
        };
        let mut outputs = match name_outputs(outputs, &self.binding, self.batched.then_some(rows)) {
            Ok(outputs) => outputs,
            Err(error) => return Err((error, requests)),
        };

        let mut cut = Vec::with_capacity(requests.len());
        for request in &requests {
            let own: Vec<Tensor> =
                if self.batched { take_rows(&mut outputs, request.rows) } else { outputs.clone() };
            cut.push(choose(own, &request.asked, &self.binding, self.batched));
        }
        let batch = Durations {
            queue: Duration::ZERO,
            input: collected - left,
            infer: computed - collected,
            output: clock::now() - computed,
        };
        // Before the first answer: whoever has one finds it in the statistics.
        self.metrics.computed(rows, &batch);
        for (request, outputs) in requests.into_iter().zip(cut) {
            let durations = Durations { queue: left.saturating_duration_since(request.arrival), ..batch };
            match outputs {
                Ok(outputs) => request.responder.succeed(request.rows, Answer { outputs, durations }),
                Err(error) => request.responder.fail(FailureReason::Other, error),
            }
        }
        Ok(())
    }
}
