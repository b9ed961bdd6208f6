//! The scheduler's knowledge from the batches that ran. It is not configured,
//! and may be forgotten at any time.

use std::time::{Duration, Instant};

use super::ablation::{Heuristic, off};
use super::arrivals::Arrivals;
use super::margin::Margin;
use super::padding_cost::PaddingCostModel;
use super::running::RunningBatch;
use super::times::ShapeTimes;

/// One in this many batches to be cut is left whole, so that a size that was
/// slow by chance is measured again.
const CUTS_UNTIL_TRIAL: u32 = 128;

/// The knowledge about the model and its clients.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// How long batches take.
    pub(crate) times: ShapeTimes,
    /// How requests come.
    pub(crate) arrivals: Arrivals,
    /// How far forecasts are off.
    pub(crate) margin: Margin,
    /// The same for the bound on waiting, which doesn't bound the run: it must
    /// not change what deadlines are held to.
    pub(crate) wait_margin: Margin,
    /// How much padding is worth it.
    pub(crate) padding: PaddingCostModel,
    /// Batches that were cut since the last one was left whole instead.
    cuts: u32,
}

/// How a batch ran that was undisturbed from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// From its leaving the queue to its last answer.
    pub took: Duration,
    /// If its requests were padded to one length.
    pub padded: Option<PaddedRun>,
}

impl Ran {
    /// A batch of requests of one shape.
    #[must_use]
    pub fn new(took: Duration) -> Self {
        Self { took, padded: None }
    }
}

/// How a batch of padded requests ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaddedRun {
    /// Its rows times their padded length.
    pub size: u64,
    /// How long the model computed.
    pub computed: Duration,
}

impl Learned {
    /// A batch of `rows` leaves. It would have `could` rows if sizes had no
    /// cost.
    pub(crate) fn left(&mut self, rows: u32, could: u32) {
        if self.tries_whole() {
            self.cuts = 0;
        } else if rows < could {
            self.cuts += 1;
        }
    }

    /// Whether the next batch is left whole, whatever the cost of its size.
    pub(crate) fn tries_whole(&self) -> bool {
        self.cuts >= CUTS_UNTIL_TRIAL && !off(Heuristic::TrialWhole)
    }

    /// A batch has run. Its requests should have been answered within the
    /// latency target, if there is one, and also within the bound on waiting:
    /// most runs take a small part of that.
    pub(crate) fn ran(
        &mut self,
        batch: &RunningBatch,
        ran: Ran,
        target: Option<Duration>,
        max_wait: Option<Duration>,
    ) {
        if let Some(PaddedRun { size, computed }) = ran.padded {
            self.padding.ran(size, computed);
        }
        self.times.tell(&batch.shape, |times| times.ran(batch.rows, ran.took));
        for arrival in &batch.arrivals {
            let latency = batch.left.saturating_duration_since(*arrival) + ran.took;
            if let Some(target) = target {
                self.margin.learn(latency, target);
            }
            if let Some(bound) = max_wait {
                self.wait_margin.learn_behind_a_queue(latency, bound);
            }
        }
    }

    /// A run of `rows` of this shape on the server's own account took this
    /// long.
    pub(crate) fn tried(&mut self, shape: &[i64], rows: u32, took: Duration) {
        self.times.tell(shape, |times| times.tried(rows, took));
    }

    /// A request of `rows` came.
    pub(crate) fn arrived(&mut self, at: Instant, rows: u32) {
        self.arrivals.note(at, rows);
    }
}
