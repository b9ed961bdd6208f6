//! What is known of time has its say on a batch that the policy has formed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::batcher::{Batch, Batcher, CloseReason, Cut, Entry, Leaves, Waiting, earlier};
use super::forecast::{Ahead, Candidate, Late, Limits};
use super::levels::deadline;
use super::pick::{Members, Picked};
use crate::model_config::TimeoutAction;

/// Levels count from here; where there are none all are of level 0.
const HIGHEST_LEVEL: u64 = 1;

impl<T: Waiting> Batcher<T> {
    /// The same batch, or fewer of its requests, or a time to wait until. What
    /// the configuration prefers is left as it is.
    pub(super) fn revise(
        &self,
        shape: &[i64],
        bucket: &VecDeque<Entry<T>>,
        leaves: Leaves,
        now: Instant,
    ) -> Leaves {
        let Some(max) = self.policy.max_batch_size else { return leaves };
        // Where lengths differ, rows don't tell what a batch takes: `pick` chose by
        // that. And sizes that somebody chose are left alone.
        if self.policy.lengths.is_some() {
            return leaves;
        }
        if !self.policy.preferred_batch_sizes.is_empty() {
            return match leaves {
                Leaves::Now(cut) => Leaves::Now(cut),
                Leaves::At(due) => self.in_time(shape, bucket, due, now),
            };
        }
        match leaves {
            Leaves::Now(cut) => {
                let batch = self.candidate(shape, bucket, &cut, max);
                let size = self.forecast.size(&batch);
                if size < cut.rows {
                    return Leaves::Now(part(bucket, cut, size));
                }
                if cut.reason != CloseReason::Ready {
                    return Leaves::Now(cut);
                }
                match self.forecast.company(&batch, now) {
                    Some(due) => Leaves::At(due),
                    None => Leaves::Now(self.beside_another(bucket, &batch, cut, now)),
                }
            }
            Leaves::At(due) => match self.full_by_time(shape, bucket) {
                Some(cut) => Leaves::Now(cut),
                None => self.in_time(shape, bucket, due, now),
            },
        }
    }

    /// The batch of all that wait in this bucket, or a part of it where another
    /// instance will be free before it is done. Only those are left whom nobody
    /// who comes can overtake, and nobody twice: they are the first of the next
    /// batch.
    fn beside_another(
        &self,
        bucket: &VecDeque<Entry<T>>,
        batch: &Candidate<'_>,
        cut: Cut,
        now: Instant,
    ) -> Cut {
        // The other one may have other shapes to run first.
        if self.buckets.len() > 1 {
            return cut;
        }
        let limits = bucket.iter().filter_map(|entry| earlier(entry.deadline, entry.request.deadline()));
        let Some(size) = self.forecast.size_beside_another(batch, limits, now) else { return cut };
        let (count, rows) = first(bucket, &cut.members, size);
        // Requests of several rows may not come to the size that was reckoned with.
        if rows != size {
            return cut;
        }
        let may_stay = |Entry { rank, was_left, .. }: &Entry<T>| {
            !was_left && !rank.delayed && rank.level <= HIGHEST_LEVEL
        };
        if !cut.members.places().skip(count).filter_map(|place| bucket.get(place)).all(may_stay) {
            return cut;
        }
        Cut { leaves_some: true, ..part(bucket, cut, size) }
    }

    /// A delay that is configured ends where a target or a deadline wants it.
    fn in_time(&self, shape: &[i64], bucket: &VecDeque<Entry<T>>, due: Instant, now: Instant) -> Leaves {
        let Some(max) = self.policy.max_batch_size else { return Leaves::At(due) };
        let cut = self.all_that_fits(bucket, max, CloseReason::Delay);
        let batch = self.candidate(shape, bucket, &cut, max);
        match self.forecast.latest(&batch) {
            Some(latest) if latest <= now => {
                let chosen = !self.policy.preferred_batch_sizes.is_empty();
                let size = if chosen { cut.rows } else { self.forecast.size(&batch) };
                Leaves::Now(part(bucket, cut, size))
            }
            Some(latest) => Leaves::At(due.min(latest)),
            None => Leaves::At(due),
        }
    }

    fn all_that_fits(&self, bucket: &VecDeque<Entry<T>>, max: u32, reason: CloseReason) -> Cut {
        let Picked { members, .. } = self.policy.pick(bucket, max);
        let picked = members.places().filter_map(|place| bucket.get(place));
        let rows = picked.map(|entry| entry.request.rows()).sum();
        Cut::of(members, rows, reason)
    }

    /// The batch of this bucket that would be no better for further rows,
    /// though there is room for some.
    pub(super) fn full_by_time(&self, shape: &[i64], bucket: &VecDeque<Entry<T>>) -> Option<Cut> {
        let max = self.policy.max_batch_size.filter(|_| self.policy.lengths.is_none())?;
        let cut = self.all_that_fits(bucket, max, CloseReason::Efficient);
        let batch = self.candidate(shape, bucket, &cut, max);
        let (full, size) = (self.forecast.is_full(&batch, max), self.forecast.size(&batch));
        full.then(|| part(bucket, cut, size))
    }

    fn candidate<'a>(
        &self,
        shape: &'a [i64],
        bucket: &VecDeque<Entry<T>>,
        cut: &Cut,
        max: u32,
    ) -> Candidate<'a> {
        let room = u64::from(max) * self.forecast.free() as u64;
        let mut waiting = 0;
        for entry in bucket {
            if waiting >= room {
                break;
            }
            waiting += u64::from(entry.request.rows());
        }
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX).max(cut.rows);
        let members = || cut.members.places().filter_map(|place| bucket.get(place));
        let oldest = members().map(|entry| entry.request.arrival()).min().unwrap_or_else(cresset_clock::now);
        let deadline = members().filter_map(|entry| entry.request.deadline()).min();
        Candidate { shape, rows: cut.rows, waiting, oldest, deadline }
    }

    /// Why this request, which comes at its arrival's time, isn't worth taking
    /// in: it would be answered too late. `None` where it is, or nothing is
    /// known.
    #[must_use]
    pub fn late(&self, request: &T) -> Option<Late> {
        let level = self.policy.levels.level(request.priority());
        let policy = self.policy.levels.policy(level);
        let limit = deadline(policy, request.arrival(), request.timeout())
            .filter(|_| policy.timeout_action == TimeoutAction::Reject);
        let own = usize::from(self.buckets.contains_key(request.bucket()));
        let ahead = Ahead {
            rows: self.waiting_by_level.range(..=level).map(|(_, waiting)| waiting.rows).sum(),
            other_shapes: (self.buckets.len() - own) as u64,
        };
        // Rows don't tell what a batch of different lengths takes: by a guess
        // nobody is refused who asked for nothing but an answer in time.
        let answer = request.deadline().filter(|_| self.policy.lengths.is_none());
        let limits = Limits { run: limit, answer };
        self.forecast.late(request.bucket(), request.rows(), ahead, limits, request.arrival())
    }

    /// A part of a batch that had left leaves again.
    pub(super) fn again(&mut self, batch: &Batch<T>, now: Instant) {
        let arrivals = batch.requests.iter().map(Waiting::arrival);
        self.forecast.left(Box::from(batch.bucket()), batch.rows, batch.rows, arrivals, now);
    }

    /// A batch of `rows` that left has come back; it took so long where it ran
    /// undisturbed from start to end.
    pub fn done(&mut self, shape: &[i64], rows: u32, took: Option<Duration>) {
        self.forecast.done(shape, rows, took);
    }

    /// A run of `rows` of this shape on the server's own account took so long.
    pub fn tried(&mut self, shape: &[i64], rows: u32, took: Duration) {
        self.forecast.tried(shape, rows, took);
    }

    /// Sizes above `largest` are held back until they have run, as
    /// [`Batcher::tried`] says, or [`Batcher::all_warm`] is called.
    pub fn hold_back_above(&mut self, largest: u32) {
        self.forecast.warmth().begin(largest);
    }

    /// Every size may be run.
    pub fn all_warm(&mut self) {
        self.forecast.warmth().done();
    }

    /// The model became another, whose times are its own.
    pub fn forget_times(&mut self) {
        self.forecast.forget_times();
    }
}

/// The first requests of a batch, of at most `rows` together; one at least.
fn part<T: Waiting>(bucket: &VecDeque<Entry<T>>, cut: Cut, rows: u32) -> Cut {
    if rows >= cut.rows {
        return cut;
    }
    let (count, sum) = first(bucket, &cut.members, rows);
    let mut members = cut.members;
    members.truncate(count);
    Cut { could: cut.could, ..Cut::of(members, sum, CloseReason::Efficient) }
}

/// How many of the members have at most `rows` together, one at least, and how
/// many they have.
fn first<T: Waiting>(bucket: &VecDeque<Entry<T>>, members: &Members, rows: u32) -> (usize, u32) {
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
