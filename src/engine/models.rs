//! The table of models as it stands, and the one way to change it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::ModelTable;

/// Read without a lock by every request; replaced whole by whoever changes it,
/// one after the other.
#[derive(Default)]
pub(super) struct Models {
    table: ArcSwap<ModelTable>,
    changing: Mutex<()>,
}

impl Models {
    /// The table of this moment.
    pub(super) fn read(&self) -> Guard<Arc<ModelTable>> {
        self.table.load()
    }

    /// Puts a changed copy in the table's place. Readers see all of a change or
    /// nothing of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut ModelTable) -> T) -> T {
        // The table is whole whatever happened to whoever held the lock.
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = ModelTable::clone(&self.table.load());
        let result = change(&mut table);
        self.table.store(Arc::new(table));
        result
    }
}
