//! A running stage: when each of its requests is due.
//!
//! A schedule never reads a clock. Each generator thread has its own schedule,
//! with its share of the load.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::load::{Arrivals, Load, Part};
use super::plan::Stage;
use super::random::Random;

/// One thread's part of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// From 0.
    pub(super) thread: usize,
    pub(super) threads: usize,
}

/// The times of a stage, the same for all of its threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows {
    /// When the warm-up ends.
    pub(super) opens: Instant,
    /// How long each part is; `None` if only a number of requests, or
    /// stability, ends the stage.
    pub(super) length: Option<Duration>,
    pub(super) parts: usize,
}

/// Ends a stage early, and holds the time of that.
#[derive(Debug, Default)]
pub(super) struct End(OnceLock<Instant>);

/// The requests of one thread.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    windows: Windows,
    requests_left: Option<u64>,
}

#[derive(Debug)]
enum Pace {
    Closed,
    Open(Arriving),
}

/// Permission to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// When it should be sent. Latency counts from here and not from the time
    /// of sending, so that a server that delays the load can't hide it.
    pub(super) due: Instant,
    pub(super) phase: Phase,
}

/// Whether a request's latency counts, and for which part of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    WarmUp,
    Measured { part: usize },
}

impl Share {
    /// This thread's share of a number of indivisible things.
    pub(super) fn of(self, whole: u64) -> u64 {
        let (thread, threads) = (self.thread as u64, self.threads as u64);
        whole / threads + u64::from(thread < whole % threads)
    }
}

impl Windows {
    pub(super) fn of(stage: &Stage, began: Instant) -> Self {
        Self { opens: began + stage.warm_up, length: stage.bounds.duration, parts: stage.load.parts() }
    }

    /// When a part begins; the first if parts have no length.
    pub(super) fn opening(&self, part: usize) -> Instant {
        self.opens + self.length.unwrap_or_default() * part as u32
    }

    /// When the last part ends.
    pub(super) fn closes(&self) -> Option<Instant> {
        self.length.map(|length| self.opens + length * self.parts as u32)
    }

    /// The part that contains an instant.
    pub(super) fn part_at(&self, instant: Instant) -> Option<usize> {
        let since = instant.checked_duration_since(self.opens)?;
        let Some(length) = self.length else { return Some(0) };
        let part = since.as_nanos() / length.as_nanos().max(1);
        usize::try_from(part).ok().filter(|&part| part < self.parts)
    }
}

impl End {
    /// Ends it; only the first call counts.
    pub(super) fn say(&self, now: Instant) {
        // An earlier call has set it already.
        let _ = self.0.set(now);
    }

    pub(super) fn said(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    pub(super) fn passed(&self, now: Instant) -> bool {
        self.said().is_some_and(|end| now >= end)
    }
}

impl Schedule {
    /// This thread's share of the stage, whose warm-up begins at `began`.
    pub(super) fn begin(stage: &Stage, share: Share, seed: u64, began: Instant) -> Self {
        let windows = Windows::of(stage, began);
        let pace = match &stage.load {
            Load::Closed { .. } => Pace::Closed,
            Load::Open { parts, arrivals } => {
                Pace::Open(Arriving::new(parts, *arrivals, share, seed, stage.warm_up, began))
            }
        };
        let requests_left = stage.bounds.requests.map(NonZeroU64::get).map(|all| share.of(all));
        Self { pace, windows, requests_left }
    }

    /// The next request: in a closed loop the one to send `now`, in an open
    /// loop the next in time. `None` if there are no more.
    pub(super) fn next(&mut self, now: Instant) -> Option<Ticket> {
        let due = match &mut self.pace {
            Pace::Closed => now,
            Pace::Open(arriving) => arriving.next(&self.windows)?,
        };
        if due < self.windows.opens {
            return Some(Ticket { due, phase: Phase::WarmUp });
        }
        let part = self.windows.part_at(due)?;
        match &mut self.requests_left {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        Some(Ticket { due, phase: Phase::Measured { part } })
    }
}

/// Arrivals one after another. They are counted, not spaced: a part says when
/// the n-th request is due. So no rounding adds up, and a rate may change
/// between two arrivals.
#[derive(Debug)]
struct Arriving {
    /// The warm-up, at the initial rate of the first part, then the parts.
    parts: Vec<Part>,
    arrivals: Arrivals,
    share: Share,
    random: Random,
    began: Instant,
    warm_up: Duration,
    /// The part in which the next arrival is looked for.
    part: usize,
    /// How many requests of that part are due before the next arrival, of all
    /// threads together.
    count: f64,
}

impl Arriving {
    fn new(
        parts: &[Part],
        arrivals: Arrivals,
        share: Share,
        seed: u64,
        warm_up: Duration,
        began: Instant,
    ) -> Self {
        let warming = parts.first().map(|part| Part { to: part.from, ..*part });
        let mut arriving = Self {
            parts: warming.into_iter().chain(parts.iter().copied()).collect(),
            arrivals,
            share,
            random: Random::stream(seed, share.thread as u64 + 1),
            began,
            warm_up,
            part: 0,
            count: 0.0,
        };
        arriving.count = match arrivals {
            Arrivals::Poisson => arriving.gap(),
            // Threads take turns.
            Arrivals::Constant => share.thread as f64,
        };
        arriving
    }

    /// A gap in requests, of all threads together.
    fn gap(&mut self) -> f64 {
        let threads = self.share.threads as f64;
        match self.arrivals {
            Arrivals::Poisson => self.random.exponential() * threads,
            Arrivals::Constant => threads,
        }
    }

    fn next(&mut self, windows: &Windows) -> Option<Instant> {
        loop {
            let part = self.parts.get(self.part)?;
            let (opens, length) = match self.part {
                0 => (self.began, Some(self.warm_up)),
                part => (windows.opening(part - 1), windows.length),
            };
            // How many are due in the whole part; a later one falls into the
            // next.
            let whole = length.map_or(f64::INFINITY, |length| part.due_by(length, Some(length)));
            if self.count < whole {
                let time = part.time_of(self.count, length)?;
                self.count += self.gap();
                return Some(opens + Duration::from_secs_f64(time));
            }
            self.count -= whole;
            self.part += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::plan::{Bounds, Plan};
    use cresset_clock as clock;

    const SECOND: Duration = Duration::from_secs(1);
    const ALONE: Share = Share { thread: 0, threads: 1 };
    const MEASURED: Option<Phase> = Some(Phase::Measured { part: 0 });

    fn closed(warm_up: Duration, bounds: Bounds, now: Instant) -> Schedule {
        let plan = Plan::closed([NonZeroUsize::MIN], warm_up, bounds);
        Schedule::begin(&plan.stage(0).unwrap(), ALONE, 0, now)
    }

    fn phase(schedule: &mut Schedule, now: Instant) -> Option<Phase> {
        schedule.next(now).map(|ticket| ticket.phase)
    }

    #[test]
    fn time_ends_a_closed_loop() {
        let start = clock::now();
        let mut schedule = closed(SECOND, Bounds::new(Some(2 * SECOND), None, None), start);
        assert_eq!(phase(&mut schedule, start), Some(Phase::WarmUp));
        assert_eq!(phase(&mut schedule, start + SECOND), MEASURED);
        assert_eq!(phase(&mut schedule, start + SECOND * 29 / 10), MEASURED);
        assert_eq!(phase(&mut schedule, start + SECOND * 3), None);
    }

    #[test]
    fn a_number_of_requests_ends_it_and_warming_up_costs_none() {
        let start = clock::now();
        let mut schedule = closed(SECOND, Bounds::new(None, NonZeroU64::new(2), None), start);
        let turns = [0, 0, 0, 1, 1, 1].map(|after| phase(&mut schedule, start + after * SECOND));
        let warm = Some(Phase::WarmUp);
        assert_eq!(turns, [warm, warm, warm, MEASURED, MEASURED, None]);
    }

    #[test]
    fn whichever_comes_first_ends_it() {
        let start = clock::now();
        let bounds = Bounds::new(Some(SECOND), NonZeroU64::new(2), None);
        let mut by_time = closed(Duration::ZERO, bounds, start);
        assert_eq!(phase(&mut by_time, start + SECOND), None);
        let mut by_count = closed(Duration::ZERO, bounds, start);
        assert_eq!([0, 0, 0].map(|_| phase(&mut by_count, start)), [MEASURED, MEASURED, None]);
    }

    fn arrivals(
        parts: &[Part],
        arrivals: Arrivals,
        warm_up: Duration,
        share: Share,
        seed: u64,
    ) -> Vec<(f64, Phase)> {
        let bounds = Bounds::new(Some(10 * SECOND), None, None);
        let plan = Plan::parts(parts.to_vec(), arrivals, warm_up, bounds);
        let start = clock::now();
        let mut schedule = Schedule::begin(&plan.stage(0).unwrap(), share, seed, start);
        std::iter::from_fn(|| schedule.next(start))
            .map(|ticket| ((ticket.due - start).as_secs_f64(), ticket.phase))
            .collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_whoever_sends_them() {
        let rate = [Part { from: 100.0, to: 100.0 }];
        let alone = arrivals(&rate, Arrivals::Constant, SECOND, ALONE, 0);
        assert_eq!(alone.len(), 1100);
        assert_eq!(alone.iter().filter(|(_, phase)| *phase == Phase::WarmUp).count(), 100);
        for (number, (due, _)) in alone.iter().enumerate() {
            assert!((due - number as f64 / 100.0).abs() < 1e-6, "{number}: {due}");
        }
        let mut shared: Vec<_> = (0..3)
            .flat_map(|thread| arrivals(&rate, Arrivals::Constant, SECOND, Share { thread, threads: 3 }, 0))
            .collect();
        shared.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(shared.len(), alone.len());
        assert!(shared.iter().zip(&alone).all(|(a, b)| (a.0 - b.0).abs() < 1e-6));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_its_spread_and_a_seed() {
        let rate = [Part { from: 1000.0, to: 1000.0 }];
        let dues = |seed| -> Vec<f64> {
            arrivals(&rate, Arrivals::Poisson, Duration::ZERO, ALONE, seed)
                .into_iter()
                .map(|(due, _)| due)
                .collect()
        };
        let first = dues(1);
        assert_eq!(first, dues(1));
        assert_ne!(first, dues(2));
        // Four deviations of a Poisson count of 10 000.
        assert!((first.len() as f64 - 10_000.0).abs() < 400.0, "{}", first.len());
        let gaps: Vec<f64> = first.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let short = gaps.iter().filter(|gap| **gap < 0.0001).count() as f64 / gaps.len() as f64;
        assert!((short - (1.0 - (-0.1_f64).exp())).abs() < 0.02, "{short}");
    }

    #[test]
    fn parts_follow_one_another_at_their_own_rates() {
        let parts =
            [Part { from: 10.0, to: 10.0 }, Part { from: 100.0, to: 100.0 }, Part { from: 10.0, to: 30.0 }];
        let all = arrivals(&parts, Arrivals::Constant, Duration::ZERO, ALONE, 0);
        let count = |part| all.iter().filter(|(_, phase)| *phase == Phase::Measured { part }).count();
        assert_eq!([count(0), count(1), count(2)], [100, 1000, 200]);
        let late = all.iter().filter(|(due, _)| *due >= 25.0).count();
        assert_eq!(late, 125, "a ramp sends more in its second half");
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn an_end_stands_once_said() {
        let (end, now) = (End::default(), clock::now());
        assert!(!end.passed(now));
        end.say(now);
        end.say(now + SECOND);
        assert_eq!(end.said(), Some(now));
        assert!(end.passed(now) && !end.passed(now - SECOND));
    }
}
