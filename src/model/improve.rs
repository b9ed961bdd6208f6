//! A faster form of a model that is in service: made beside it, and put in its
//! place where its answers are equal.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::race::{Lap, race, warm};
use super::trial::{Difference, Trial, differences, two_digits};
use crate::backend::{Backend, BackendError, Device, Model, Preparation};
use crate::clock;
use crate::instance::{Later, ModelSlot, QueuedRequest, WarmUpInput};
use crate::model_config::{Binding, ModelConfig};
use crate::scheduler::Queue;

/// The product's notion of equal answers: `max|a - b| <= 1e-5 max|b|`.
const EQUAL: f64 = 1e-5;

/// Less of a gain may be noise.
const FASTER: f64 = 0.97;

/// Files above this aren't tried: the memory of both forms might be too much,
/// and nobody asked.
const LARGEST_FILE: u64 = 512 << 20;

/// How large a batch is compared beside a single row.
const BATCH: u32 = 4;

/// How long the old form is waited for, until its memory is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A version whose code could be rewritten for inference, because its settings
/// leave that open. Dropping it unmade leaves the version as it is.
pub struct Improvement {
    pub(super) label: String,
    pub(super) config: Arc<ModelConfig>,
    pub(super) binding: Arc<Binding>,
    /// The sizes that are warmed on the server's own account.
    pub(super) sizes: Vec<Vec<WarmUpInput>>,
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
    device == Device::Cpu
        && optimize.for_inference.is_none()
        && optimize.freeze != Some(false)
        && precision.weights.is_none()
        && precision.autocast.is_none()
        && std::fs::metadata(file).is_ok_and(|file| file.len() <= LARGEST_FILE)
}

impl Improvement {
    /// Makes the other form, runs both on the same inputs, and goes over to it
    /// where it is equal and faster. To be called on a thread that nobody waits
    /// for. `backend` gets the memory back that is then free.
    pub fn make(self, backend: &dyn Backend) {
        let Some(slot) = self.slot.upgrade() else { return };
        let (base, _) = slot.current();
        let other = match base.for_inference() {
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
                self.begins.queue.forget_times();
                tracing::info!(model = self.label, "optimised for inference from now on: {gain}");
                drop(self.begins);
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

    /// What is gained, or why the other form isn't to be taken.
    fn compare(&self, base: &dyn Model, other: &dyn Model) -> Result<String, String> {
        let failed = |error: BackendError| error.to_string();
        let trial = Trial::of(base, &self.config, &self.binding)?;
        let batched = (self.config.max_batch_size > 0).then_some(1);
        let larger = (self.config.dynamic_batching.is_some())
            .then_some(self.config.max_batch_size.min(BATCH))
            .filter(|rows| *rows > 1);
        let sizes: Vec<_> =
            [batched].into_iter().chain(larger.map(Some)).map(|rows| trial.inputs_of(rows)).collect();
        let laps = race(base, other, &sizes, clock::thread_time).map_err(failed)?;
        let gain = judge(&laps, &self.binding)?;
        // What is new to it shouldn't be paid by requests.
        warm(other, &self.sizes, clock::thread_time).map_err(failed)?;
        Ok(gain)
    }
}

/// What is gained, or why it isn't worth it.
fn judge(laps: &[Lap], binding: &Binding) -> Result<String, String> {
    let mut apart = 0.0_f64;
    let mut times = Vec::new();
    let mut share = 1.0;
    for lap in laps {
        let differences = differences(&lap.other.answers, &lap.base.answers, binding)?;
        apart = differences.iter().map(|one: &Difference| one.relative).fold(apart, f64::max);
        let (before, after) = (lap.base.took.as_secs_f64(), lap.other.took.as_secs_f64());
        share *= if before > 0.0 { after / before } else { 1.0 };
        times.push(format!("{} ms in place of {}", two_digits(after * 1e3), two_digits(before * 1e3)));
    }
    if apart > EQUAL || apart.is_nan() {
        return Err(format!(
            "answers differ by {} of the largest, at most {EQUAL:e} was expected",
            two_digits(apart)
        ));
    }
    // The mean of the ratios.
    let share = f64::powf(share, 1.0 / laps.len().max(1) as f64);
    if share > FASTER {
        return Err(format!("it isn't faster: {}", times.join(", ")));
    }
    Ok(format!("{}; answers differ by at most {} of the largest", times.join(", "), two_digits(apart)))
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
