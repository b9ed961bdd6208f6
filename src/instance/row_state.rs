//! Whether requests of several callers may share a batch: only if it is proved
//! that outputs are rows of inputs. If that isn't known at load, it is found on
//! the first requests, which run alone until then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::request::QueuedRequest;
use super::variants::{Variant, Variants};
use crate::model_config::Binding;
use crate::trial::TrialInput;
use crate::trial::rows::{Alone, Judge, RowRule, wanted};
use crate::trial::run::run_here;
use cresset_backend::{BackendError, BatchOutput, HostBatch, ModelInstance};
use cresset_protocol::Tensor;
use cresset_scheduler::Queue;

/// At most so many requests of one shape are kept until their answers differ;
/// then the oldest goes.
const MOST_OF_A_SHAPE: usize = 12;

/// So many shapes are kept at a time.
const MOST_SHAPES: usize = 16;

/// And so many bytes of inputs and outputs.
const MOST_BYTES: usize = 256 << 20;

/// What is known of a version's outputs, shared by its instances.
#[derive(Debug)]
pub struct RowState {
    label: String,
    binding: Arc<Binding>,
    /// The queue that its requests wait in.
    queue: Arc<Queue<QueuedRequest>>,
    /// The most rows of a batch.
    most: u32,
    rounding: f64,
    /// Whether [`Sharing`] is `Rows`: asked for each batch.
    rows: AtomicBool,
    /// Whether enough requests have run alone for a proof.
    due: AtomicBool,
    stage: Mutex<Sharing>,
    /// What is known of each variant, if requests vary.
    variants: Variants,
    /// Requests that ran alone, for a proof.
    kept: Mutex<Kept>,
    /// Requests that ran alone at load, until batches of all sizes were held to
    /// them.
    requests: Mutex<Arc<Vec<Alone>>>,
}

#[derive(Debug)]
enum Sharing {
    /// Requests share batches.
    Rows,
    /// They don't, for this reason.
    Apart(String),
    /// They don't yet, for this reason; requests that run alone are kept.
    Open(String),
}

impl RowState {
    /// What was `found` at load, of batches of at most `most` rows; `rounding`
    /// is [`Judge`]'s.
    #[must_use]
    pub fn new(
        label: String,
        binding: Arc<Binding>,
        queue: Arc<Queue<QueuedRequest>>,
        most: u32,
        rounding: f64,
        found: RowRule,
    ) -> Self {
        let (rows, stage) = match found {
            RowRule::ByRow => (true, Sharing::Rows),
            RowRule::Whole(reason) => (false, Sharing::Apart(reason)),
            RowRule::Unknown(reason) => (false, Sharing::Open(reason)),
        };
        let (rows, due) = (AtomicBool::new(rows), AtomicBool::new(false));
        if !rows.load(Ordering::Relaxed) {
            queue.share_batches(None);
        }
        let (stage, requests, kept) = (Mutex::new(stage), Mutex::default(), Mutex::default());
        let variants = Variants::new(Arc::clone(&binding));
        Self { label, binding, queue, most, rounding, rows, due, stage, variants, kept, requests }
    }

    /// The same with requests that ran alone, by which that was found.
    #[must_use]
    pub fn with_requests(self, requests: Vec<Alone>) -> Self {
        if let (true, Some(first)) = (self.shares(), requests.first()) {
            self.variants.found(self.variants.of_trial(&first.inputs), true);
        }
        Self { requests: Mutex::new(Arc::new(requests)), ..self }
    }

    /// Runs a batch of as many rows as `inputs` have, of requests whose answers
    /// are known, in place of `inputs`. `None` if no such request has their shape.
    pub(super) fn run_held(
        &self,
        instance: &mut dyn ModelInstance,
        inputs: &[TrialInput],
    ) -> Option<Result<(), BackendError>> {
        let requests = Arc::clone(&self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let shapes = |inputs: &[TrialInput]| inputs.iter().map(shape_of).collect::<Vec<_>>();
        let first = requests.first().filter(|first| shapes(&first.inputs) == shapes(inputs))?;
        if !self.shares() {
            return None;
        }
        let rows_of = |inputs: &[TrialInput]| inputs.first().and_then(|input| input.shape.first()).copied();
        let count = rows_of(inputs)? / rows_of(&first.inputs)?.max(1);
        let mut run = |inputs: &[TrialInput]| run_here(instance, inputs);
        match self.judge().hold(&requests, usize::try_from(count).unwrap_or(1), &mut run) {
            Ok(RowRule::Whole(reason)) => {
                self.refute(&reason);
                Some(Ok(()))
            }
            Ok(RowRule::ByRow | RowRule::Unknown(_)) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Drops the requests that batches were compared with: all sizes have run.
    pub fn forget_requests(&self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// Whether requests of several callers may share a batch.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.rows.load(Ordering::Acquire)
    }

    /// The same of requests that differ in rows only.
    pub(super) fn shares_of(&self, requests: &[QueuedRequest]) -> bool {
        self.shares() && requests.first().is_none_or(|first| self.shares_like(&first.inputs))
    }

    /// Whether a request with these inputs, as they were checked, may share a
    /// batch if others may.
    #[must_use]
    pub fn shares_like(&self, inputs: &[Tensor]) -> bool {
        self.variants.are_rows(&self.variants.of(inputs)) == Some(true)
    }

    /// Why requests don't share batches, if they don't.
    #[must_use]
    pub fn apart(&self) -> Option<String> {
        match &*self.lock() {
            Sharing::Rows => None,
            Sharing::Apart(reason) => Some(format!("each request runs by itself: {reason}")),
            Sharing::Open(reason) => Some(format!(
                "each request runs by itself until it is proved on requests that answers are theirs alone: {reason}"
            )),
        }
    }

    /// The outputs of these requests aren't rows after all.
    pub(super) fn refute_of(&self, requests: &[QueuedRequest], reason: &str) {
        let variant = requests.first().map(|first| self.variants.of(&first.inputs)).unwrap_or_default();
        self.refute_variant(variant, reason);
    }

    fn refute_variant(&self, variant: Variant, reason: &str) {
        if variant.is_empty() {
            return self.refute(reason);
        }
        if self.variants.found(variant, false) {
            tracing::warn!(
                model = self.label,
                "requests with the same values and the same inputs left out run by themselves from now on: {reason}"
            );
        }
    }

    /// The outputs of a batch aren't rows after all: from now on each request
    /// runs by itself.
    pub(super) fn refute(&self, reason: &str) {
        let mut stage = self.lock();
        if matches!(*stage, Sharing::Apart(_)) {
            return;
        }
        tracing::warn!(model = self.label, "each request runs by itself from now on: {reason}");
        self.rows.store(false, Ordering::Release);
        self.due.store(false, Ordering::Release);
        *stage = Sharing::Apart(reason.to_owned());
        self.queue.share_batches(None);
    }

    /// Keeps a request that ran alone, with its outputs, until there are enough
    /// for a proof, if it isn't known yet whether outputs are rows. `of` are
    /// its own inputs, `inputs` what ran.
    pub(super) fn keep(&self, of: &[Tensor], inputs: &HostBatch, outputs: &[BatchOutput]) {
        if self.due.load(Ordering::Acquire) {
            return;
        }
        let variant = self.variants.of(of);
        // If nothing varies, the stage alone tells.
        let known =
            if variant.is_empty() { self.shares() } else { self.variants.are_rows(&variant).is_some() };
        if known || matches!(*self.lock(), Sharing::Apart(_)) {
            return;
        }
        let alone = Alone { inputs: copied(inputs), outputs: outputs.to_vec() };
        let judge = self.judge();
        let rows = alone.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1);
        if let Err(reason) = judge.has_rows(&alone.outputs, rows) {
            return self.refute_variant(variant, &reason);
        }
        if self.lock_kept().add(variant, alone, &judge) {
            self.due.store(true, Ordering::Release);
        }
    }

    /// Whether [`RowState::prove`] has something to do.
    #[must_use]
    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// Runs the kept requests together, once there are enough of them. If that shows
    /// that outputs are rows, requests share batches from now on.
    /// Returns whether anything ran.
    pub(super) fn prove(&self, instance: &mut dyn ModelInstance) -> bool {
        if !self.due.swap(false, Ordering::AcqRel) {
            return false;
        }
        if matches!(*self.lock(), Sharing::Apart(_)) {
            return false;
        }
        let (variant, requests) = self.lock_kept().take_ready();
        let mut run = |inputs: &[TrialInput]| run_here(instance, inputs);
        match self.judge().judge(&requests, &mut run) {
            Ok(RowRule::ByRow) => self.proved(variant, requests.len()),
            Ok(RowRule::Whole(reason)) => self.refute_variant(variant, &reason),
            Ok(RowRule::Unknown(reason)) => {
                tracing::debug!(model = self.label, reason, "nothing is proved yet")
            }
            Err(BackendError::Device { message, .. }) => tracing::error!(model = self.label, "{message}"),
            Err(error) => tracing::debug!(model = self.label, %error, "nothing is proved yet"),
        }
        true
    }

    /// Requests like the ones that were run share batches from now on.
    fn proved(&self, variant: Variant, requests: usize) {
        self.variants.found(variant, true);
        let mut stage = self.lock();
        if !matches!(*stage, Sharing::Open(_)) {
            return;
        }
        *stage = Sharing::Rows;
        self.rows.store(true, Ordering::Release);
        drop(stage);
        tracing::info!(
            model = self.label,
            "requests share batches from now on: the first {requests} had the same answers together as alone"
        );
        self.queue.share_batches(Some(self.most));
    }

    fn judge(&self) -> Judge<'_> {
        Judge { binding: &self.binding, most: self.most, rounding: self.rounding }
    }

    fn lock_kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consistent between any two statements under the lock.
    fn lock(&self) -> MutexGuard<'_, Sharing> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests that ran alone, by the shape that they have in common.
#[derive(Debug, Default)]
struct Kept {
    by_shape: HashMap<Alike, Vec<Alone>>,
    bytes: usize,
    /// Of which there are enough.
    ready: Option<Alike>,
}

/// What requests have in common that may run together.
type Alike = (Variant, Vec<InputShape>);

impl Kept {
    /// Whether there are enough of one shape now.
    fn add(&mut self, variant: Variant, alone: Alone, judge: &Judge<'_>) -> bool {
        let bytes = size(&alone);
        if self.bytes.saturating_add(bytes) > MOST_BYTES || self.by_shape.len() >= MOST_SHAPES {
            (self.by_shape, self.bytes) = (HashMap::new(), 0);
        }
        let key: Alike = (variant, alone.inputs.iter().map(shape_of).collect());
        let wanted = wanted(&alone, judge.most);
        let of_shape = self.by_shape.entry(key.clone()).or_default();
        self.bytes += bytes;
        of_shape.push(alone);
        if of_shape.len() > MOST_OF_A_SHAPE {
            self.bytes -= size(&of_shape.remove(0));
        }
        let enough = of_shape.len() >= wanted && judge.tells_apart(of_shape.as_slice());
        if enough {
            self.ready = Some(key);
        }
        enough
    }

    /// The requests of which there are enough, the latest first: their answers
    /// differ.
    fn take_ready(&mut self) -> (Variant, Vec<Alone>) {
        let key = self.ready.take().unwrap_or_default();
        let ready = self.by_shape.remove(&key).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(ready.iter().map(size).sum());
        (key.0, ready.into_iter().rev().collect())
    }
}

/// What must be equal for requests to run together: an input's name, its
/// datatype and its dimensions behind the batch.
type InputShape = (String, i64, Vec<i64>);

fn shape_of(input: &TrialInput) -> InputShape {
    (input.name.clone(), input.datatype as i64, input.shape.iter().skip(1).copied().collect())
}

fn size(alone: &Alone) -> usize {
    let inputs: usize = alone.inputs.iter().map(|input| input.data.as_ref().map_or(0, Bytes::len)).sum();
    inputs + alone.outputs.iter().map(|output| output.data.len()).sum::<usize>()
}

fn copied(inputs: &HostBatch) -> Vec<TrialInput> {
    let copy = |input: cresset_backend::BatchInput<'_>| TrialInput {
        name: input.name.to_owned(),
        datatype: input.datatype,
        shape: input.shape.to_vec(),
        data: Some(Bytes::copy_from_slice(input.data)),
    };
    inputs.inputs().into_iter().map(copy).collect()
}
