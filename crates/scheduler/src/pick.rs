//! Chooses the requests of a bucket that run together with its first one.

use super::batching_policy::BatchingPolicy;
use super::members::Members;
use super::padding_cost::PaddingCostModel;
use super::request::Schedulable;
use super::waiting::Bucket;
use super::{Lengths, RowSize};

/// How many requests are considered for each row of the largest batch, if
/// lengths differ. It is large enough for near neighbours in length, and small
/// enough for a quick decision, however many wait.
const LOOK_AHEAD: usize = 16;

/// If more than this wait, only the older half may join. Otherwise requests of
/// unusual lengths would be overtaken by all later ones, until they are the
/// first.
const OVERTAKING: usize = 8;

/// Requests of one bucket that would run together; never empty.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) members: Members,
    /// Whether no further request would fit.
    pub(crate) full: bool,
}

/// A batch under construction: its size so far, and its limits.
#[derive(Debug)]
struct Group {
    max_rows: u32,
    max_elements: u64,
    rows: u32,
    /// The padded length of all its rows.
    length: u32,
    /// Elements of a row at each length; the same for the whole bucket.
    size: RowSize,
}

/// The requests of a bucket, which is not empty, that would run together with
/// its first one in a batch of at most `max_rows`.
pub(crate) fn pick<T: Schedulable>(
    policy: &BatchingPolicy,
    bucket: &Bucket<T>,
    max_rows: u32,
    padding: &PaddingCostModel,
) -> Picked {
    let Some(first) = bucket.front() else { return Picked { members: Members::First(0), full: false } };
    let mut group = Group::of(policy, &first.request, max_rows);
    match &policy.lengths {
        Some(lengths) => group.join_by_length(bucket, lengths, padding),
        None => group.join_in_order(bucket),
    }
}

impl Group {
    /// The first request is always taken: a larger one was refused before, or
    /// runs as it is.
    fn of<T: Schedulable>(policy: &BatchingPolicy, first: &T, max_rows: u32) -> Self {
        let size = first.size();
        let length = policy.lengths.map_or(0, |lengths| lengths.padded(size.length));
        let max_elements = policy.max_elements.unwrap_or(u64::MAX);
        Self { max_rows, max_elements, rows: first.rows(), length, size }
    }

    /// Whether `rows` more fit if the batch is padded to `length`.
    fn has_room(&self, rows: u32, length: u32) -> bool {
        let Some(rows) = self.rows.checked_add(rows).filter(|rows| *rows <= self.max_rows) else {
            return false;
        };
        u64::from(rows).saturating_mul(self.size.elements(length)) <= self.max_elements
    }

    /// Requests in the order of arrival, as long as they fit.
    fn join_in_order<T: Schedulable>(&mut self, bucket: &Bucket<T>) -> Picked {
        let mut count = 1;
        for entry in bucket.iter().skip(1) {
            let rows = entry.request.rows();
            if !self.has_room(rows, 0) {
                return Picked { members: Members::First(count), full: true };
            }
            self.rows += rows;
            count += 1;
        }
        Picked { members: Members::First(count), full: !self.has_room(1, 0) }
    }

    /// Requests that add the least padding, level by level.
    fn join_by_length<T: Schedulable>(
        &mut self,
        bucket: &Bucket<T>,
        lengths: &Lengths,
        padding_cost: &PaddingCostModel,
    ) -> Picked {
        let older = (bucket.len() / 2).max(OVERTAKING);
        let reach = (self.max_rows as usize).saturating_mul(LOOK_AHEAD).min(older);
        let joins =
            |padding: u64, growth: u64| lengths.tolerates(padding, growth) && padding_cost.is_worth(padding);
        let mut picked = Picked { members: Members::First(1), full: false };
        let mut places = vec![0];
        let waiting: Vec<JoiningRequest> = bucket
            .iter()
            .enumerate()
            .take(reach)
            .skip(1)
            .map(|(place, entry)| JoiningRequest {
                place,
                level: (entry.rank.level, entry.rank.delayed),
                length: lengths.padded(entry.request.size().length),
                rows: entry.request.rows(),
            })
            .collect();
        for level in waiting.chunk_by(|one, other| one.level == other.level) {
            picked.full |= self.join_level(level, joins, &mut places);
        }
        picked.full |= !self.has_room(1, self.length);
        picked.members = Members::At(places);
        picked
    }

    /// Joins requests of one level. Shorter requests than the batch are tried
    /// from the longest down, longer ones from the shortest up. Of the two, the
    /// one with less padding per row is next; of equal ones the first to
    /// arrive. `joins` tells whether the padding is worth it for the batch's
    /// growth. Returns whether a request didn't fit.
    fn join_level(
        &mut self,
        level: &[JoiningRequest],
        joins: impl Fn(u64, u64) -> bool,
        places: &mut Vec<usize>,
    ) -> bool {
        let (mut shorter, mut longer): (Vec<&JoiningRequest>, Vec<&JoiningRequest>) =
            level.iter().partition(|candidate| candidate.length <= self.length);
        // The next one is the last.
        shorter.sort_unstable_by_key(|candidate| (candidate.length, usize::MAX - candidate.place));
        longer.sort_unstable_by_key(|candidate| (u32::MAX - candidate.length, usize::MAX - candidate.place));
        let mut left_out = false;
        while self.rows < self.max_rows {
            let candidates = match (shorter.last(), longer.last()) {
                (None, None) => break,
                (Some(_), None) => &mut shorter,
                (None, Some(_)) => &mut longer,
                (Some(below), Some(above)) if self.padding_per_row(below) <= self.padding_per_row(above) => {
                    &mut shorter
                }
                (Some(_), Some(_)) => &mut longer,
            };
            let Some(candidate) = candidates.pop() else { break };
            let length = self.length.max(candidate.length);
            if !self.has_room(candidate.rows, length) {
                left_out = true;
            } else if !joins(self.padding(candidate), self.growth(candidate)) {
                // All behind it are further away in length.
                candidates.clear();
            } else {
                self.length = length;
                self.rows += candidate.rows;
                places.push(candidate.place);
            }
        }
        left_out
    }

    /// How much larger a candidate would make the batch, in units of length.
    fn growth(&self, candidate: &JoiningRequest) -> u64 {
        let whole = |rows: u32, length: u32| u64::from(rows) * u64::from(length);
        let length = self.length.max(candidate.length);
        let grown = whole(self.rows, length).saturating_add(whole(candidate.rows, length));
        grown.saturating_sub(whole(self.rows, self.length))
    }

    /// How much of the growth would be padding.
    fn padding(&self, candidate: &JoiningRequest) -> u64 {
        self.growth(candidate).saturating_sub(u64::from(candidate.rows) * u64::from(candidate.length))
    }

    /// The padding for each of its rows.
    fn padding_per_row(&self, candidate: &JoiningRequest) -> u64 {
        self.padding(candidate) / u64::from(candidate.rows.max(1))
    }
}

/// A request that may join.
#[derive(Debug)]
struct JoiningRequest {
    place: usize,
    level: (u64, bool),
    /// Rounded as if it were alone.
    length: u32,
    rows: u32,
}
