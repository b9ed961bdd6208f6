//! The table of models as it stands, and the one way to change it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::ModelTable;

/// Requests read it without a lock. Each change replaces the whole table;
/// changes run one after the other.
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
        // The table is consistent even if a thread panicked under the lock.
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = ModelTable::clone(&self.table.load());
        let result = change(&mut table);
        self.table.store(Arc::new(table));
        result
    }
}
