//! Requests that differ in more than the rows of their inputs: in what they
//! leave out, and in values that a whole batch shares. What is proved of one
//! such variant says nothing of another: a switch may well turn rows into
//! something else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model_config::Binding;
use crate::protocol::Tensor;
use crate::trial::TrialInput;

/// So many are remembered: who sends others runs alone.
const MOST: usize = 256;

/// What [`Binding::variant`] tells apart; empty where nothing varies.
pub(super) type Variant = Vec<i64>;

/// Which variants' outputs are rows.
#[derive(Debug)]
pub(super) struct Variants {
    binding: Arc<Binding>,
    /// `true` where requests of one share batches.
    known: Mutex<HashMap<Variant, bool>>,
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

    /// Whether its outputs are rows; `None` where that isn't known. All are of
    /// one kind where nothing varies, which isn't asked here.
    pub(super) fn are_rows(&self, variant: &Variant) -> Option<bool> {
        if variant.is_empty() { Some(true) } else { self.lock().get(variant).copied() }
    }

    /// Takes in what was found of one.
    pub(super) fn found(&self, variant: Variant, rows: bool) {
        let mut known = self.lock();
        if !variant.is_empty() && (known.len() < MOST || known.contains_key(&variant)) {
            known.insert(variant, rows);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Variant, bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
