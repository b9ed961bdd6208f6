//! What is measured, one stage after another, and when each ends.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use super::load::{Arrivals, Load, Part};
use super::search::Search;

/// The duration of a measurement if no bound is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// A load that never becomes stable ends after this.
const LONGEST_UNSTABLE: Duration = Duration::from_secs(60);

/// Stages, run one after another.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// Known before the first begins.
    Fixed(Vec<Stage>),
    /// Each stage follows from the measurement of the last one.
    Search(Search),
}

/// One load, held until its bounds are met.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub(super) load: Load,
    /// How long the load runs before anything counts.
    pub(super) warm_up: Duration,
    pub(super) bounds: Bounds,
}

/// When a stage ends: at whichever bound is reached first. At least one is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Of each part of the stage.
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<NonZeroU64>,
    pub(super) stable: Option<Stable>,
}

/// Ends a stage when windows in a row agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stable {
    /// How long each window is.
    pub(super) window: Duration,
    /// How far a window may lie from their mean, as a part of the mean.
    pub(super) tolerance: f64,
}

impl Plan {
    /// A closed loop at each concurrency in turn.
    pub(super) fn closed(
        levels: impl IntoIterator<Item = NonZeroUsize>,
        warm_up: Duration,
        bounds: Bounds,
    ) -> Self {
        let stage = |concurrency| Stage { load: Load::closed(concurrency), warm_up, bounds };
        Self::Fixed(levels.into_iter().map(stage).collect())
    }

    /// An open loop at each rate in turn.
    pub(super) fn open(
        rates: impl IntoIterator<Item = f64>,
        arrivals: Arrivals,
        warm_up: Duration,
        bounds: Bounds,
    ) -> Self {
        let stage = |rate| Stage { load: Load::rate(rate, arrivals), warm_up, bounds };
        Self::Fixed(rates.into_iter().map(stage).collect())
    }

    /// One open loop whose rate changes while it runs: the backlog of the
    /// server at the end of one part is still there in the next.
    pub(super) fn parts(parts: Vec<Part>, arrivals: Arrivals, warm_up: Duration, bounds: Bounds) -> Self {
        Self::Fixed(vec![Stage { load: Load::Open { parts, arrivals }, warm_up, bounds }])
    }

    /// How many stages there will be, if that is known.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Fixed(stages) => Some(stages.len()),
            Self::Search(_) => None,
        }
    }

    /// The stage of this number.
    pub(super) fn stage(&self, number: usize) -> Option<Stage> {
        match self {
            Self::Fixed(stages) => stages.get(number).cloned(),
            Self::Search(search) => search.next(),
        }
    }

    /// Records whether the objective held in the stage that has just ended;
    /// `None` without an objective.
    pub(super) fn learn(&mut self, held: Option<bool>) {
        match self {
            Self::Fixed(_) => {}
            Self::Search(search) => search.learn(held.unwrap_or(false)),
        }
    }
}

impl Stage {
    /// How often its counts are looked at while it runs: about fifty times.
    pub(super) fn interval(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(10);
        match (self.bounds.stable, self.bounds.duration) {
            (Some(stable), _) => stable.window,
            (None, Some(duration)) => (duration * self.load.parts() as u32 / 50).clamp(SHORTEST, LONGEST),
            (None, None) => Duration::from_secs(1),
        }
    }
}

impl Bounds {
    /// The given bounds; ten seconds if there are none.
    pub(super) fn new(
        duration: Option<Duration>,
        requests: Option<NonZeroU64>,
        stable: Option<Stable>,
    ) -> Self {
        let duration = match (duration, requests, stable) {
            (None, None, None) => Some(DEFAULT_DURATION),
            (None, None, Some(_)) => Some(LONGEST_UNSTABLE),
            (duration, _, _) => duration,
        };
        Self { duration, requests, stable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_stage() {
        let levels = [1, 2, 8].map(|level| NonZeroUsize::new(level).unwrap());
        let plan = Plan::closed(levels, Duration::ZERO, Bounds::new(None, None, None));
        let loads: Vec<_> = (0..).map_while(|number| plan.stage(number)).map(|stage| stage.load).collect();
        assert_eq!(loads, levels.map(Load::closed));
        assert_eq!((plan.len(), plan.stage(0).unwrap().bounds.duration), (Some(3), Some(DEFAULT_DURATION)));
    }

    #[test]
    fn requests_alone_have_no_end_in_time() {
        assert_eq!(Bounds::new(None, NonZeroU64::new(5), None).duration, None);
        let stable = Stable { window: Duration::from_secs(1), tolerance: 0.1 };
        assert_eq!(Bounds::new(None, None, Some(stable)).duration, Some(LONGEST_UNSTABLE));
    }
}
