//! A faster form of a model that is in service: made beside it, and put in its
//! place where its answers are equal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::by_size::BySize;
use super::race::{Lap, race, warm};
use super::trial::Trial;
use crate::instance::{Later, ModelSlot, QueuedRequest};
use crate::model_config::{Binding, ModelConfig};
use crate::scheduler::Queue;
use crate::trial::TrialInput;
use crate::trial::compare::{Difference, differences, two_digits};
use cresset_backend::{Backend, BackendError, Device, Model, Preparation};
use cresset_clock as clock;

/// The product's notion of equal answers: `max|a - b| <= 1e-5 max|b|`.
const EQUAL: f64 = 1e-5;

/// Less of a gain may be noise.
const FASTER: f64 = 0.97;

/// Files above this aren't tried: the memory of both forms might be too much,
/// and nobody asked.
const LARGEST_FILE: u64 = 512 << 20;

/// Files up to this may stay in memory in both forms, where each is the faster
/// at some sizes.
const LARGEST_IN_BOTH: u64 = 64 << 20;

/// The batches at which the forms are compared.
const SIZES: [u32; 3] = [1, 2, 4];

/// How long the old form is waited for, until its memory is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A version whose code could be rewritten for inference, because its settings
/// leave that open. Dropping it unmade leaves the version as it is.
pub struct Improvement {
    pub(super) label: String,
    pub(super) config: Arc<ModelConfig>,
    pub(super) binding: Arc<Binding>,
    /// The sizes that are warmed on the server's own account.
    pub(super) sizes: Vec<Vec<TrialInput>>,
    /// Of the model's file, in bytes.
    pub(super) file_size: u64,
    /// That its instances run it with.
    pub(super) intra_op_threads: usize,
    /// Gone where the version was unloaded meanwhile.
    pub(super) slot: Weak<ModelSlot>,
    pub(super) begins: Begins,
}

/// Lets the instances begin with what was deferred, however this ends.
pub(super) struct Begins {
    pub(super) later: Arc<Later>,
    pub(super) queue: Arc<Queue<QueuedRequest>>,
}

impl Drop for Begins {
    fn drop(&mut self) {
        self.later.begin();
        self.queue.wake();
    }
}

/// Whether a version is to be tried: on processors alone, as it was frozen, and
/// nowhere where the settings say anything about it or about a precision, whose
/// rounding would hide the difference.
pub(super) fn is_open(preparation: &Preparation, device: Device, file: &std::path::Path) -> bool {
    let Preparation { precision, optimize, .. } = preparation;
    device.is_host()
        && optimize.leaves_rewriting_open()
        && precision.weights.is_none()
        && precision.autocast.is_none()
        && file_size(file).is_some_and(|size| size <= LARGEST_FILE)
}

/// In bytes; `None` where that can't be told.
pub(super) fn file_size(file: &std::path::Path) -> Option<u64> {
    std::fs::metadata(file).ok().map(|file| file.len())
}

/// Where the other form takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// At every size.
    Everywhere(String),
    /// At so many rows and more; below, the one before stays.
    From(u32, String),
}

impl Improvement {
    /// Makes the other form, runs both on the same inputs, and goes over to it
    /// where it is equal and faster: at all batch sizes, or at the larger ones. To be called on a thread that nobody waits
    /// for. `backend` gets the memory back that is then free.
    pub fn make(self, backend: &dyn Backend) {
        let Some(slot) = self.slot.upgrade() else { return };
        let (base, _) = slot.current();
        let other = match base.rewrite() {
            Ok(other) => other,
            Err(reason) => {
                tracing::debug!(model = self.label, %reason, "it can't be optimised for inference");
                return;
            }
        };
        match self.compare(base.as_ref(), other.as_ref()) {
            Ok(Verdict::Everywhere(gain)) => {
                let old = Arc::downgrade(&base);
                drop(base);
                slot.replace(other);
                self.begins.queue.forget_times();
                tracing::info!(model = self.label, "optimised for inference from now on: {gain}");
                drop(self.begins);
                wait_for_end(&old);
            }
            Ok(Verdict::From(rows, gain)) => {
                slot.replace(Arc::new(BySize { few: base, many: other, from: rows }));
                self.begins.queue.forget_times();
                let label = &self.label;
                tracing::info!(
                    model = label,
                    "batches of {rows} and more are optimised for inference from now on: {gain}"
                );
                drop(self.begins);
            }
            Err(reason) => {
                tracing::debug!(model = self.label, "not optimised for inference: {reason}");
                drop((base, other));
            }
        }
        drop(slot);
        backend.release_memory();
    }

    /// What is gained, or why the other form isn't to be taken.
    fn compare(&self, base: &dyn Model, other: &dyn Model) -> Result<Verdict, String> {
        let failed = |error: BackendError| error.to_string();
        let trial = Trial::of(base, &self.config, &self.binding)?;
        let largest = match (self.config.max_batch_size, &self.config.dynamic_batching) {
            (0, _) => None,
            (_, None) => Some(1),
            (most, Some(_)) => Some(most),
        };
        let rows: Vec<u32> = SIZES.into_iter().filter(|rows| *rows <= largest.unwrap_or(1)).collect();
        let sizes: Vec<_> = rows.iter().map(|rows| trial.inputs_of(largest.map(|_| *rows))).collect();
        let threads = self.intra_op_threads;
        let time = if threads > 1 { clock::monotonic } else { clock::thread_time };
        let laps = race(base, other, &sizes, threads, time).map_err(failed)?;
        let laps: Vec<(u32, Lap)> = rows.into_iter().zip(laps).collect();
        let verdict = judge(&laps, &self.binding, self.file_size <= LARGEST_IN_BOTH)?;
        // What is new to it shouldn't be paid by requests.
        warm(other, &self.sizes, threads, time).map_err(failed)?;
        Ok(verdict)
    }
}

/// Where the other form is taken and what is gained, or why it isn't worth it.
/// `both` tells whether both may stay.
fn judge(laps: &[(u32, Lap)], binding: &Binding, both: bool) -> Result<Verdict, String> {
    let mut apart = 0.0_f64;
    let (mut times, mut shares) = (Vec::new(), Vec::new());
    for (_, lap) in laps {
        let differences = differences(&lap.other.answers, &lap.base.answers, binding)?;
        apart = differences.iter().map(|one: &Difference| one.relative).fold(apart, f64::max);
        let (before, after) = (lap.base.took.as_secs_f64(), lap.other.took.as_secs_f64());
        shares.push(if before > 0.0 { after / before } else { 1.0 });
        times.push(format!("{} ms in place of {}", two_digits(after * 1e3), two_digits(before * 1e3)));
    }
    if apart > EQUAL || apart.is_nan() {
        return Err(format!(
            "answers differ by {} of the largest, at most {EQUAL:e} was expected",
            two_digits(apart)
        ));
    }
    let gain =
        format!("{}; answers differ by at most {} of the largest", times.join(", "), two_digits(apart));
    if both && let Some(at) = parting(&shares) {
        return Ok(Verdict::From(laps[at].0, gain));
    }
    if mean(&shares) > FASTER {
        return Err(format!("it isn't faster: {}", times.join(", ")));
    }
    Ok(Verdict::Everywhere(gain))
}

/// The first size from which on the other form is clearly the faster one, where
/// it isn't at all before. `shares` are its times over those of the base, by
/// size.
fn parting(shares: &[f64]) -> Option<usize> {
    let faster = |at: &usize| shares[*at] <= FASTER && mean(&shares[*at..]) <= FASTER;
    (0..shares.len()).find(faster).filter(|at| *at > 0)
}

/// Of ratios.
fn mean(shares: &[f64]) -> f64 {
    let product: f64 = shares.iter().product();
    product.powf(1.0 / shares.len().max(1) as f64)
}

/// Until the last instance has gone over; one that a request keeps busy may
/// take its time.
fn wait_for_end(old: &Weak<dyn Model>) {
    let until = clock::now() + PATIENCE;
    while old.strong_count() > 0 && clock::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests;
