//! Load as a value: how requests are paced, and when that ends.
//!
//! A [`Plan`] is a list of [`Stage`]s; each becomes a [`Schedule`], the one
//! thing that a worker asks before each request. A schedule never reads a
//! clock, so a new kind of pace is a new arm here and no new loop.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

/// Measured for this long where nothing else was asked.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Stages, run one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    stages: Vec<Stage>,
}

/// One load, held until its bounds are met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) load: Load,
    /// How long the load runs before anything counts.
    pub(super) warm_up: Duration,
    pub(super) bounds: Bounds,
}

/// How requests are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// This many clients, each of which sends when its last request was
    /// answered: the load slows down with the server.
    Closed { concurrency: NonZeroUsize },
}

/// When a stage ends: at whichever comes first. At least one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<NonZeroU64>,
}

impl Plan {
    /// A closed loop at each concurrency in turn.
    pub(super) fn closed(levels: &[NonZeroUsize], warm_up: Duration, bounds: Bounds) -> Self {
        let stage = |&concurrency| Stage { load: Load::Closed { concurrency }, warm_up, bounds };
        Self { stages: levels.iter().map(stage).collect() }
    }

    pub(super) fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

impl Load {
    /// How many connections it needs.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::Closed { concurrency } => concurrency.get(),
        }
    }
}

impl Bounds {
    /// The bounds asked for; ten seconds where none was.
    pub(super) fn new(duration: Option<Duration>, requests: Option<NonZeroU64>) -> Self {
        match (duration, requests) {
            (None, None) => Self { duration: Some(DEFAULT_DURATION), requests: None },
            (duration, requests) => Self { duration, requests },
        }
    }
}

/// A stage that has begun.
#[derive(Debug)]
pub(super) struct Schedule {
    load: Load,
    window: Window,
    requests_left: Option<u64>,
}

/// The time in which answers count for the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) opens: Instant,
    /// `None` where only a number of requests ends the stage.
    pub(super) closes: Option<Instant>,
}

/// What a worker is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Send(Ticket),
    Stop,
}

/// Leave to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// When it should be sent. Latency counts from here and not from when it
    /// really was, so that a pace which the server holds up can't hide it.
    pub(super) due: Instant,
    pub(super) phase: Phase,
}

/// Whether a request's latency counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    WarmUp,
    Measured,
}

impl Schedule {
    /// The stage, begun now.
    pub(super) fn begin(stage: &Stage, now: Instant) -> Self {
        let opens = now + stage.warm_up;
        Self {
            load: stage.load,
            window: Window { opens, closes: stage.bounds.duration.map(|duration| opens + duration) },
            requests_left: stage.bounds.requests.map(NonZeroU64::get),
        }
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// How long the window was open in the end: up to its last answer where the
    /// requests ran out, and never longer than it was to be.
    pub(super) fn open_for(&self, last: Option<Instant>, ended: Instant) -> Duration {
        let ran_out = self.requests_left == Some(0);
        let end = last.filter(|_| ran_out).unwrap_or(ended);
        let end = self.window.closes.map_or(end, |closes| closes.min(end));
        end.saturating_duration_since(self.window.opens)
    }

    /// What a worker that is free now is to do.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        match self.load {
            Load::Closed { .. } => self.grant(now, now),
        }
    }

    fn grant(&mut self, due: Instant, now: Instant) -> Turn {
        if now < self.window.opens {
            return Turn::Send(Ticket { due, phase: Phase::WarmUp });
        }
        if self.window.closes.is_some_and(|closes| now >= closes) {
            return Turn::Stop;
        }
        match &mut self.requests_left {
            Some(0) => return Turn::Stop,
            Some(left) => *left -= 1,
            None => {}
        }
        Turn::Send(Ticket { due, phase: Phase::Measured })
    }
}

impl Window {
    pub(super) fn contains(&self, instant: Instant) -> bool {
        instant >= self.opens && self.closes.is_none_or(|closes| instant <= closes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(warm_up: Duration, bounds: Bounds, now: Instant) -> Schedule {
        let plan = Plan::closed(&[NonZeroUsize::MIN], warm_up, bounds);
        Schedule::begin(&plan.stages()[0], now)
    }

    fn phase(turn: Turn) -> Option<Phase> {
        match turn {
            Turn::Send(ticket) => Some(ticket.phase),
            Turn::Stop => None,
        }
    }

    #[test]
    fn every_concurrency_is_a_stage() {
        let levels = [1, 2, 8].map(|level| NonZeroUsize::new(level).unwrap());
        let plan = Plan::closed(&levels, SECOND, Bounds::new(None, None));
        let clients: Vec<_> = plan.stages().iter().map(|stage| stage.load.clients()).collect();
        assert_eq!(clients, [1, 2, 8]);
        assert_eq!(plan.stages()[0].bounds.duration, Some(DEFAULT_DURATION));
    }

    #[test]
    fn requests_alone_have_no_end_in_time() {
        let bounds = Bounds::new(None, NonZeroU64::new(5));
        assert_eq!(bounds.duration, None);
    }

    #[test]
    fn time_ends_a_stage() {
        let start = clock::now();
        let mut schedule = schedule(SECOND, Bounds::new(Some(2 * SECOND), None), start);
        assert_eq!(phase(schedule.turn(start)), Some(Phase::WarmUp));
        assert_eq!(phase(schedule.turn(start + SECOND)), Some(Phase::Measured));
        assert_eq!(phase(schedule.turn(start + SECOND * 29 / 10)), Some(Phase::Measured));
        assert_eq!(phase(schedule.turn(start + SECOND * 3)), None);
        let last = Some(start + SECOND * 28 / 10);
        assert_eq!(schedule.open_for(last, start + 5 * SECOND), 2 * SECOND);
        assert_eq!(schedule.open_for(last, start + 2 * SECOND), SECOND, "interrupted");
        assert!(schedule.window().contains(start + SECOND * 3));
        assert!(!schedule.window().contains(start + SECOND / 2));
        assert!(!schedule.window().contains(start + SECOND * 4));
    }

    #[test]
    fn a_number_of_requests_ends_a_stage_and_warming_up_costs_none() {
        let start = clock::now();
        let mut schedule = schedule(SECOND, Bounds::new(None, NonZeroU64::new(2)), start);
        let turns = [0, 0, 0, 1, 1, 1].map(|after| phase(schedule.turn(start + after * SECOND)));
        let (warm, measured) = (Some(Phase::WarmUp), Some(Phase::Measured));
        assert_eq!(turns, [warm, warm, warm, measured, measured, None]);
        assert_eq!(schedule.open_for(Some(start + 3 * SECOND), start + 4 * SECOND), 2 * SECOND);
    }

    #[test]
    fn whichever_comes_first_ends_a_stage() {
        let start = clock::now();
        let bounds = Bounds::new(Some(SECOND), NonZeroU64::new(2));
        let mut by_time = schedule(Duration::ZERO, bounds, start);
        assert_eq!(phase(by_time.turn(start + SECOND)), None);
        let mut by_count = schedule(Duration::ZERO, bounds, start);
        let turns = [0, 0, 0].map(|_| phase(by_count.turn(start)));
        assert_eq!(turns, [Some(Phase::Measured), Some(Phase::Measured), None]);
    }
}
