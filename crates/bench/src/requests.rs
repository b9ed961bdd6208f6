//! All different requests of a run, and which is sent next.

use anyhow::Result;

use super::expected::Expected;
use super::payload::Payload;
use super::random::Random;
use super::schedule::Share;

/// The requests, made before the load begins; there is at least one.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) all: Vec<Prepared>,
    order: PickingOrder,
}

/// One request, and its expected answer.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) payload: Payload,
    pub(super) expected: Option<Expected>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PickingOrder {
    /// One after another, again and again.
    InTurn,
    /// Any of them, each as likely.
    Random,
}

/// Which request is next, for one thread.
#[derive(Debug)]
pub(super) struct Picker {
    order: PickingOrder,
    count: usize,
    next: usize,
    stride: usize,
    random: Random,
}

impl Requests {
    pub(super) fn new(all: Vec<Prepared>, order: PickingOrder) -> Result<Self> {
        anyhow::ensure!(!all.is_empty(), "there is nothing to send");
        Ok(Self { all, order })
    }

    pub(super) fn picker(&self, share: Share, seed: u64) -> Picker {
        Picker {
            order: self.order,
            count: self.all.len(),
            next: share.thread,
            stride: share.threads,
            random: Random::stream(seed, u64::MAX - share.thread as u64),
        }
    }

    /// The sizes of the smallest and of the largest body.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let sizes = || self.all.iter().map(|prepared| prepared.payload.size());
        (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0))
    }

    /// The mean size of a body.
    pub(super) fn mean_size(&self) -> usize {
        self.all.iter().map(|prepared| prepared.payload.size()).sum::<usize>() / self.all.len()
    }
}

impl Picker {
    pub(super) fn pick(&mut self) -> usize {
        if self.count == 1 {
            return 0;
        }
        match self.order {
            PickingOrder::Random => self.random.below(self.count),
            PickingOrder::InTurn => {
                let number = self.next % self.count;
                self.next = self.next.wrapping_add(self.stride);
                number
            }
        }
    }
}
