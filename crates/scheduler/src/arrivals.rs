//! How requests come, and whether the next one is worth waiting for: plain
//! state, told the time.

use std::time::{Duration, Instant};

use super::times::BatchTimes;

/// How many of the last requests tell how they come.
const KEPT: usize = 16;

/// Whoever hasn't come after so many usual gaps isn't waited for any more.
const PATIENCE: u32 = 2;

/// When the last requests came.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// Each with its rows; the oldest is written over.
    last: [Option<(Instant, u32)>; KEPT],
    next: usize,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { last: [None; KEPT], next: 0 }
    }
}

impl Arrivals {
    pub(crate) fn note(&mut self, at: Instant, rows: u32) {
        self.last[self.next] = Some((at, rows));
        self.next = (self.next + 1) % KEPT;
    }

    /// Rows a second, by now; zero where too little is known.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        let mut all = self.in_order();
        let Some((first, _)) = all.next() else { return 0.0 };
        let rows: u32 = all.map(|(_, rows)| rows).sum();
        let time = now.saturating_duration_since(first).as_secs_f64();
        if time > 0.0 { f64::from(rows) / time } else { 0.0 }
    }

    /// The gap that half of the last ones were no longer than, which is short
    /// where requests come in crowds, however long the pauses between these.
    fn usual_gap(&self) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self
            .in_order()
            .zip(self.in_order().skip(1))
            .map(|((one, _), (next, _))| next.saturating_duration_since(one))
            .collect();
        gaps.sort_unstable();
        // Too few tell nothing.
        (gaps.len() >= KEPT / 2).then(|| gaps[gaps.len() / 2])
    }

    fn latest(&self) -> Option<Instant> {
        self.last[(self.next + KEPT - 1) % KEPT].map(|(at, _)| at)
    }

    fn in_order(&self) -> impl Iterator<Item = (Instant, u32)> {
        (0..KEPT).filter_map(|index| self.last[(self.next + index) % KEPT])
    }

    /// Until when `rows` that could run now should wait for one row more:
    /// where what that one would save, which else waits for the whole batch,
    /// is more than what it costs those that wait. `None` where it isn't.
    pub(crate) fn worth_waiting(&self, times: &BatchTimes, rows: u32, now: Instant) -> Option<Instant> {
        let gap = self.usual_gap()?;
        let until = self.latest()?.checked_add(gap.saturating_mul(PATIENCE))?;
        if now >= until {
            return None;
        }
        let (alone, together) = (times.settled(rows)?, times.settled(rows.saturating_add(1))?);
        let saved = alone.saturating_sub(gap);
        let cost = (gap + together.saturating_sub(alone)).saturating_mul(rows);
        (saved > cost).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_clock as clock;

    const MS: Duration = Duration::from_millis(1);

    fn times() -> BatchTimes {
        let mut times = BatchTimes::default();
        for (rows, took) in [(1, 37), (2, 65), (4, 121), (8, 237)] {
            (0..3).for_each(|_| times.ran(rows, took * MS));
        }
        times
    }

    #[test]
    fn a_crowd_is_waited_for_and_a_single_client_is_not() {
        let start = clock::now();
        // Four clients that come again together each time they were answered.
        let mut crowd = Arrivals::default();
        for round in 0..5 {
            (0..4).for_each(|client| crowd.note(start + MS * (round * 121 + client), 1));
        }
        let now = start + MS * (4 * 121 + 3);
        assert_eq!(crowd.worth_waiting(&times(), 1, now), Some(now + 2 * MS));
        assert_eq!(crowd.worth_waiting(&times(), 1, now + 2 * MS), None, "it didn't come");
        assert_eq!(crowd.worth_waiting(&times(), 8, now), None, "eight would wait for one");

        let mut single = Arrivals::default();
        (0..20).for_each(|round| single.note(start + MS * (round * 40), 1));
        assert_eq!(single.worth_waiting(&times(), 1, start + MS * (19 * 40)), None);
        assert_eq!(Arrivals::default().worth_waiting(&times(), 1, start), None);
    }

    #[test]
    fn the_rate_is_that_of_the_last_ones() {
        let start = clock::now();
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.rate(start), 0.0);
        (0..100).for_each(|index| arrivals.note(start + MS * (index * 10), 2));
        let rate = arrivals.rate(start + MS * 990);
        assert!((199.0..201.0).contains(&rate), "{rate}");
        assert!(arrivals.rate(start + MS * 3000) < 20.0, "it falls while nobody comes");
    }
}
