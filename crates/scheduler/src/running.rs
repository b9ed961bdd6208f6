//! The batches that left and are not finished.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The part of its duration by which a batch may be overdue and still be
/// expected to end at any moment.
const OVERDUE: u32 = 4;

/// Names a batch that was handed out, until it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A batch that left and is not finished.
#[derive(Debug)]
pub(crate) struct RunningBatch {
    pub(crate) shape: Box<[i64]>,
    pub(crate) rows: u32,
    /// When it left.
    pub(crate) left: Instant,
    /// When it should be done; if that isn't known, when it left.
    pub(crate) until: Instant,
    /// When its requests arrived, if there is a target or a bound on waiting.
    pub(crate) arrivals: Vec<Instant>,
}

/// All running batches.
#[derive(Debug, Default)]
pub(crate) struct RunningBatches {
    by_ticket: BTreeMap<Ticket, RunningBatch>,
    next: u64,
}

impl RunningBatches {
    /// Adds a batch that leaves, under the returned ticket.
    pub(crate) fn hand_out(&mut self, batch: RunningBatch) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.by_ticket.insert(ticket, batch);
        ticket
    }

    /// Removes a finished batch; `None` if it was finished before.
    pub(crate) fn take_back(&mut self, ticket: Ticket) -> Option<RunningBatch> {
        self.by_ticket.remove(&ticket)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, &RunningBatch)> {
        self.by_ticket.iter().map(|(ticket, batch)| (*ticket, batch))
    }
}

impl RunningBatch {
    /// How long it should still take. `None` if that isn't known: its shape
    /// never ran, or it is so overdue that it may run for ever.
    pub(crate) fn ends_in(&self, now: Instant) -> Option<Duration> {
        let whole = self.until.saturating_duration_since(self.left);
        let known = !whole.is_zero() && now.saturating_duration_since(self.until) < whole / OVERDUE;
        known.then(|| self.until.saturating_duration_since(now))
    }
}
