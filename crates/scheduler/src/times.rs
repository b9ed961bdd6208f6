//! How long batches take, by their rows: learned from those that ran.
//!
//! Plain state, which is given durations and never reads a clock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How many of a size's last times are kept: enough for a median that a few
/// disturbed runs don't change, few enough to follow changes.
const KEPT: usize = 9;

/// With this many times of its own, a size's estimate is trusted.
const TRUSTED: usize = 3;

/// Up to here each number of rows is a separate size; above, there are eight
/// sizes to an octave.
const EXACT: u32 = 64;

/// Times are kept for this many shapes, so that clients can't make them grow
/// without limit.
const SHAPES: usize = 64;

/// The times of batches of one shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchTimes {
    sizes: BTreeMap<u32, Recent>,
}

/// The last times of one size.
#[derive(Debug, Clone, Default)]
struct Recent {
    /// In the order of arrival; the oldest is overwritten.
    took: [Duration; KEPT],
    len: usize,
    next: usize,
    /// All are times of runs on the server's own account, on which no request
    /// waited, mostly alone on the machine. They count until there are others.
    own_account: bool,
    median: Duration,
    /// About the 90th percentile.
    high: Duration,
    mean: Duration,
}

impl BatchTimes {
    /// A batch of requests took this long.
    pub(crate) fn ran(&mut self, rows: u32, took: Duration) {
        let (key, took) = keyed(rows, took);
        let recent = self.sizes.entry(key).or_default();
        recent.add(took);
        if recent.own_account && recent.len > TRUSTED {
            // The first is from a run on the server's own account.
            let all = std::mem::take(recent).took;
            all[1..=TRUSTED].iter().for_each(|took| recent.add(*took));
        }
    }

    /// A run on the server's own account took this long. It counts if no
    /// request's batch has run.
    pub(crate) fn tried(&mut self, rows: u32, took: Duration) {
        let (key, took) = keyed(rows, took);
        let recent =
            self.sizes.entry(key).or_insert_with(|| Recent { own_account: true, ..Recent::default() });
        if recent.own_account && recent.len <= 1 {
            // The last one is the steadiest: libtorch optimises on the first
            // runs.
            *recent = Recent { own_account: true, ..Recent::default() };
            recent.add(took);
        }
    }

    /// The median duration of a batch of `rows`; `None` if nothing ran.
    pub(crate) fn expected(&self, rows: u32) -> Option<Duration> {
        between(rows, self.all())
    }

    /// About the 90th percentile of the duration of a batch of `rows`.
    pub(crate) fn at_most(&self, rows: u32) -> Option<Duration> {
        between(rows, self.sizes.iter().map(|(size, recent)| (*size, recent.high)))
    }

    /// The median by sizes that are known well enough to choose by.
    pub(crate) fn settled(&self, rows: u32) -> Option<Duration> {
        between(rows, self.trusted(u32::MAX))
    }

    /// The mean by the same sizes: what one of many different batches takes.
    pub(crate) fn on_average(&self, rows: u32) -> Option<Duration> {
        let trusted = self.sizes.iter().filter(|(_, recent)| recent.is_trusted());
        between(rows, trusted.map(|(size, recent)| (*size, recent.mean)))
    }

    /// The sizes up to `most` whose times are known well enough to choose by.
    pub(crate) fn trusted(&self, most: u32) -> impl DoubleEndedIterator<Item = (u32, Duration)> {
        let trusted = self.sizes.range(..=most).filter(|(_, recent)| recent.is_trusted());
        trusted.map(|(rows, recent)| (*rows, recent.median))
    }

    /// All sizes that ran, with their times, ascending.
    fn all(&self) -> impl Iterator<Item = (u32, Duration)> {
        self.sizes.iter().map(|(rows, recent)| (*rows, recent.median))
    }
}

/// Interpolates linearly between the sizes next to `rows`. Below the smallest
/// size it is that size's time; above the largest it grows in proportion.
fn between(rows: u32, sizes: impl Iterator<Item = (u32, Duration)>) -> Option<Duration> {
    let mut below: Option<(u32, Duration)> = None;
    for (size, took) in sizes {
        match below {
            _ if size < rows => below = Some((size, took)),
            None => return Some(took),
            Some(_) if size == rows => return Some(took),
            Some((low, from)) => {
                let share = f64::from(rows - low) / f64::from(size - low);
                let (from, to) = (from.as_secs_f64(), took.as_secs_f64());
                return Some(Duration::from_secs_f64((from + (to - from) * share).max(0.0)));
            }
        }
    }
    below.map(|(size, took)| took.mul_f64(f64::from(rows) / f64::from(size)))
}

impl Recent {
    fn add(&mut self, took: Duration) {
        self.took[self.next] = took;
        self.next = (self.next + 1) % KEPT;
        self.len = (self.len + 1).min(KEPT);
        let mut sorted = self.took;
        let sorted = &mut sorted[..self.len];
        sorted.sort_unstable();
        self.median = sorted[(self.len - 1) / 2];
        // Of few the largest, of all the second largest.
        self.high = sorted[self.len - 1 - usize::from(self.len == KEPT)];
        self.mean = sorted.iter().sum::<Duration>() / sorted.len() as u32;
    }

    fn is_trusted(&self) -> bool {
        self.own_account || self.len >= TRUSTED
    }
}

/// The size to which `rows` belong, and the time that it would have taken.
fn keyed(rows: u32, took: Duration) -> (u32, Duration) {
    let rows = rows.max(1);
    if rows <= EXACT {
        return (rows, took);
    }
    let step = (rows.next_power_of_two() / 16).max(1);
    let key = rows / step * step;
    (key, took.mul_f64(f64::from(key) / f64::from(rows)))
}

/// The times of a model's batches by shape, which matters as much as the rows.
#[derive(Debug, Default)]
pub(crate) struct ShapeTimes {
    shapes: HashMap<Box<[i64]>, Shape>,
    /// The last batches of any shape.
    pub(crate) all: BatchTimes,
    /// Counts the reported batches.
    moment: u64,
}

#[derive(Debug, Default)]
struct Shape {
    times: BatchTimes,
    /// When it was last reported.
    last: u64,
}

impl ShapeTimes {
    /// The times of batches of this shape.
    pub(crate) fn of(&self, shape: &[i64]) -> Option<&BatchTimes> {
        self.shapes.get(shape).map(|shape| &shape.times)
    }

    /// Adds to the times of a shape. If there are too many shapes, it drops the
    /// one that was not reported for longest.
    pub(crate) fn tell(&mut self, shape: &[i64], of: impl Fn(&mut BatchTimes)) {
        self.moment += 1;
        of(&mut self.all);
        if let Some(known) = self.shapes.get_mut(shape) {
            known.last = self.moment;
            of(&mut known.times);
            return;
        }
        if self.shapes.len() >= SHAPES {
            let oldest = self.shapes.iter().min_by_key(|(_, shape)| shape.last);
            let oldest = oldest.map(|(shape, _)| shape.clone());
            oldest.and_then(|shape| self.shapes.remove(&shape));
        }
        let mut new = Shape { last: self.moment, ..Shape::default() };
        of(&mut new.times);
        self.shapes.insert(Box::from(shape), new);
    }

    /// Forgets everything: the model was replaced.
    pub(crate) fn forget(&mut self) {
        self.shapes.clear();
        self.all = BatchTimes::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_single_odd_time_moves_nothing_and_a_change_is_followed() {
        let mut times = BatchTimes::default();
        assert_eq!(times.expected(4), None);
        for took in [20, 21, 19, 200, 20] {
            times.ran(4, took * MS);
        }
        assert_eq!((times.expected(4), times.at_most(4)), (Some(20 * MS), Some(200 * MS)));
        for _ in 0..4 {
            times.ran(4, 20 * MS);
        }
        assert_eq!(times.at_most(4), Some(21 * MS), "one of nine is odd");
        for _ in 0..5 {
            times.ran(4, 40 * MS);
        }
        assert_eq!(times.expected(4), Some(40 * MS));
    }

    #[test]
    fn what_lies_between_two_sizes_is_on_the_line_between_them() {
        let mut times = BatchTimes::default();
        times.ran(2, 10 * MS);
        assert_eq!((times.expected(1), times.expected(6)), (Some(10 * MS), Some(30 * MS)));
        times.ran(6, 18 * MS);
        let expected = [2, 3, 4, 6, 12].map(|rows| times.expected(rows).unwrap().as_micros());
        assert_eq!(expected, [10_000, 12_000, 14_000, 18_000, 36_000]);
    }

    #[test]
    fn runs_of_our_own_count_until_requests_tell() {
        let mut times = BatchTimes::default();
        times.tried(8, 900 * MS);
        times.tried(8, 80 * MS);
        assert_eq!(times.expected(8), Some(80 * MS), "the first run is libtorch's own affair");
        assert_eq!(times.trusted(8).collect::<Vec<_>>(), [(8, 80 * MS)]);
        for _ in 0..TRUSTED {
            times.ran(8, 120 * MS);
        }
        assert_eq!(times.expected(8), Some(120 * MS));
        times.tried(8, MS);
        assert_eq!(times.expected(8), Some(120 * MS));
        times.ran(16, 300 * MS);
        assert_eq!(times.trusted(64).count(), 1, "one time of a request's is none to choose by");
        assert_eq!(times.all().count(), 2);
    }

    #[test]
    fn large_sizes_share_a_few_places() {
        let mut times = BatchTimes::default();
        for rows in 1..=4096 {
            times.ran(rows, MS * rows);
        }
        assert!(times.all().count() <= 64 + 6 * 8 + 1, "{}", times.all().count());
        for rows in [65, 100, 1000, 4001] {
            let off = times.expected(rows).unwrap().as_secs_f64() / f64::from(rows) * 1e3;
            assert!((0.95..1.05).contains(&off), "{rows}: {off}");
        }
    }

    #[test]
    fn shapes_are_kept_apart_and_not_without_end() {
        let mut shapes = ShapeTimes::default();
        for shape in 0..1000 {
            shapes.tell(&[shape], |times| times.ran(1, MS));
            shapes.tell(&[-1], |times| times.ran(1, 7 * MS));
        }
        assert_eq!(shapes.shapes.len(), SHAPES);
        assert_eq!(shapes.of(&[-1]).unwrap().expected(1), Some(7 * MS));
        assert_eq!(shapes.of(&[3]).map(|times| times.expected(1)), None);
    }
}
