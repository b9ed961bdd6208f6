//! The model that a placement's instances run, which may become another one
//! while they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cresset_backend::Model;

/// A model, and how many came before it. Between two batches its instances
/// check whether it was replaced.
pub struct ModelSlot {
    /// Beside the model, so that the check takes no lock.
    number: AtomicU64,
    model: Mutex<Arc<dyn Model>>,
}

impl ModelSlot {
    /// A slot with its first model.
    #[must_use]
    pub fn new(model: Arc<dyn Model>) -> Self {
        Self { number: AtomicU64::new(0), model: Mutex::new(model) }
    }

    /// From now on the instances run this one, which gives the same answers.
    pub fn replace(&self, model: Arc<dyn Model>) {
        let mut slot = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = model;
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Whether the model is another than that of this number.
    #[must_use]
    pub fn is_newer(&self, than: u64) -> bool {
        self.number.load(Ordering::Acquire) != than
    }

    /// The model, with its number.
    #[must_use]
    pub fn current(&self) -> (Arc<dyn Model>, u64) {
        let slot = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&slot), self.number.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_backend::mock::{Behaviour, MockBackend};

    #[test]
    fn a_replaced_model_is_found_once() {
        let model = |name: &str| Arc::new(MockBackend::new(Behaviour::Identity, &[name])) as Arc<dyn Model>;
        let slot = ModelSlot::new(model("old"));
        let (old, number) = slot.current();
        assert!(!slot.is_newer(number));
        slot.replace(model("new"));
        assert!(slot.is_newer(number));
        let (new, number) = slot.current();
        assert!(!slot.is_newer(number));
        assert_eq!([old, new].map(|model| model.signature().arguments[0].name.clone()), ["old", "new"]);
    }
}
