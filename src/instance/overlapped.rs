//! Batches on a device that computes by itself, in three stages at once: one
//! batch is collected, the batch before it is computed, and the one before that
//! is answered.
//!
//! Each stage has a thread. A batch's memory moves with it and comes back when
//! the batch has landed, so that it can't be written while the device reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Instant;

use super::collect::collect;
use super::execute::{Cause, ComputeTimes, Context, Failed, RunningBatch};
use super::places::{BatchPlace, Places};
use super::request::QueuedRequest;
use cresset_backend::{BackendError, Flight, HostBatch, HostMemory, ModelInstance};
use cresset_clock as clock;
use cresset_scheduler::{Batch, Next, Queue, Ran, RunGuard};

/// A batch that the queue handed out.
struct Taken<'a> {
    guard: RunGuard<'a, QueuedRequest>,
    /// Before any part of it was given back.
    rows: u32,
}

/// A batch between collecting and launching.
struct Collected<'a> {
    running: RunningBatch,
    memory: HostBatch,
    place: BatchPlace<'a>,
    taken: Taken<'a>,
}

/// A batch between launching and answering.
struct Launched<'a> {
    running: RunningBatch,
    flight: Box<dyn Flight>,
    place: BatchPlace<'a>,
    at: Instant,
    taken: Taken<'a>,
}

/// What the stages have in common.
struct Pipeline<'a> {
    queue: &'a Queue<QueuedRequest>,
    context: &'a Context,
    places: &'a Places,
}

/// Runs batches until the queue is closed and everything is answered. The
/// calling thread launches; `idle` runs on it while nothing else is to do, and
/// returns whether it ran.
///
/// # Errors
/// The system has no more threads; then nothing was taken from the queue.
pub(super) fn run(
    instance: &mut dyn ModelInstance,
    queue: &Queue<QueuedRequest>,
    context: &Context,
    label: &str,
    idle: impl FnMut(&mut dyn ModelInstance) -> bool,
) -> std::io::Result<()> {
    let places = Places::default();
    let pipeline = Pipeline { queue, context, places: &places };
    let host_memory = instance.host_memory();
    std::thread::scope(|scope| {
        let (collected, to_launch) = channel();
        let (launched, to_answer) = channel();
        let named = |stage: &str| std::thread::Builder::new().name(format!("{label}/{stage}"));
        // The last stage first: if the first can't be started, the others end
        // with their channels.
        let pipeline = &pipeline;
        named("out").spawn_scoped(scope, move || pipeline.answer_all(&to_answer))?;
        named("in").spawn_scoped(scope, move || pipeline.collect_all(&collected, host_memory.as_ref()))?;
        pipeline.launch_all(instance, &to_launch, &launched, idle);
        drop(launched);
        Ok(())
    })
}

impl<'a> Pipeline<'a> {
    /// The first stage. It ends when the queue is closed and no batch can be
    /// given back to it any more.
    fn collect_all(&self, to: &Sender<Collected<'a>>, host_memory: Option<&Arc<dyn HostMemory>>) {
        loop {
            let (place, memory) = self.places.take();
            // Asked before the queue is: a failed batch is given back before it
            // counts as answered.
            let quiet = self.places.is_quiet();
            let Next::Batch(batch, guard) = self.queue.next(self.places) else {
                if quiet {
                    return;
                }
                self.places.wait_until_quiet();
                continue;
            };
            let taken = Taken { guard, rows: batch.rows };
            // A panic is a bug of the server, but no reason to stop serving:
            // the responders that it dropped have answered.
            let step = AssertUnwindSafe(|| self.collect(batch, taken, memory, place, host_memory));
            match catch_unwind(step) {
                Ok(Some(collected)) => {
                    if to.send(collected).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(_) => report_panic(),
            }
        }
    }

    fn collect(
        &self,
        batch: Batch<QueuedRequest>,
        taken: Taken<'a>,
        mut memory: HostBatch,
        mut place: BatchPlace<'a>,
        host_memory: Option<&Arc<dyn HostMemory>>,
    ) -> Option<Collected<'a>> {
        let left = clock::now();
        let mut parts = self.context.begin(batch).into_iter();
        let batch = parts.next();
        parts.for_each(|part| self.queue.give_back(part));
        let Some(batch) = batch else {
            place.unused(memory);
            return None;
        };
        let filled = collect(&mut memory, &batch.requests, self.context, host_memory);
        if let Err(error) = filled {
            place.unused(memory);
            self.retry(Failed { requests: batch.requests, rows: batch.rows, cause: Cause::Server(error) });
            return None;
        }
        place.hand_over(batch.rows, left, clock::now());
        Some(Collected { running: RunningBatch { batch, left }, memory, place, taken })
    }

    /// The second stage, on the instance's own thread.
    fn launch_all(
        &self,
        instance: &mut dyn ModelInstance,
        from: &Receiver<Collected<'a>>,
        to: &Sender<Launched<'a>>,
        mut idle: impl FnMut(&mut dyn ModelInstance) -> bool,
    ) {
        loop {
            let collected = match from.try_recv() {
                Ok(collected) => collected,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    if (self.queue.is_idle() || self.context.rows.is_due()) && idle(instance) {
                        continue;
                    }
                    match from.recv() {
                        Ok(collected) => collected,
                        Err(_) => return,
                    }
                }
            };
            let step = AssertUnwindSafe(|| self.launch(instance, collected));
            match catch_unwind(step) {
                Ok(Some(launched)) => {
                    if to.send(launched).is_err() {
                        return;
                    }
                }
                // The collecting stage may wait for this batch to be out of the
                // way.
                Ok(None) => self.queue.wake(),
                Err(_) => {
                    report_panic();
                    self.queue.wake();
                }
            }
        }
    }

    fn launch(&self, instance: &mut dyn ModelInstance, collected: Collected<'a>) -> Option<Launched<'a>> {
        let Collected { running, memory, mut place, taken } = collected;
        let at = clock::now();
        match instance.launch(memory) {
            Ok(flight) => {
                place.launched();
                Some(Launched { running, flight, place, at, taken })
            }
            Err(error) => {
                if let BackendError::OutOfMemory { .. } = error {
                    // The memory of earlier batches comes back first.
                    self.places.wait_until_idle();
                    instance.release_memory();
                }
                let Batch { requests, rows, reason } = running.batch;
                self.context.metrics.executed(rows, reason);
                self.retry(Failed { requests, rows, cause: Cause::Backend(error) });
                None
            }
        }
    }

    /// The third stage.
    fn answer_all(&self, from: &Receiver<Launched<'a>>) {
        let mut before: Option<Instant> = None;
        while let Ok(launched) = from.recv() {
            let step = AssertUnwindSafe(|| self.answer(launched, before));
            match catch_unwind(step) {
                Ok(landed) => before = Some(landed),
                Err(_) => {
                    report_panic();
                    self.queue.wake();
                }
            }
        }
    }

    /// Answers a batch. Returns when it landed.
    fn answer(&self, launched: Launched<'a>, before: Option<Instant>) -> Instant {
        let Launched { running, flight, mut place, at, taken } = launched;
        let (outputs, memory) = flight.land();
        let computed = clock::now();
        self.context.learn(&memory, &outputs, &running.batch.requests);
        // The device was busy with the batch before until that landed.
        let began = before.map_or(at, |before| before.max(at));
        place.land(memory, began, computed);
        // Only of a whole batch: a part's time says nothing of it.
        let whole = outputs.is_ok() && running.batch.rows == taken.rows;
        if whole {
            let took = computed.saturating_duration_since(began);
            let padded = self.context.padded_run(&running.batch, took);
            taken.guard.finish(Ran { took, padded });
        } else {
            drop(taken);
        }
        self.queue.wake();
        self.context.metrics.executed(running.batch.rows, running.batch.reason);
        let answered = match outputs {
            Ok(outputs) => self.context.answer(running, outputs, ComputeTimes { began, computed }),
            Err(error) => {
                let Batch { requests, rows, .. } = running.batch;
                Err(Failed { requests, rows, cause: Cause::Backend(error) })
            }
        };
        if let Err(failed) = answered {
            self.retry(failed);
        }
        drop(place);
        computed
    }

    /// Gives requests that run again back to the queue, from which all
    /// instances take.
    fn retry(&self, failed: Failed) {
        for batch in self.context.after(failed) {
            self.queue.give_back(batch);
        }
    }
}

fn report_panic() {
    tracing::error!("a batch ended in a panic; its requests were answered with an error");
}
