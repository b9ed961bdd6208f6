//! The fixed cost of a batch, learned from those that ran: how much padding is
//! worth it to save one batch.

use std::time::Duration;

use crate::ablation::{Heuristic, off};

/// The weight that each batch leaves to the earlier ones: the last fifty count.
const KEPT: f64 = 0.98;

/// With fewer batches nothing is known.
const ENOUGH: u32 = 16;

/// The spread of sizes that is needed to separate the two costs: the variance
/// over the mean square.
const SPREAD: f64 = 0.05;

/// The share of a batch's fixed cost that may go into padding to save the
/// batch. It is not all of it: a request that doesn't join this batch may find
/// a better one.
const WORTH: f64 = 0.25;

/// The regression line of batch durations by size. Each deviation counts
/// relative to the duration, so a batch that took ten times as long by chance
/// has hardly any weight.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PaddingCostModel {
    batches: u32,
    weight: f64,
    size: f64,
    took: f64,
    size_size: f64,
    size_took: f64,
    /// In units of length; `None` until enough is known.
    worth: Option<f64>,
}

impl PaddingCostModel {
    /// A batch of this size, its rows times their padded length, took this
    /// long.
    pub(crate) fn ran(&mut self, size: u64, took: Duration) {
        let (size, took) = (size as f64, took.as_secs_f64());
        if size <= 0.0 || took <= 0.0 {
            return;
        }
        let weight = 1.0 / (took * took);
        let add = |sum: &mut f64, value: f64| *sum = *sum * KEPT + weight * value;
        add(&mut self.weight, 1.0);
        add(&mut self.size, size);
        add(&mut self.took, took);
        add(&mut self.size_size, size * size);
        add(&mut self.size_took, size * took);
        self.batches = self.batches.saturating_add(1);
        let spread = self.weight * self.size_size - self.size * self.size;
        if self.batches < ENOUGH || spread < SPREAD * self.weight * self.size_size {
            return;
        }
        // Both times `spread`, which is above zero.
        let fixed = self.took * self.size_size - self.size * self.size_took;
        let each = self.weight * self.size_took - self.size * self.took;
        self.worth = Some(if each <= 0.0 { f64::INFINITY } else { WORTH * fixed.max(0.0) / each });
    }

    /// Whether this much padding is worth it, if that is known.
    pub(crate) fn is_worth(&self, padding: u64) -> bool {
        off(Heuristic::PaddingCost) || self.worth.is_none_or(|worth| padding as f64 <= worth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The padding that is worth it, if batches take `fixed` microseconds and
    /// `each` for each unit, plus or minus a tenth, and every seventh five
    /// times as long.
    fn learned(fixed: u64, each: u64, sizes: &[u64]) -> Option<f64> {
        let mut model = PaddingCostModel::default();
        for (index, size) in (0..200).zip(sizes.iter().cycle()) {
            let exact = fixed + each * size;
            let noise = exact * (index * 7 % 21) / 100;
            let odd = if index % 7 == 3 { 5 } else { 1 };
            model.ran(*size, Duration::from_micros((exact * 9 / 10 + noise) * odd));
        }
        model.worth
    }

    #[test]
    fn a_batch_s_own_cost_is_told_from_that_of_its_rows() {
        let sizes = [8, 64, 300, 128, 16, 40, 512, 24];
        for (fixed, each) in [(3000, 220), (3200, 36), (500, 1)] {
            let expected = WORTH * fixed as f64 / each as f64;
            let worth = learned(fixed, each, &sizes).unwrap();
            assert!((0.7..1.4).contains(&(worth / expected)), "{worth} of {expected}");
        }
        assert!(learned(0, 100, &sizes).unwrap() < 2.0, "rows are all that costs");
        assert!(learned(700, 0, &sizes).unwrap() > 200.0, "padding costs nothing");
    }

    #[test]
    fn nothing_is_known_of_few_batches_or_of_one_size() {
        assert_eq!(learned(3000, 220, &[64]), None);
        let mut model = PaddingCostModel::default();
        for size in 1..ENOUGH {
            model.ran(size.into(), Duration::from_micros(100));
            model.ran(0, Duration::from_micros(1));
        }
        assert!(model.is_worth(u64::MAX));
        model.ran(500, Duration::from_secs(1));
        assert!(!model.is_worth(u64::MAX));
    }

    #[test]
    fn what_changes_is_followed() {
        let mut model = PaddingCostModel::default();
        for each in [200, 20] {
            for index in 0..300_u64 {
                let size = 8 + index * 37 % 500;
                model.ran(size, Duration::from_micros(4000 + each * size));
            }
        }
        let worth = model.worth.unwrap();
        assert!((40.0..60.0).contains(&worth), "{worth}");
    }
}
