//! Batching policy: which waiting requests run together.

use std::time::Instant;

use super::members::{Cut, Members};
use super::padding_cost::PaddingCostModel;
use super::pick::{Picked, pick};
use super::request::{CloseReason, Schedulable};
use super::waiting::Bucket;
use super::{Lengths, earlier};

/// The limits of a batch, as configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchingPolicy {
    /// The most rows in a batch; `None` runs each request by itself.
    pub max_batch_size: Option<u32>,
    /// The most elements in a batch's largest input, padding included. A
    /// request that exceeds it alone runs alone.
    pub max_elements: Option<u64>,
    /// How requests of different lengths run together; `None` if a bucket's
    /// requests all have one shape.
    pub lengths: Option<Lengths>,
    /// Sizes at which a batch leaves without waiting for its delay, ascending.
    pub preferred_batch_sizes: Vec<u32>,
}

/// The batch that could leave a bucket now, and the reasons for its leaving.
#[derive(Debug)]
pub(crate) struct Formed {
    pub(crate) members: Members,
    pub(crate) rows: u32,
    /// The earliest arrival of its members.
    pub(crate) oldest: Option<Instant>,
    pub(crate) state: FormedState,
    /// The number of members, and of their rows, that no further request can
    /// complete to a preferred size.
    pub(crate) beyond_preferred: Option<(usize, u32)>,
}

/// How full a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormedState {
    /// The model runs each request by itself.
    Single,
    /// This many of its members have a preferred size, with this many rows.
    Preferred(usize, u32),
    /// No further request would fit.
    Full,
    /// Further requests would fit.
    Open,
}

/// When a bucket's first batch leaves.
#[derive(Debug)]
pub(crate) enum Leaves {
    /// Now, this one.
    Now(Cut),
    /// Not before this time, unless a request comes.
    At(Instant),
}

impl BatchingPolicy {
    /// The batch that could leave this bucket, which is not empty.
    pub(crate) fn form<T: Schedulable>(&self, bucket: &Bucket<T>, padding: &PaddingCostModel) -> Formed {
        let Some(max) = self.max_batch_size else {
            let first = bucket.front().map(|entry| &entry.request);
            return Formed {
                members: Members::First(1),
                rows: first.map_or(1, Schedulable::rows),
                oldest: first.map(Schedulable::arrival),
                state: FormedState::Single,
                beyond_preferred: None,
            };
        };
        let Picked { members, full } = pick(self, bucket, max, padding);
        let mut rows = 0;
        let mut oldest = None;
        let mut state = if full { FormedState::Full } else { FormedState::Open };
        let mut beyond_preferred = None;
        let largest_preferred = self.preferred_batch_sizes.last();
        for (count, entry) in (1..).zip(members.places().filter_map(|place| bucket.get(place))) {
            let before = (count - 1, rows);
            rows += entry.request.rows();
            oldest = earlier(oldest, Some(entry.request.arrival()));
            // No further request completes the members before this one to a
            // preferred size, or this one if it is the first. (Triton's rule:
            // these leave by themselves.)
            if beyond_preferred.is_none() && largest_preferred.is_some_and(|largest| rows > *largest) {
                beyond_preferred = Some(if count == 1 { (1, rows) } else { before });
            }
            if self.preferred_batch_sizes.binary_search(&rows).is_ok() {
                state = FormedState::Preferred(count, rows);
            }
        }
        Formed { members, rows, oldest, state, beyond_preferred }
    }

    /// All members of a bucket that fit into one batch, as a batch that leaves
    /// for this reason.
    pub(crate) fn all_that_fits<T: Schedulable>(
        &self,
        bucket: &Bucket<T>,
        padding: &PaddingCostModel,
        reason: CloseReason,
    ) -> Option<Cut> {
        let Picked { members, .. } = pick(self, bucket, self.max_batch_size?, padding);
        let picked = members.places().filter_map(|place| bucket.get(place));
        let rows = picked.map(|entry| entry.request.rows()).sum();
        Some(Cut::new(members, rows, reason))
    }
}

impl Formed {
    /// The batch of all its members, which leaves for this reason.
    pub(crate) fn whole(self, reason: CloseReason) -> Cut {
        Cut::new(self.members, self.rows, reason)
    }

    /// The batch of its first members, which have `rows` rows together.
    pub(crate) fn preferred(self, count: usize, rows: u32) -> Cut {
        let mut members = self.members;
        members.truncate(count);
        Cut::new(members, rows, CloseReason::Preferred)
    }
}
