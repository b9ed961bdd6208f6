//! A faster form of a model that is in service: made beside it, and put in its
//! place if its answers are equal.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::race::{Lap, race, warm};
use super::reference::Reference;
use crate::instance::{ModelSlot, QueuedRequest, WarmUpQueue};
use crate::model_config::{Binding, ModelConfig};
use crate::trial::TrialInput;
use crate::trial::compare::{Difference, differences, two_digits};
use cresset_backend::{Backend, BackendError, Device, LoadOptions, Model};
use cresset_clock as clock;
use cresset_scheduler::Queue;

/// The product's notion of equal answers: `max|a - b| <= 1e-5 max|b|`.
const EQUAL: f64 = 1e-5;

/// A smaller gain may be noise.
const FASTER: f64 = 0.97;

/// Files above this aren't tried: the memory of both forms might be too much,
/// and the operator didn't ask for it.
const LARGEST_FILE: u64 = 512 << 20;

/// The batches at which the forms are compared.
const SIZES: [u32; 3] = [1, 2, 4];

/// How long to wait for the old form's end, until its memory is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A version whose code could be rewritten for inference, because its settings
/// leave that open. Dropping it unmade leaves the version as it is.
pub struct Improvement {
    /// The version's name in the log.
    pub(in crate::model) label: String,
    pub(in crate::model) config: Arc<ModelConfig>,
    pub(in crate::model) binding: Arc<Binding>,
    /// The sizes of the warm-up runs.
    pub(in crate::model) sizes: Vec<Vec<TrialInput>>,
    /// The threads of an instance inside one operation.
    pub(in crate::model) intra_op_threads: usize,
    /// Gone if the version was unloaded meanwhile.
    pub(in crate::model) slot: Weak<ModelSlot>,
    pub(in crate::model) held: HeldWarmUp,
}

/// Warm-up runs that wait for the improvement, however that ends: dropping this
/// lets the instances begin with them.
pub(in crate::model) struct HeldWarmUp {
    warm_up: Arc<WarmUpQueue>,
    queue: Arc<Queue<QueuedRequest>>,
}

impl HeldWarmUp {
    /// Holds the runs back; `queue` is the one that the instances wait at.
    pub(in crate::model) fn new(warm_up: Arc<WarmUpQueue>, queue: Arc<Queue<QueuedRequest>>) -> Self {
        warm_up.defer();
        Self { warm_up, queue }
    }
}

impl Drop for HeldWarmUp {
    fn drop(&mut self) {
        self.warm_up.begin();
        self.queue.wake();
    }
}

/// Whether a version is to be tried in its other form: if it is frozen and on
/// processors, and the settings leave it open. They must not ask for a
/// precision, because its rounding would hide the difference.
pub(in crate::model) fn is_improvable(options: &LoadOptions, device: Device, file: &Path) -> bool {
    let LoadOptions { precision, optimize, .. } = options;
    device.is_host()
        && optimize.leaves_rewriting_open()
        && precision.weights.is_none()
        && precision.autocast.is_none()
        && std::fs::metadata(file).is_ok_and(|file| file.len() <= LARGEST_FILE)
}

impl Improvement {
    /// Makes the other form, runs both on the same inputs, and goes over to the
    /// other if its answers are equal and it is faster over all batch sizes
    /// that were tried. It takes a while, so it has a thread of its own. Then
    /// `backend` gives free memory back.
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
            Ok(gain) => {
                let old = Arc::downgrade(&base);
                drop(base);
                slot.replace(other);
                self.held.queue.forget_times();
                tracing::info!(model = self.label, "optimised for inference from now on: {gain}");
                drop(self.held);
                wait_for_end(&old);
            }
            Err(reason) => {
                tracing::debug!(model = self.label, "not optimised for inference: {reason}");
                drop((base, other));
            }
        }
        drop(slot);
        backend.release_memory();
    }

    /// The gain, or why the other form isn't taken.
    fn compare(&self, base: &dyn Model, other: &dyn Model) -> Result<String, String> {
        let failed = |error: BackendError| error.to_string();
        let reference = Reference::of(base, &self.config, &self.binding)?;
        let largest = match (self.config.max_batch_size, &self.config.dynamic_batching) {
            (0, _) => None,
            (_, None) => Some(1),
            (most, Some(_)) => Some(most),
        };
        let rows = SIZES.into_iter().filter(|rows| *rows <= largest.unwrap_or(1));
        let sizes: Vec<_> = rows.map(|rows| reference.inputs_of(largest.map(|_| rows))).collect();
        let threads = self.intra_op_threads;
        let laps = race(base, other, &sizes, threads).map_err(failed)?;
        let gain = judge(&laps, &self.binding)?;
        // The first run of a size costs more, so it must not be a request's.
        warm(other, &self.sizes, threads).map_err(failed)?;
        Ok(gain)
    }
}

/// What the other form gains, or why it isn't taken.
fn judge(laps: &[Lap], binding: &Binding) -> Result<String, String> {
    let mut apart = 0.0_f64;
    let (mut times, mut shares) = (Vec::new(), Vec::new());
    for lap in laps {
        let differences = differences(&lap.other.outputs, &lap.base.outputs, binding)?;
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
    if mean(&shares) > FASTER {
        return Err(format!("it isn't faster: {}", times.join(", ")));
    }
    Ok(gain)
}

/// The geometric mean.
fn mean(shares: &[f64]) -> f64 {
    let product: f64 = shares.iter().product();
    product.powf(1.0 / shares.len().max(1) as f64)
}

/// Waits until the last instance has gone over, but not for an instance that a
/// request keeps busy for long.
fn wait_for_end(old: &Weak<dyn Model>) {
    let until = clock::now() + PATIENCE;
    while old.strong_count() > 0 && clock::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests;
