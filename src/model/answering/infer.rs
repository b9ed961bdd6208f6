//! A request's way through a version in service: it is checked, queued whole or
//! in parts, and waited for.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::check::{Checked, check_inputs, check_outputs};
use super::served::ServedModel;
use crate::context::RequestContext;
use crate::error::{Error, Result};
use crate::instance::{ModelAnswer, QueuedRequest, Responder, split};
use crate::metrics::FailureReason;
use cresset_clock as clock;
use cresset_protocol::{InferenceRequest, InferenceResponse, Tensor};
use cresset_scheduler::{Refused, RowSize, Submitted};

/// The most parts of a request: rows may be empty, so a small body can have
/// very many.
const MOST_PARTS: u32 = 1024;

impl ServedModel {
    /// Checks a request, queues it, and waits for its answer. In the server the
    /// engine alone calls this, in one place.
    ///
    /// Dropping the future cancels the request: it leaves the queue unrun.
    ///
    /// # Errors
    /// What is wrong with the request, that the queue is full, or what the
    /// model failed with.
    pub async fn infer(
        &self,
        context: RequestContext,
        request: InferenceRequest,
    ) -> Result<InferenceResponse> {
        let arrival = clock::now();
        let checked = check_outputs(&request.outputs, &self.config).and_then(|()| {
            check_inputs(request.inputs, request.parameters, &self.config, &self.binding, &self.batching)
        });
        let Checked { inputs, rows, bucket, size } = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.metrics.failed(FailureReason::Rejected, clock::now() - arrival);
                return Err(error);
            }
        };
        let most = match self.most_in_a_part(&inputs, rows, &size) {
            Ok(most) => most,
            Err(error) => {
                self.metrics.failed(FailureReason::Rejected, clock::now() - arrival);
                return Err(error);
            }
        };
        let (mut responder, answer) = Responder::new(context, Arc::clone(&self.metrics), arrival);
        if let Some(order) = &self.order {
            responder = responder.in_turn(order);
        }
        let (asked, schedule) = (request.outputs, request.schedule);
        let pending = Some(self.metrics.pending());
        let queued =
            QueuedRequest { inputs, asked, rows, bucket, size, arrival, schedule, responder, pending };
        let Submitted { deadline, wake } = match most {
            Some(most) => self.submit_in_parts(queued, most),
            None => self.submit(queued),
        };
        if let Some(wake) = wake {
            // Requests that other connections have sent at this moment are read
            // first and leave in the same batch. It takes one turn of the
            // runtime, no timer.
            tokio::task::yield_now().await;
            drop(wake);
        }
        let answer = self.wait(answer, deadline).await?;
        Ok(InferenceResponse {
            model_name: Arc::clone(&self.name),
            model_version: self.version(),
            id: request.id,
            outputs: answer.outputs,
        })
    }

    /// How many rows the parts of a request have, if it runs in parts.
    ///
    /// # Errors
    /// That it has too many rows for that, or may not be cut.
    fn most_in_a_part(&self, inputs: &[Tensor], rows: u32, size: &RowSize) -> Result<Option<u32>> {
        let Some(most) = self.batching.rows_of_parts(rows, self.config.max_batch_size, size) else {
            return Ok(None);
        };
        if !self.rows.shares_like(inputs) {
            let (model, most) = (&self.name, self.config.max_batch_size);
            return Err(Error::invalid(format!(
                "inference request batch-size must be <= {most} for '{model}', got {rows}: it isn't known that \
                 answers of such requests are those of their parts"
            )));
        }
        if rows.div_ceil(most) > MOST_PARTS {
            return Err(Error::invalid(format!(
                "the request for model '{}' has {rows} rows: at most {} are taken, in {MOST_PARTS} batches",
                self.name,
                u64::from(most) * u64::from(MOST_PARTS)
            )));
        }
        Ok(Some(most))
    }

    /// Waits for an answer. A request that is in the queue beyond `deadline` is
    /// answered then, by this very task: the instances may all be busy, and the
    /// runtime's timers cost no thread.
    async fn wait(
        &self,
        mut answer: oneshot::Receiver<Result<ModelAnswer>>,
        deadline: Option<Instant>,
    ) -> Result<ModelAnswer> {
        if let Some(deadline) = deadline {
            let in_time = tokio::time::timeout_at(deadline.into(), &mut answer).await;
            if let Ok(answer) = in_time {
                return answer.unwrap_or_else(|_| Err(dropped()));
            }
            // It may have left with a batch in the meantime: then that batch answers.
            self.queue.expire();
        }
        answer.await.unwrap_or_else(|_| Err(dropped()))
    }

    /// Queues a request in parts of at most so many rows.
    fn submit_in_parts(&self, request: QueuedRequest, most: u32) -> Submitted<'_, QueuedRequest> {
        let QueuedRequest { inputs, asked, rows, bucket, size, arrival, schedule, responder, mut pending } =
            request;
        let parts: Vec<u32> = (0..rows.div_ceil(most)).map(|part| most.min(rows - part * most)).collect();
        let inputs = split(inputs, &parts);
        let responders = responder.parts(rows, parts.len());
        // The instance is woken when all parts are queued.
        let mut all = Submitted { deadline: None, wake: None };
        let last = parts.len() - 1;
        for (index, ((rows, inputs), responder)) in parts.into_iter().zip(inputs).zip(responders).enumerate()
        {
            // A part that is refused ends the request.
            if responder.cancelled() {
                break;
            }
            let (asked, bucket) = (asked.clone(), bucket.clone());
            // The request counts as waiting until its last part leaves.
            let pending = if index == last { pending.take() } else { None };
            let part =
                QueuedRequest { inputs, asked, rows, bucket, size, arrival, schedule, responder, pending };
            let Submitted { deadline, wake } = self.submit(part);
            all.deadline = all.deadline.or(deadline);
            all.wake = all.wake.or(wake);
        }
        all
    }

    /// Queues a request; a refusal goes back through its responder.
    fn submit(&self, request: QueuedRequest) -> Submitted<'_, QueuedRequest> {
        let refused = Submitted { deadline: None, wake: None };
        let (request, error) = match self.queue.submit(request) {
            Ok(submitted) => return submitted,
            Err(Refused::Overload(request, overload)) => (request, self.overloaded(&overload)),
            Err(Refused::Closed(request)) => {
                if let Some(fault) = self.fault() {
                    request.responder.refuse(fault.error());
                    return refused;
                }
                (request, Error::unavailable(format!("model '{}' is being unloaded", self.name)))
            }
        };
        tracing::debug!(request = %request.responder.context().id, %error, "refused before it was queued");
        request.responder.refuse(error);
        refused
    }
}

fn dropped() -> Error {
    Error::internal("the request was dropped by a failure in the server")
}
