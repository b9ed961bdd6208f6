//! Requests that differ in more than the rows of their inputs: in the inputs
//! that they leave out, and in values that a whole batch shares. A proof for
//! one variant says nothing of another: a switch may turn rows into something
//! else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model_config::Binding;
use crate::trial::TrialInput;
use cresset_protocol::Tensor;

/// At most so many are remembered; then the least recently used one goes.
const MOST: usize = 256;

/// At most so many are logged because their outputs are no rows.
const TOLD: usize = 8;

/// What [`Binding::variant`] tells apart; empty if nothing varies.
pub(super) type Variant = Vec<i64>;

/// Which variants' outputs are rows.
#[derive(Debug)]
pub(super) struct Variants {
    binding: Arc<Binding>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By variant: whether its requests share batches, and when that was asked
    /// last.
    rows: HashMap<Variant, (bool, u64)>,
    /// Counts what is asked.
    asked: u64,
    /// How many were found to be no rows.
    refuted: usize,
}

impl Variants {
    /// None is known.
    pub(super) fn new(binding: Arc<Binding>) -> Self {
        Self { binding, known: Mutex::default() }
    }

    /// The variant of a request's inputs, as they were checked.
    pub(super) fn of(&self, inputs: &[Tensor]) -> Variant {
        self.binding.variant(inputs)
    }

    /// The same of a trial's.
    pub(super) fn of_trial(&self, inputs: &[TrialInput]) -> Variant {
        if !self.binding.varies() {
            return Variant::new();
        }
        let input = |place: &Arc<str>| {
            let found = inputs.iter().find(|input| *input.name == **place);
            found.map_or_else(
                || Tensor::absent(Arc::clone(place)),
                |input| Tensor {
                    name: Arc::clone(place),
                    datatype: input.datatype,
                    shape: input.shape.clone(),
                    data: input.bytes(),
                },
            )
        };
        let inputs: Vec<Tensor> = self.binding.inputs.iter().map(|bound| input(&bound.place)).collect();
        self.of(&inputs)
    }

    /// Whether its outputs are rows; `None` if that isn't known. It isn't asked
    /// if nothing varies: then there is one variant.
    pub(super) fn are_rows(&self, variant: &Variant) -> Option<bool> {
        if variant.is_empty() {
            return Some(true);
        }
        let mut known = self.lock();
        known.asked += 1;
        let now = known.asked;
        let (rows, asked) = known.rows.get_mut(variant)?;
        *asked = now;
        Some(*rows)
    }

    /// Notes whether a variant's outputs are `rows`. Returns whether to log it:
    /// it is news, and one of the first.
    pub(super) fn found(&self, variant: Variant, rows: bool) -> bool {
        if variant.is_empty() {
            return false;
        }
        let mut known = self.lock();
        known.asked += 1;
        let now = known.asked;
        let before = known.rows.insert(variant, (rows, now));
        if known.rows.len() > MOST {
            let oldest = known.rows.iter().min_by_key(|(_, (_, asked))| *asked);
            if let Some(oldest) = oldest.map(|(variant, _)| variant.clone()) {
                known.rows.remove(&oldest);
            }
        }
        if rows || before.is_some_and(|(rows, _)| !rows) {
            return false;
        }
        known.refuted += 1;
        known.refuted <= TOLD
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
