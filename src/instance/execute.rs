//! The end of a batch: its requests are answered, or run again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limit::RowLimit;
use super::padding::Padding;
use super::request::{ModelAnswer, QueuedRequest};
use super::respond::{OutputLayout, Unfit, choose, name_outputs, take_rows};
use super::row_state::RowState;
use crate::device_health::{DeviceHealth, Fault};
use crate::error::Error;
use crate::metrics::{Durations, FailureReason, ModelMetrics};
use crate::model_config::Binding;
use cresset_backend::{BackendError, BatchOutput, Device, HostBatch};
use cresset_clock as clock;
use cresset_protocol::Tensor;
use cresset_scheduler::{Batch, CloseReason, PaddedRun};

/// What all batches of an instance have in common.
pub(super) struct Context {
    pub(super) device: Device,
    pub(super) binding: Arc<Binding>,
    pub(super) metrics: Arc<ModelMetrics>,
    /// Whether dimension 0 is a batch.
    pub(super) batched: bool,
    /// Whether requests of several callers may share a batch.
    pub(super) rows: Arc<RowState>,
    /// How requests of different lengths run together, if they do.
    pub(super) padding: Option<Arc<Padding>>,
    /// Whether a failed batch may be run again in parts: not if the model keeps
    /// state.
    pub(super) repeatable: bool,
    pub(super) health: DeviceHealth,
    pub(super) limit: Mutex<RowLimit>,
}

/// A batch that was taken from the queue.
pub(super) struct RunningBatch {
    pub(super) batch: Batch<QueuedRequest>,
    /// When it was taken.
    pub(super) left: Instant,
}

/// What a batch gave.
pub(super) type Outputs = Result<Vec<BatchOutput>, BackendError>;

/// When the stages of a batch ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct ComputeTimes {
    /// Its computing began.
    pub(super) began: Instant,
    /// Its computing ended.
    pub(super) computed: Instant,
}

/// A batch that has no answers.
pub(super) struct Failed {
    pub(super) requests: Vec<QueuedRequest>,
    pub(super) rows: u32,
    pub(super) cause: Cause,
}

/// Why.
pub(super) enum Cause {
    /// The model or its device.
    Backend(BackendError),
    /// A fault of the server, or outputs that aren't as declared.
    Server(Error),
}

impl Context {
    /// Begins with a batch: its requests no longer count as waiting. Returns
    /// the parts that the device has memory for. If the device has failed, the
    /// requests are answered with that error, and there are no parts.
    pub(super) fn begin(&self, mut batch: Batch<QueuedRequest>) -> Vec<Batch<QueuedRequest>> {
        batch.requests.iter_mut().for_each(|request| request.pending = None);
        if let Some(fault) = self.health.fault(self.device) {
            fail(batch.requests, &fault.error());
            return Vec::new();
        }
        if batch.requests.len() > 1 && !self.rows.shares_of(&batch.requests) {
            // The batch was formed before these requests were known not to
            // share one.
            let parts = vec![1; batch.requests.len()];
            return cut(batch.requests, &parts, CloseReason::Single);
        }
        let parts = self.limit().parts(batch.requests.iter().map(|request| request.rows));
        match parts.len() {
            0 | 1 => vec![batch],
            _ => cut(batch.requests, &parts, CloseReason::Halved),
        }
    }

    /// What the scheduler learns from a batch whose requests were padded.
    pub(super) fn padded_run(&self, batch: &Batch<QueuedRequest>, computed: Duration) -> Option<PaddedRun> {
        let length = self.padding.as_deref()?.length(&batch.requests);
        Some(PaddedRun { size: u64::from(batch.rows) * u64::from(length), computed })
    }

    /// Answers each request of a batch with its part of the outputs.
    pub(super) fn answer(
        &self,
        running: RunningBatch,
        outputs: Vec<BatchOutput>,
        times: ComputeTimes,
    ) -> Result<(), Failed> {
        let RunningBatch { batch: Batch { requests, rows, .. }, left } = running;
        let mut outputs = match self.named(&outputs, rows, &requests) {
            Ok(outputs) => outputs,
            Err(error) => return Err(Failed { requests, rows, cause: Cause::Server(error.into()) }),
        };
        // A request that runs alone gets all of the outputs.
        let shared = requests.len() > 1;
        self.limit().passed();
        let padding = self.padding.as_deref().map(|padding| (padding, padding.length(&requests)));
        let mut cut = Vec::with_capacity(requests.len());
        for request in &requests {
            let own: Vec<Tensor> =
                if shared { take_rows(&mut outputs, request.rows) } else { std::mem::take(&mut outputs) };
            let own = match padding {
                Some((padding, length)) => padding.cut_back(own, request.size.length, length),
                None => Ok(own),
            };
            cut.push(own.and_then(|own| choose(own, &request.asked, &self.binding, self.batched)));
        }
        let batch = Durations {
            queue: Duration::ZERO,
            input: times.began.saturating_duration_since(left),
            infer: times.computed.saturating_duration_since(times.began),
            output: clock::now().saturating_duration_since(times.computed),
        };
        // Before the first answer: a client that has its answer finds it counted
        // in the statistics.
        self.metrics.computed(rows, &batch);
        for (request, outputs) in requests.into_iter().zip(cut) {
            let durations = Durations { queue: left.saturating_duration_since(request.arrival), ..batch };
            match outputs {
                Ok(outputs) => request.responder.succeed(request.rows, ModelAnswer { outputs, durations }),
                Err(error) => request.responder.fail(FailureReason::Other, error),
            }
        }
        Ok(())
    }

    /// The outputs of a batch, as declared. If they aren't rows, though that
    /// was proved, this is noted before any request is answered; a request that
    /// ran alone is answered all the same.
    fn named(
        &self,
        outputs: &[BatchOutput],
        rows: u32,
        requests: &[QueuedRequest],
    ) -> Result<Vec<Tensor>, Unfit> {
        if !self.batched {
            return name_outputs(outputs, &self.binding, OutputLayout::Whole);
        }
        let shares = self.rows.shares_of(requests);
        // Padding is cut off rows, and off nothing else.
        let alone = requests.len() == 1 && self.padding.is_none();
        if alone && !shares {
            return name_outputs(outputs, &self.binding, OutputLayout::Alone(rows));
        }
        if requests.len() > 1 && !shares {
            return Err(Unfit::NotRows(
                "the batch left before its answers were found to be no rows".to_owned(),
            ));
        }
        let named = name_outputs(outputs, &self.binding, OutputLayout::Rows(rows));
        let Err(Unfit::NotRows(reason)) = &named else { return named };
        self.rows.refute_of(requests, reason);
        if alone { name_outputs(outputs, &self.binding, OutputLayout::Alone(rows)) } else { named }
    }

    /// Keeps the outputs of a request that ran alone, if they may help to prove
    /// that outputs are rows.
    pub(super) fn learn(&self, inputs: &HostBatch, outputs: &Outputs, requests: &[QueuedRequest]) {
        if let ([only], Ok(outputs)) = (requests, outputs)
            && self.batched
        {
            self.rows.keep(&only.inputs, inputs, outputs);
        }
    }

    /// The parts of a failed batch that run again; all other requests are
    /// answered with the error.
    pub(super) fn after(&self, failed: Failed) -> Vec<Batch<QueuedRequest>> {
        let Failed { requests, rows, cause } = failed;
        let several = requests.len() > 1 && self.repeatable;
        // A fault of the server, or of the outputs, is mostly that of every request.
        let halves = matches!(cause, Cause::Backend(_));
        let error = match cause {
            Cause::Backend(BackendError::Device { fault, message, .. }) if fault.poisons() => {
                let fault = Fault { device: self.device, fault, message };
                let error = fault.error();
                self.health.failed(fault);
                fail(requests, &error);
                return Vec::new();
            }
            // Not one of the requests can run, not even alone.
            Cause::Backend(error @ BackendError::Gone { .. }) => {
                tracing::warn!(%error, detail = error.detail(), "what ran the model is gone");
                fail(requests, &error.into());
                return Vec::new();
            }
            Cause::Backend(BackendError::OutOfMemory { message, .. }) if several => {
                tracing::warn!(rows, "{message}: the batch runs in two halves");
                self.limit().failed(rows);
                let parts = in_halves(requests.len());
                return cut(requests, &parts, CloseReason::Halved);
            }
            Cause::Backend(error) => {
                if let (BackendError::OutOfMemory { .. }, 1) = (&error, requests.len()) {
                    self.limit().failed_alone();
                }
                // A client can make a model fail as often as it likes: the whole
                // text is logged only at the level `debug`.
                let ids = ids(&requests);
                tracing::debug!(requests = %ids, %error, detail = error.detail(), "the model failed");
                error.into()
            }
            Cause::Server(error) => error,
        };
        if several {
            // One bad request must not fail its neighbours. Halves find it among n in about
            // twice log2(n) runs.
            let parts = if halves { in_halves(requests.len()).to_vec() } else { vec![1; requests.len()] };
            tracing::debug!(requests = %ids(&requests), ?parts, "a batch failed; its parts run again");
            return cut(requests, &parts, CloseReason::Retry);
        }
        fail(requests, &error);
        Vec::new()
    }

    fn limit(&self) -> MutexGuard<'_, RowLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sizes of the halves of several requests.
fn in_halves(requests: usize) -> [usize; 2] {
    [requests.div_ceil(2), requests / 2]
}

/// Cuts requests into batches of these sizes, in order.
fn cut(requests: Vec<QueuedRequest>, parts: &[usize], reason: CloseReason) -> Vec<Batch<QueuedRequest>> {
    let mut requests = requests.into_iter();
    let part = |count: &usize| {
        let requests: Vec<QueuedRequest> = requests.by_ref().take(*count).collect();
        let rows = requests.iter().map(|request| request.rows).sum();
        Batch { requests, rows, reason }
    };
    parts.iter().map(part).collect()
}

/// The requests' names, for a line of the log.
fn ids(requests: &[QueuedRequest]) -> impl fmt::Display {
    fmt::from_fn(|f| {
        for (index, request) in requests.iter().enumerate() {
            let behind = if index == 0 { "" } else { " " };
            write!(f, "{behind}{}", request.responder.context().id)?;
        }
        Ok(())
    })
}

fn fail(requests: Vec<QueuedRequest>, error: &Error) {
    for request in requests {
        request.responder.fail(FailureReason::Backend, error.clone());
    }
}
