//! Which batch sizes have run at all: the first of each costs more, and no
//! request should pay for it.

use crate::ablation::{Heuristic, off};

/// So many batches in a row that could have been larger, and the next size is
/// run for the first time: under a load that leaves no time for runs on the
/// server's own account, small batches would cost more.
const PATIENCE: u32 = 4;

/// While sizes are still to be warmed; then nothing is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    state: Option<Warming>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Warming {
    largest: u32,
    held_back: u32,
}

impl Warmth {
    /// From now on batches have at most as many rows as one that has run.
    pub(super) fn begin(&mut self, largest: u32) {
        self.state = Some(Warming { largest, held_back: 0 });
    }

    /// A batch of this size has run.
    pub(super) fn ran(&mut self, rows: u32) {
        if let Some(warming) = &mut self.state
            && rows > warming.largest
        {
            *warming = Warming { largest: rows, held_back: 0 };
        }
    }

    /// All that is to be warmed has run.
    pub(super) fn done(&mut self) {
        self.state = None;
    }

    /// How many of `rows` may run now.
    pub(super) fn allowed(&self, rows: u32) -> u32 {
        let Some(Warming { largest, held_back }) = self.state else { return rows };
        if off(Heuristic::Warmth) {
            return rows;
        }
        rows.min(if held_back < PATIENCE { largest } else { largest.saturating_mul(2) })
    }

    /// A batch of `rows` leaves where `waited` would have been taken.
    pub(super) fn left(&mut self, rows: u32, waited: u32) {
        if let Some(warming) = &mut self.state
            && waited > warming.largest
            && rows <= warming.largest
        {
            warming.held_back = warming.held_back.saturating_add(1);
        }
        self.ran(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_held_back_until_they_are_warm() {
        let mut warmth = Warmth::default();
        assert_eq!(warmth.allowed(64), 64, "nothing is to be warmed");
        warmth.begin(1);
        assert_eq!(warmth.allowed(7), 1);
        warmth.ran(4);
        warmth.ran(2);
        assert_eq!(warmth.allowed(7), 4);
        warmth.done();
        assert_eq!(warmth.allowed(7), 7);
    }

    #[test]
    fn under_a_load_that_never_ends_they_grow_all_the_same() {
        let mut warmth = Warmth::default();
        warmth.begin(1);
        let mut left = Vec::new();
        for _ in 0..14 {
            let rows = warmth.allowed(7);
            warmth.left(rows, 7);
            left.push(rows);
        }
        assert_eq!(left, [1, 1, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4]);
        assert_eq!(warmth.allowed(7), 7);
        // Nobody is held back where nobody waits.
        warmth.begin(1);
        (0..10).for_each(|_| warmth.left(1, 1));
        assert_eq!(warmth.allowed(7), 1);
    }
}
