//! The places that batches take on their way over a device, and when the next
//! batch is collected.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::pace::{Crossing, Pace};
use cresset_backend::HostBatch;
use cresset_clock as clock;
use cresset_scheduler::{Taker, Turn};

/// One that is collected, one that is copied in, one that computes, one that is
/// copied out. Batches that aren't full never take more than two of the
/// device's three: see [`Pace::turn`].
const PLACES: usize = 4;

/// The places of one instance.
#[derive(Debug, Default)]
pub(super) struct Places {
    state: Mutex<PlacesState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PlacesState {
    /// From collecting until landed.
    taken: usize,
    /// Launched and not landed yet.
    flying: usize,
    /// Taken and not answered yet.
    unanswered: usize,
    /// Memory that nothing reads any more.
    free: Vec<HostBatch>,
    pace: Pace,
}

/// A batch's place; it is given up on landing, or by dropping it.
#[derive(Debug)]
pub(super) struct BatchPlace<'a> {
    places: &'a Places,
    stage: PlaceStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceStage {
    Collecting,
    HandedOver(Crossing),
    Flying(Crossing),
    Landed,
}

impl Places {
    /// Waits for a place, with memory to collect into.
    pub(super) fn take(&self) -> (BatchPlace<'_>, HostBatch) {
        let mut state = self.wait_while(|state| state.taken >= PLACES);
        state.taken += 1;
        state.unanswered += 1;
        let batch = state.free.pop().unwrap_or_default();
        drop(state);
        (BatchPlace { places: self, stage: PlaceStage::Collecting }, batch)
    }

    /// Whether each batch that was taken has been answered or given back,
    /// except the one that is being collected.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().unanswered <= 1
    }

    /// Waits for that.
    pub(super) fn wait_until_quiet(&self) {
        drop(self.wait_while(|state| state.unanswered > 1));
    }

    /// Waits until the device has nothing to do.
    pub(super) fn wait_until_idle(&self) {
        drop(self.wait_while(|state| state.flying > 0));
    }

    fn wait_while(&self, busy: impl Fn(&PlacesState) -> bool) -> MutexGuard<'_, PlacesState> {
        let state = self.lock();
        self.changed.wait_while(state, |state| busy(state)).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, PlacesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the collecting stage should take the requests that wait.
impl Taker for Places {
    fn turn(&self) -> Turn {
        self.lock().pace.turn()
    }
}

impl BatchPlace<'_> {
    /// A batch of `rows`, collected from `began` on, goes to the device.
    pub(super) fn hand_over(&mut self, rows: u32, began: Instant, now: Instant) {
        let mut state = self.places.lock();
        let crossing = state.pace.handed_over(rows, now.saturating_duration_since(began), now);
        self.stage = PlaceStage::HandedOver(crossing);
    }

    /// The device has it.
    pub(super) fn launched(&mut self) {
        if let PlaceStage::HandedOver(crossing) = self.stage {
            self.places.lock().flying += 1;
            self.stage = PlaceStage::Flying(crossing);
        }
    }

    /// The device is done with it, having begun with it at `began`; `batch` is
    /// its memory. The place is free; that the batch is answered shows when
    /// this is dropped.
    pub(super) fn land(&mut self, batch: HostBatch, began: Instant, now: Instant) {
        let PlaceStage::Flying(crossing) = self.stage else { return };
        let mut state = self.places.lock();
        state.pace.landed(crossing, now.saturating_duration_since(began), now);
        state.flying -= 1;
        state.taken -= 1;
        state.free.push(batch);
        self.stage = PlaceStage::Landed;
        self.places.changed.notify_all();
    }

    /// Gives memory back that was not used.
    pub(super) fn unused(&mut self, batch: HostBatch) {
        self.places.lock().free.push(batch);
    }

    fn leave(&mut self, state: &mut PlacesState) {
        match self.stage {
            PlaceStage::Landed => return,
            PlaceStage::Collecting => {}
            PlaceStage::HandedOver(crossing) => state.pace.left(crossing, clock::now()),
            PlaceStage::Flying(crossing) => {
                state.pace.left(crossing, clock::now());
                state.flying -= 1;
            }
        }
        state.taken -= 1;
        self.stage = PlaceStage::Landed;
        self.places.changed.notify_all();
    }
}

impl Drop for BatchPlace<'_> {
    fn drop(&mut self) {
        let places = self.places;
        let mut state = places.lock();
        self.leave(&mut state);
        state.unanswered -= 1;
        places.changed.notify_all();
    }
}
