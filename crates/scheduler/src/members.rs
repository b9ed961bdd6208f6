//! The requests of a bucket that a batch takes.

use std::collections::VecDeque;

use super::request::{CloseReason, Schedulable};
use super::waiting::Bucket;

/// A selection of a bucket's requests.
#[derive(Debug)]
pub(crate) enum Members {
    /// The first ones, this many.
    First(usize),
    /// The ones at these places, in the order in which they joined. The first
    /// place is always among them.
    At(Vec<usize>),
}

impl Members {
    /// Keeps `count` of them, the ones that joined first.
    pub(crate) fn truncate(&mut self, count: usize) {
        match self {
            Self::First(all) => *all = count.min(*all),
            Self::At(places) => places.truncate(count),
        }
    }

    /// Their places, in the order in which they joined.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        let (first, at) = match self {
            Self::First(count) => (*count, &[][..]),
            Self::At(places) => (0, places.as_slice()),
        };
        (0..first).chain(at.iter().copied())
    }

    /// Takes them out of the bucket, in the bucket's order.
    pub(crate) fn take_out<T>(self, bucket: &mut VecDeque<T>) -> Vec<T> {
        match self {
            Self::First(count) => bucket.drain(..count.min(bucket.len())).collect(),
            Self::At(mut places) => {
                places.sort_unstable();
                // From the back, so that the places before stay valid.
                let mut taken: Vec<T> =
                    places.iter().rev().filter_map(|place| bucket.remove(*place)).collect();
                taken.reverse();
                taken
            }
        }
    }
}

/// The requests of a bucket that leave as a batch.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) members: Members,
    pub(crate) rows: u32,
    /// How many rows it would have if sizes had no cost.
    pub(crate) could: u32,
    pub(crate) reason: CloseReason,
    /// The other requests of its bucket are left for another instance.
    pub(crate) leaves_some: bool,
}

impl Cut {
    pub(crate) fn new(members: Members, rows: u32, reason: CloseReason) -> Self {
        Self { members, rows, could: rows, reason, leaves_some: false }
    }

    /// Its first requests, of at most `rows` rows together, but at least one.
    pub(crate) fn part<T: Schedulable>(self, bucket: &Bucket<T>, rows: u32) -> Self {
        if rows >= self.rows {
            return self;
        }
        let (count, sum) = first(bucket, &self.members, rows);
        let mut members = self.members;
        members.truncate(count);
        Self { could: self.could, ..Self::new(members, sum, CloseReason::Efficient) }
    }
}

/// How many of the members have at most `rows` rows together, at least one, and
/// how many rows these have.
pub(crate) fn first<T: Schedulable>(bucket: &Bucket<T>, members: &Members, rows: u32) -> (usize, u32) {
    let (mut count, mut sum) = (0, 0_u32);
    for entry in members.places().filter_map(|place| bucket.get(place)) {
        let more = sum.saturating_add(entry.request.rows());
        if count > 0 && more > rows {
            break;
        }
        sum = more;
        count += 1;
    }
    (count, sum)
}
