//! Batches on processors: each runs from start to end on the instance's thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::collect::collect;
use super::execute::{Cause, ComputeTimes, Context, Failed, RunningBatch};
use super::request::QueuedRequest;
use cresset_backend::{HostBatch, HostMemory, ModelInstance};
use cresset_clock as clock;
use cresset_scheduler::{Batch, PaddedRun, Ran};

/// Runs batches on one model instance, on its thread.
pub(super) struct Inline {
    pub(super) instance: Box<dyn ModelInstance>,
    pub(super) memory: Option<Arc<dyn HostMemory>>,
    pub(super) collected: HostBatch,
}

impl Inline {
    /// Runs a batch and answers each of its requests. Returns how it ran, if it
    /// ran as a whole.
    pub(super) fn run(&mut self, batch: Batch<QueuedRequest>, context: &Context) -> Option<Ran> {
        let began = clock::now();
        let mut whole = true;
        let mut padded = None;
        let mut left = VecDeque::from([batch]);
        while let Some(batch) = left.pop_front() {
            // Asked for each part: the one before may have ended the device.
            let mut parts = context.begin(batch).into_iter();
            let Some(first) = parts.next() else {
                whole = false;
                continue;
            };
            for part in parts.rev() {
                whole = false;
                left.push_front(part);
            }
            let failed = match self.attempt(first, context) {
                Ok(run) => {
                    padded = run;
                    continue;
                }
                Err(failed) => failed,
            };
            whole = false;
            if let Cause::Backend(cresset_backend::BackendError::OutOfMemory { .. }) = failed.cause {
                self.instance.release_memory();
            }
            for again in context.after(failed).into_iter().rev() {
                left.push_front(again);
            }
        }
        whole.then(|| Ran { took: clock::now().saturating_duration_since(began), padded })
    }

    fn attempt(
        &mut self,
        batch: Batch<QueuedRequest>,
        context: &Context,
    ) -> Result<Option<PaddedRun>, Failed> {
        let left = clock::now();
        let Batch { requests, rows, reason } = batch;
        let filled = collect(&mut self.collected, &requests, context, self.memory.as_ref());
        if let Err(error) = filled {
            return Err(Failed { requests, rows, cause: Cause::Server(error) });
        }
        let began = clock::now();
        let forward = self.instance.forward(&self.collected.inputs());
        let computed = clock::now();
        context.metrics.executed(rows, reason);
        context.learn(&self.collected, &forward, &requests);
        match forward {
            Ok(outputs) => {
                let batch = Batch { requests, rows, reason };
                let padded = context.padded_run(&batch, computed.saturating_duration_since(began));
                context
                    .answer(RunningBatch { batch, left }, outputs, ComputeTimes { began, computed })
                    .map(|()| padded)
            }
            Err(error) => Err(Failed { requests, rows, cause: Cause::Backend(error) }),
        }
    }
}
