//! How large a batch should be, by the duration of each size: pure functions.
//!
//! On processors a larger batch isn't always better. Beyond some size each row
//! takes longer, because the data between layers no longer fits into the
//! caches.

use std::time::Duration;

use super::times::BatchTimes;
use crate::ablation::{Heuristic, off};

/// A size is better than another if a row of it takes less by this share: a
/// smaller difference may be noise.
const BEYOND_NOISE: f64 = 0.04;

/// Shorter batches are left whole. The cost of a batch outside of its model,
/// waking a thread and taking a lock, is as large as the possible gain.
const WORTH_IT: Duration = Duration::from_millis(1);

/// Instances that share work may take this much longer in total, if that ends
/// it sooner.
const SHARED_COST: f64 = 1.2;

/// The size at which each of at most `rows` rows takes least. It is `rows`
/// itself if that is as good, or if nothing is known. Of sizes as good as the
/// best it is the smallest, because its answers come soonest.
pub(crate) fn efficient(times: &BatchTimes, rows: u32) -> u32 {
    if off(Heuristic::Sizes) {
        return rows;
    }
    let Some(whole) = times.settled(rows).filter(|whole| *whole >= WORTH_IT) else { return rows };
    let a_row = |(size, took): (u32, Duration)| took.as_secs_f64() / f64::from(size);
    let best = times.trusted(rows).map(a_row).fold(f64::INFINITY, f64::min);
    if best * (1.0 + BEYOND_NOISE) >= a_row((rows, whole)) {
        return rows;
    }
    let good = best * (1.0 + BEYOND_NOISE / 2.0);
    times.trusted(rows).find(|size| a_row(*size) <= good).map_or(rows, |(size, _)| size)
}

/// How many of `rows` one of `free` idle instances takes; `most` is its
/// maximum.
pub(crate) fn shared(times: &BatchTimes, rows: u32, free: usize, most: u32) -> u32 {
    let most = most.max(1);
    let free = u32::try_from(free).unwrap_or(u32::MAX);
    let needed = rows.div_ceil(most);
    if needed > free {
        return most.min(rows);
    }
    // As many batches as necessary, and more if that is worth it.
    let took = |parts: u32| times.settled(rows.div_ceil(parts)).map(|took| took.mul_f64(f64::from(parts)));
    let worth = |parts: &u32| match (took(needed), took(*parts)) {
        (Some(few), Some(many)) => few >= WORTH_IT * needed && many <= few.mul_f64(SHARED_COST),
        _ => false,
    };
    let parts = (needed + 1..=free.min(rows)).rev().find(worth).unwrap_or(needed);
    rows.div_ceil(parts.max(1))
}

/// How many of `rows`, which would all fit into one batch, an instance takes if
/// another is free in `soon` and will take the rest. It is the number for which
/// the later of the two ends soonest. It is `rows` if sharing gains too little,
/// or if too little is known.
///
/// With few clients one instance would otherwise run nearly all requests, and
/// the other one only the one left over, again and again.
pub(crate) fn left_for_another(times: &BatchTimes, rows: u32, soon: Duration) -> u32 {
    let Some(whole) = times.settled(rows).filter(|whole| *whole >= WORTH_IT && soon < *whole) else {
        return rows;
    };
    // When the later ends of `mine` rows here and the others there, if that is
    // worth it.
    let ends = |mine: u32| {
        let (here, there) = (times.settled(mine)?, times.settled(rows - mine)?);
        let last = here.max(soon + there);
        (last < whole && here + there <= whole.mul_f64(SHARED_COST)).then_some(last)
    };
    // The fewest rows here that end no sooner than the others there.
    let (mut fewer, mut enough) = (0, rows);
    while enough - fewer > 1 {
        let middle = fewer + (enough - fewer) / 2;
        let here_is_last = times.settled(middle) >= times.settled(rows - middle).map(|there| soon + there);
        *(if here_is_last { &mut enough } else { &mut fewer }) = middle;
    }
    let sides = [fewer, enough].into_iter().filter(|mine| (1..rows).contains(mine));
    let best = sides.filter_map(|mine| Some((ends(mine)?, mine))).min();
    best.map_or(rows, |(_, mine)| mine)
}

/// The largest size up to `most` that is expected to take no longer than
/// `time`. `None` if one row already takes longer, or if nothing is known.
pub(crate) fn within(times: &BatchTimes, time: Duration, most: u32) -> Option<u32> {
    let fits = |rows: u32| times.at_most(rows).is_some_and(|took| took <= time);
    if !fits(1) {
        return None;
    }
    let (mut good, mut bad) = (1, most.saturating_add(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(each: &[(u32, u64)]) -> BatchTimes {
        let mut times = BatchTimes::default();
        for (rows, microseconds) in each {
            for _ in 0..3 {
                times.ran(*rows, Duration::from_micros(*microseconds));
            }
        }
        times
    }

    /// A measured ResNet-18 on one thread.
    fn resnet() -> BatchTimes {
        times(&[(1, 37_000), (2, 65_000), (4, 121_000), (8, 237_000), (16, 530_000), (32, 1_118_000)])
    }

    /// A model that gains from every row.
    fn steep() -> BatchTimes {
        times(&[(1, 5_000), (8, 12_000), (32, 36_000)])
    }

    #[test]
    fn a_batch_is_no_larger_than_pays() {
        let chosen = [1, 4, 8, 9, 16, 32, 64].map(|rows| efficient(&resnet(), rows));
        assert_eq!(chosen, [1, 4, 8, 9, 8, 8, 8]);
        assert_eq!([1, 8, 20, 32, 64].map(|rows| efficient(&steep(), rows)), [1, 8, 20, 32, 64]);
        assert_eq!(efficient(&BatchTimes::default(), 16), 16, "nothing is known");
    }

    #[test]
    fn what_differs_by_noise_is_left_whole() {
        assert_eq!(efficient(&times(&[(8, 80_000), (16, 164_000)]), 16), 16);
        assert_eq!(efficient(&times(&[(8, 80_000), (16, 168_000)]), 16), 8);
        // Of two equally good sizes, the smaller.
        assert_eq!(efficient(&times(&[(4, 40_500), (8, 80_000), (16, 190_000)]), 16), 4);
    }

    #[test]
    fn batches_that_take_next_to_nothing_are_never_cut() {
        assert_eq!(efficient(&times(&[(1, 20), (8, 900)]), 8), 8);
        assert_eq!(shared(&times(&[(4, 300), (8, 600)]), 8, 4, 8), 8);
    }

    #[test]
    fn free_instances_share_what_waits() {
        let resnet = resnet();
        assert_eq!(shared(&resnet, 16, 2, 8), 8);
        assert_eq!(shared(&resnet, 12, 2, 8), 6, "as much for each");
        assert_eq!(shared(&resnet, 8, 2, 8), 4);
        assert_eq!(shared(&resnet, 2, 2, 8), 1, "two ends sooner than one of two, at 14 % more");
        assert_eq!(shared(&resnet, 40, 2, 8), 8, "there is enough for all");
        assert_eq!(shared(&resnet, 1, 4, 8), 1);
        // If a larger batch gains much, one instance runs it.
        assert_eq!(shared(&steep(), 4, 2, 32), 4);
        assert_eq!(shared(&steep(), 32, 2, 32), 16, "5 + 0.97 * 16 twice is hardly more than once with 32");
        assert_eq!(shared(&BatchTimes::default(), 16, 2, 16), 16, "nothing is known");
    }

    #[test]
    fn some_are_left_for_an_instance_that_will_be_free_soon() {
        let resnet = resnet();
        let soon = |rows, ms| left_for_another(&resnet, rows, Duration::from_millis(ms));
        // 121 ms, and 37 + 65.
        assert_eq!(soon(6, 37), 4);
        assert_eq!([0, 20, 60, 100, 150].map(|ms| soon(6, ms)), [3, 3, 4, 5, 6]);
        assert_eq!([0, 20, 40].map(|ms| soon(2, ms)), [1, 1, 2], "two rows by one take 65");
        assert_eq!([0, 1].map(|rows| soon(rows, 0)), [0, 1]);
        // If a larger batch gains much, one instance runs it.
        assert_eq!(left_for_another(&steep(), 4, Duration::ZERO), 4);
        assert_eq!(left_for_another(&times(&[(4, 300), (8, 600)]), 8, Duration::ZERO), 8, "worth nothing");
        assert_eq!(left_for_another(&BatchTimes::default(), 8, Duration::ZERO), 8, "nothing is known");
    }

    #[test]
    fn a_size_keeps_to_its_time() {
        let steep = steep();
        let chosen = [4, 5, 8, 12, 36, 90].map(|ms| within(&steep, Duration::from_millis(ms), 32));
        assert_eq!(chosen, [None, Some(1), Some(4), Some(8), Some(32), Some(32)]);
        assert_eq!(within(&BatchTimes::default(), Duration::MAX, 8), None);
    }
}
