//! How requests arrive, and whether the next one is worth waiting for: plain
//! state, which takes the time as an argument.

use std::time::{Duration, Instant};

use super::times::BatchTimes;

/// How many of the last requests are kept.
const KEPT: usize = 16;

/// After this many usual gaps without a request, none is waited for.
const PATIENCE: u32 = 2;

/// The arrival times of the last requests.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    /// Each with its rows; the oldest is overwritten.
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

    /// Rows a second at present; zero if too little is known.
    pub(crate) fn rate(&self, now: Instant) -> f64 {
        let mut all = self.in_order();
        let Some((first, _)) = all.next() else { return 0.0 };
        let rows: u32 = all.map(|(_, rows)| rows).sum();
        let time = now.saturating_duration_since(first).as_secs_f64();
        if time > 0.0 { f64::from(rows) / time } else { 0.0 }
    }

    /// The median of the last gaps. It is short if requests arrive in groups,
    /// however long the pauses between the groups.
    fn usual_gap(&self) -> Option<Duration> {
        let mut gaps: Vec<Duration> = self
            .in_order()
            .zip(self.in_order().skip(1))
            .map(|((one, _), (next, _))| next.saturating_duration_since(one))
            .collect();
        gaps.sort_unstable();
        // Too few gaps are no basis.
        (gaps.len() >= KEPT / 2).then(|| gaps[gaps.len() / 2])
    }

    fn latest(&self) -> Option<Instant> {
        self.last[(self.next + KEPT - 1) % KEPT].map(|(at, _)| at)
    }

    fn in_order(&self) -> impl Iterator<Item = (Instant, u32)> {
        (0..KEPT).filter_map(|index| self.last[(self.next + index) % KEPT])
    }

    /// Until when `rows` that could run now should wait for one more row.
    /// `None` if waiting isn't worth it. It is worth it if the additional
    /// request, which would otherwise wait for the whole batch, saves more time
    /// than the waiting ones lose.
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
        // Four clients that send together again each time they were answered.
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
        assert!(arrivals.rate(start + MS * 3000) < 20.0, "it falls while no request comes");
    }
}
