//! Changes a batch that the policy has formed, by the forecast.

use std::time::Instant;

use super::batcher::Batcher;
use super::batching_policy::Leaves;
use super::earlier;
use super::forecast::BatchCandidate;
use super::members::{Cut, first};
use super::request::{CloseReason, Schedulable};
use super::waiting::{Bucket, Entry};

/// Levels count from here; without levels all requests have level 0.
const HIGHEST_LEVEL: u64 = 1;

impl<T: Schedulable> Batcher<T> {
    /// The same batch, or fewer of its requests, or a time to wait until.
    /// Preferred sizes of the configuration are kept.
    pub(crate) fn adjust_for_latency(
        &self,
        shape: &[i64],
        bucket: &Bucket<T>,
        leaves: Leaves,
        now: Instant,
    ) -> Leaves {
        let batching = &self.policy.batching;
        // If lengths differ, the rows don't determine a batch's duration:
        // `pick` has chosen by length.
        if batching.max_batch_size.is_none() || batching.lengths.is_some() {
            return leaves;
        }
        // Sizes named in the configuration are kept.
        if !batching.preferred_batch_sizes.is_empty() {
            return match leaves {
                Leaves::Now(cut) => Leaves::Now(cut),
                Leaves::At(due) => self.in_time(shape, bucket, due, now),
            };
        }
        match leaves {
            Leaves::Now(cut) => {
                let batch = self.candidate(shape, bucket, &cut);
                let size = self.forecast().size(&batch);
                if size < cut.rows {
                    return Leaves::Now(cut.part(bucket, size));
                }
                if cut.reason != CloseReason::Ready {
                    return Leaves::Now(cut);
                }
                match self.forecast().coalesce_until(&batch, now) {
                    Some(due) => Leaves::At(due),
                    None => Leaves::Now(self.defer_to_other(bucket, &batch, cut, now)),
                }
            }
            Leaves::At(due) => match self.full_by_time(shape, bucket) {
                Some(cut) => Leaves::Now(cut),
                None => self.in_time(shape, bucket, due, now),
            },
        }
    }

    /// The batch of all waiting requests in this bucket. Or a part of it, if
    /// another instance will be free before the batch is done. The rest
    /// consists only of requests that no later one can overtake, and that
    /// haven't been left before: they are the first of the next batch.
    fn defer_to_other(&self, bucket: &Bucket<T>, batch: &BatchCandidate<'_>, cut: Cut, now: Instant) -> Cut {
        // The other instance may have other shapes to run first.
        if self.waiting.other_shapes(batch.shape) > 0 {
            return cut;
        }
        let limits = bucket.iter().filter_map(|entry| earlier(entry.deadline, entry.request.deadline()));
        let Some(size) = self.forecast().size_beside_another(batch, limits, now) else { return cut };
        let (count, rows) = first(bucket, &cut.members, size);
        // Requests of several rows may not add up to the planned size.
        if rows != size {
            return cut;
        }
        let may_stay = |Entry { rank, was_left, .. }: &Entry<T>| {
            !was_left && !rank.delayed && rank.level <= HIGHEST_LEVEL
        };
        if !cut.members.places().skip(count).filter_map(|place| bucket.get(place)).all(may_stay) {
            return cut;
        }
        Cut { leaves_some: true, ..cut.part(bucket, size) }
    }

    /// A configured delay ends early if a target or a deadline requires it.
    fn in_time(&self, shape: &[i64], bucket: &Bucket<T>, due: Instant, now: Instant) -> Leaves {
        let batching = &self.policy.batching;
        let cut = batching.all_that_fits(bucket, &self.learned.padding, CloseReason::Delay);
        let Some(cut) = cut else { return Leaves::At(due) };
        let batch = self.candidate(shape, bucket, &cut);
        match self.forecast().latest(&batch) {
            Some(latest) if latest <= now => {
                let chosen = !batching.preferred_batch_sizes.is_empty();
                let size = if chosen { cut.rows } else { self.forecast().size(&batch) };
                Leaves::Now(cut.part(bucket, size))
            }
            Some(latest) => Leaves::At(due.min(latest)),
            None => Leaves::At(due),
        }
    }

    /// The batch of this bucket, if further rows would not improve it, although
    /// there is room for some.
    pub(crate) fn full_by_time(&self, shape: &[i64], bucket: &Bucket<T>) -> Option<Cut> {
        let batching = &self.policy.batching;
        let max = batching.max_batch_size.filter(|_| batching.lengths.is_none())?;
        let cut = batching.all_that_fits(bucket, &self.learned.padding, CloseReason::Efficient)?;
        let batch = self.candidate(shape, bucket, &cut);
        let (full, size) = (self.forecast().is_full(&batch, max), self.forecast().size(&batch));
        full.then(|| cut.part(bucket, size))
    }

    /// The facts for a forecast about a batch that could leave this bucket.
    fn candidate<'a>(&self, shape: &'a [i64], bucket: &Bucket<T>, cut: &Cut) -> BatchCandidate<'a> {
        let max = self.policy.batching.max_batch_size.unwrap_or(1);
        let room = u64::from(max) * self.forecast().free() as u64;
        let mut waiting = 0;
        for entry in bucket {
            if waiting >= room {
                break;
            }
            waiting += u64::from(entry.request.rows());
        }
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX).max(cut.rows);
        let members = || cut.members.places().filter_map(|place| bucket.get(place));
        let oldest = members().map(|entry| entry.request.arrival()).min();
        let deadline = members().filter_map(|entry| entry.request.deadline()).min();
        BatchCandidate { shape, rows: cut.rows, waiting, oldest, deadline }
    }
}
