//! When the device will be free, by measured times, so that a batch is
//! collected just before. If it were collected earlier, requests that come in
//! between would miss it; if later, the device would wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use cresset_scheduler::Turn;

/// Room for the error of a guess: threads wake late.
const MARGIN: Duration = Duration::from_micros(200);

/// Identifies a batch on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crossing(u64);

/// The measured times of an instance.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How long batches of each number of rows compute.
    compute: BTreeMap<u32, Duration>,
    /// How long collecting takes.
    collect: Duration,
    /// Each batch on the device with its rows, in the order of handing over.
    on_device: VecDeque<(Crossing, u32)>,
    /// The number of the next batch.
    next: u64,
    /// When the last of them should land.
    expected: Option<Instant>,
}

impl Pace {
    /// A batch of `rows` goes to the device, having been collected in `took`.
    pub(super) fn handed_over(&mut self, rows: u32, took: Duration, now: Instant) -> Crossing {
        self.collect = average(self.collect, took);
        let crossing = Crossing(self.next);
        self.next += 1;
        self.on_device.push_back((crossing, rows));
        let start = self.expected.map_or(now, |before| before.max(now));
        self.expected = self.guess(rows).map(|compute| start + compute);
        crossing
    }

    /// A batch has landed, having computed for `took`.
    pub(super) fn landed(&mut self, crossing: Crossing, took: Duration, now: Instant) {
        if let Some((_, rows)) = self.on_device.iter().find(|(known, _)| *known == crossing) {
            let known = self.compute.get(rows).copied().unwrap_or(took);
            self.compute.insert(*rows, average(known, took));
        }
        self.left(crossing, now);
    }

    /// A batch has left the device, landed or failed. The next one computes
    /// from now on.
    pub(super) fn left(&mut self, crossing: Crossing, now: Instant) {
        self.on_device.retain(|(known, _)| *known != crossing);
        let guesses = self.on_device.iter().map(|(_, rows)| self.guess(*rows));
        self.expected = guesses.sum::<Option<Duration>>().map(|rest| now + rest);
    }

    /// What the collecting stage should do.
    pub(super) fn turn(&self) -> Turn {
        match (self.on_device.len(), self.expected) {
            (0, _) | (1, None) => Turn::Now,
            (1, Some(expected)) => {
                let lead = self.collect * 2 + MARGIN;
                expected.checked_sub(lead).map_or(Turn::Now, Turn::At)
            }
            _ => Turn::Later,
        }
    }

    /// The time of the nearest known number of rows, larger ones first: if a
    /// guess is too long, a batch is only taken a little later.
    fn guess(&self, rows: u32) -> Option<Duration> {
        let above = self.compute.range(rows..).next();
        above.or_else(|| self.compute.range(..rows).next_back()).map(|(_, took)| *took)
    }
}

/// Follows changes within a few batches; a single outlier counts little.
fn average(known: Duration, new: Duration) -> Duration {
    if known.is_zero() { new } else { (known * 3 + new) / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_clock as clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_idle_device_takes_at_once_and_a_full_one_nothing() {
        let start = clock::now();
        let mut pace = Pace::default();
        assert_eq!(pace.turn(), Turn::Now);
        pace.handed_over(8, MS, start);
        assert_eq!(pace.turn(), Turn::Now, "nothing is known of how long it takes");
        pace.handed_over(8, MS, start);
        assert_eq!(pace.turn(), Turn::Later);
    }

    #[test]
    fn the_next_batch_is_taken_just_before_the_device_is_free() {
        let start = clock::now();
        let mut pace = Pace::default();
        let first = pace.handed_over(8, MS, start);
        pace.landed(first, 20 * MS, start + 20 * MS);
        let second = pace.handed_over(8, MS, start + 20 * MS);
        assert_eq!(pace.turn(), Turn::At(start + 40 * MS - 2 * MS - MARGIN));
        // A second batch behind it: both have to land.
        let third = pace.handed_over(8, MS, start + 38 * MS);
        pace.landed(second, 20 * MS, start + 40 * MS);
        assert_eq!(pace.turn(), Turn::At(start + 60 * MS - 2 * MS - MARGIN));
        // A size that is new goes by its neighbour.
        pace.landed(third, 20 * MS, start + 60 * MS);
        let fourth = pace.handed_over(3, MS, start + 60 * MS);
        assert_eq!(pace.turn(), Turn::At(start + 80 * MS - 2 * MS - MARGIN));
        // A batch that failed at its launch is not waited for.
        pace.left(fourth, start + 61 * MS);
        assert_eq!(pace.turn(), Turn::Now);
        // Nor is a guess that was too long, once it has landed.
        let fifth = pace.handed_over(8, MS, start + 70 * MS);
        pace.handed_over(8, MS, start + 70 * MS);
        pace.landed(fifth, 20 * MS, start + 75 * MS);
        assert_eq!(pace.turn(), Turn::At(start + 95 * MS - 2 * MS - MARGIN));
    }

    #[test]
    fn of_two_batches_of_one_size_the_one_that_left_is_told_from_the_other() {
        let start = clock::now();
        let mut pace = Pace::default();
        let first = pace.handed_over(8, MS, start);
        pace.landed(first, 20 * MS, start + 20 * MS);
        let failing = pace.handed_over(8, MS, start + 20 * MS);
        let other = pace.handed_over(8, MS, start + 20 * MS);
        pace.left(failing, start + 21 * MS);
        pace.left(failing, start + 22 * MS);
        assert_eq!(pace.turn(), Turn::At(start + 42 * MS - 2 * MS - MARGIN), "the other is there");
        pace.landed(other, 20 * MS, start + 42 * MS);
        assert_eq!(pace.turn(), Turn::Now);
    }
}
