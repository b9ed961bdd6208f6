//! How many rows a device has memory for, learned from batches that had too
//! little.

/// After this many batches without trouble twice as many rows are tried.
const BATCHES_UNTIL_MORE: u32 = 256;

/// This many batches after a halving, the lower limit is known to be the
/// device's and not one request's.
const BATCHES_UNTIL_SURE: u32 = 8;

/// The most rows that are tried at once; none until memory ran out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RowLimit {
    rows: Option<u32>,
    /// Batches since the last that had too little.
    since: u32,
    /// What the limit was before the halvings that may be one request's fault.
    before: Option<Option<u32>>,
}

impl RowLimit {
    /// A batch of `rows` in several requests had too little memory.
    pub(super) fn failed(&mut self, rows: u32) {
        self.before.get_or_insert(self.rows);
        let half = (rows / 2).max(1);
        self.rows = Some(self.rows.map_or(half, |known| known.min(half)));
        self.since = 0;
    }

    /// A request alone had too little memory: it asks for too much by itself,
    /// so batches of other requests needn't be smaller.
    pub(super) fn failed_alone(&mut self) {
        if let Some(before) = self.before.take() {
            self.rows = before;
        }
    }

    /// A batch had enough. Memory that other processes took may be free again,
    /// so the limit grows, slowly: each trial that fails costs a batch's time.
    pub(super) fn passed(&mut self) {
        let Some(rows) = self.rows else { return };
        self.since += 1;
        if self.since >= BATCHES_UNTIL_SURE {
            self.before = None;
        }
        if self.since >= BATCHES_UNTIL_MORE {
            self.since = 0;
            self.rows = rows.checked_mul(2);
        }
    }

    /// Cuts requests of these `rows` into runs: the number of requests in each.
    /// The rows of a run keep to the limit; a request that is larger than the
    /// limit goes alone.
    pub(super) fn parts(&self, rows: impl Iterator<Item = u32>) -> Vec<usize> {
        let limit = self.rows.unwrap_or(u32::MAX);
        let mut parts = Vec::new();
        let (mut count, mut sum) = (0, 0_u32);
        for own in rows {
            if count > 0 && sum.saturating_add(own) > limit {
                parts.push(count);
                (count, sum) = (0, 0);
            }
            count += 1;
            sum = sum.saturating_add(own);
        }
        if count > 0 {
            parts.push(count);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_where_memory_ran_out_and_grows_again_slowly() {
        let mut limit = RowLimit::default();
        assert_eq!(limit.parts([3, 4, 9].into_iter()), [3]);
        limit.failed(16);
        assert_eq!(limit.parts([3, 4, 9, 1].into_iter()), [2, 1, 1], "sums of at most 8; 9 goes alone");
        limit.failed(8);
        assert_eq!(limit.parts([1; 6].into_iter()), [4, 2]);
        for _ in 0..BATCHES_UNTIL_MORE {
            limit.passed();
        }
        assert_eq!(limit.parts([1; 9].into_iter()), [8, 1]);
        limit.failed(1);
        assert_eq!(limit.parts([1, 1].into_iter()), [1, 1], "one row is always tried");
        limit.failed(64);
        assert_eq!(
            limit.parts([1, 1].into_iter()),
            [1, 1],
            "a larger batch that was under way teaches nothing"
        );
        assert!(limit.parts(std::iter::empty()).is_empty());
    }

    #[test]
    fn one_request_that_asks_for_too_much_does_not_part_the_others() {
        let mut limit = RowLimit::default();
        for rows in [16, 8, 4, 2] {
            limit.failed(rows);
        }
        limit.failed_alone();
        assert_eq!(limit.parts([1; 16].into_iter()), [16]);
        // If batches pass at the lower limit, it is the device's.
        limit.failed(16);
        for _ in 0..BATCHES_UNTIL_SURE {
            limit.passed();
        }
        limit.failed_alone();
        assert_eq!(limit.parts([1; 16].into_iter()), [8, 8]);
    }
}
