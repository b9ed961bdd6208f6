//! Layouts of a version on the processors, and the choice among the measured
//! ones: pure functions.

use std::fmt;
use std::time::Duration;

use cresset_scheduler::SHARE_OF_TARGET;

/// More threads for an instance must bring this much: threads that wait for
/// each other inside an operation suffer most from a busy neighbour.
const WORTH_IT: f64 = 1.1;

/// So many instances, each with so many intra-op threads: `2x1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadLayout {
    pub(super) instances: usize,
    pub(super) threads: usize,
}

impl fmt::Display for ThreadLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.instances, self.threads)
    }
}

/// What a layout was measured to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measurement {
    pub(super) layout: ThreadLayout,
    /// Runs a second of all its instances together.
    pub(super) rate: f64,
    /// How long a run of a single row took while the other instances ran; zero if
    /// that wasn't measured.
    pub(super) took: Duration,
}

/// The layouts to measure, the fewest threads for an instance first. `instances`
/// is their number if that is fixed.
pub(super) fn layouts(processors: usize, instances: Option<usize>) -> Vec<ThreadLayout> {
    let most = instances.map_or(processors, |instances| processors / instances.max(1));
    let powers = std::iter::successors(Some(1), |threads: &usize| threads.checked_mul(2));
    let mut threads: Vec<usize> = powers.take_while(|threads| *threads < most).collect();
    threads.push(most.max(1));
    let of = |threads| ThreadLayout { instances: instances.unwrap_or_else(|| processors / threads), threads };
    threads.into_iter().map(of).collect()
}

/// The layout to take:
///
/// - of the layouts that are quick enough for the latency target, the one with
///   the most runs a second; of several that are about as good, the one with the
///   fewest threads;
/// - if none is quick enough, the quickest.
pub(super) fn choose(measured: &[Measurement], target: Option<Duration>) -> ThreadLayout {
    let quick = |one: &&Measurement| target.is_none_or(|target| one.took <= target / SHARE_OF_TARGET);
    let best = measured.iter().filter(quick).map(|one| one.rate).fold(0.0, f64::max);
    let good = measured.iter().filter(quick).find(|one| one.rate * WORTH_IT >= best);
    let quickest = || measured.iter().min_by_key(|one| one.took);
    good.or_else(quickest).map_or(ThreadLayout { instances: 1, threads: 1 }, |one| one.layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measured(instances: usize, threads: usize, rate: f64, took: Duration) -> Measurement {
        Measurement { layout: ThreadLayout { instances, threads }, rate, took }
    }

    #[test]
    fn no_layout_has_more_threads_than_there_are_processors() {
        let shown = |processors, instances| {
            let all: Vec<String> = layouts(processors, instances).iter().map(ToString::to_string).collect();
            all.join(" ")
        };
        assert_eq!(shown(1, None), "1x1");
        assert_eq!(shown(2, None), "2x1 1x2");
        assert_eq!(shown(12, None), "12x1 6x2 3x4 1x8 1x12");
        assert_eq!(shown(12, Some(2)), "2x1 2x2 2x4 2x6", "as many as are configured");
        assert_eq!(shown(2, Some(3)), "3x1");
        assert_eq!(shown(4, Some(1)), "1x1 1x2 1x4");
        for processors in 1..70 {
            for layout in layouts(processors, None) {
                assert!(layout.instances >= 1 && layout.instances * layout.threads <= processors, "{layout}");
            }
        }
    }

    #[test]
    fn the_fastest_is_chosen_and_more_threads_only_if_they_bring_something() {
        let both = |one: f64, other: f64| {
            let measured = [measured(2, 1, one, 40 * MS), measured(1, 2, other, 22 * MS)];
            choose(&measured, None).to_string()
        };
        assert_eq!(both(100.0, 80.0), "2x1");
        assert_eq!(both(100.0, 105.0), "2x1", "that may be noise");
        assert_eq!(both(100.0, 120.0), "1x2");
        // About as good as the best, not as the first.
        let three =
            [measured(4, 1, 100.0, 40 * MS), measured(2, 2, 145.0, 22 * MS), measured(1, 4, 150.0, 12 * MS)];
        assert_eq!(choose(&three, None).to_string(), "2x2");
    }

    #[test]
    fn a_latency_target_rules_out_what_takes_longer_than_its_half() {
        let three =
            [measured(4, 1, 150.0, 40 * MS), measured(2, 2, 140.0, 22 * MS), measured(1, 4, 100.0, 12 * MS)];
        let chosen = [100, 80, 79, 44, 43, 24, 10].map(|ms| choose(&three, Some(ms * MS)).to_string());
        assert_eq!(
            chosen,
            ["4x1", "4x1", "2x2", "2x2", "1x4", "1x4", "1x4"],
            "the quickest if none is in time"
        );
    }
}
