//! The search for the highest rate at which the objective holds.

use std::time::Duration;

use super::load::{Arrivals, Load};
use super::plan::{Bounds, Stage};

/// It ends if the rate that held and the one that didn't are this close.
const CLOSE: f64 = 1.05;

/// Doubles until the objective fails, then halves the distance (geometrically:
/// rates are compared by their ratio).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Search {
    lowest: f64,
    highest: f64,
    held: Option<f64>,
    failed: Option<f64>,
    arrivals: Arrivals,
    warm_up: Duration,
    bounds: Bounds,
}

impl Search {
    pub(super) fn new(
        (lowest, highest): (f64, f64),
        arrivals: Arrivals,
        warm_up: Duration,
        bounds: Bounds,
    ) -> Self {
        Self { lowest, highest, held: None, failed: None, arrivals, warm_up, bounds }
    }

    /// The highest rate at which the objective held so far.
    pub(super) fn best(&self) -> Option<f64> {
        self.held
    }

    /// What to measure now; `None` once the answer is known.
    pub(super) fn next(&self) -> Option<Stage> {
        let load = Load::rate(self.rate()?, self.arrivals);
        Some(Stage { load, warm_up: self.warm_up, bounds: self.bounds })
    }

    pub(super) fn learn(&mut self, held: bool) {
        let Some(rate) = self.rate() else { return };
        *(if held { &mut self.held } else { &mut self.failed }) = Some(rate);
    }

    fn rate(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(self.lowest),
            (Some(held), None) if held >= self.highest => None,
            (Some(held), None) => Some((held * 2.0).min(self.highest)),
            // Not even the lowest held: there is no answer in the range.
            (None, Some(_)) => None,
            (Some(held), Some(failed)) if failed / held <= CLOSE => None,
            // Three digits make a rate that is easy to read.
            (Some(held), Some(failed)) => {
                Some(rounded((held * failed).sqrt())).filter(|rate| *rate > held && *rate < failed)
            }
        }
    }
}

fn rounded(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(range: (f64, f64), limit: f64) -> (Option<f64>, usize) {
        let bounds = Bounds::new(None, None, None);
        let mut search = Search::new(range, Arrivals::Poisson, Duration::ZERO, bounds);
        let mut steps = 0;
        while let Some(rate) = search.rate() {
            search.learn(rate <= limit);
            steps += 1;
            assert!(steps < 50, "it ends");
        }
        (search.best(), steps)
    }

    #[test]
    fn it_comes_close_from_below() {
        for limit in [101.0, 777.0, 1234.0, 9999.0] {
            let (best, steps) = find((100.0, 20_000.0), limit);
            let best = best.unwrap();
            assert!(best <= limit && best * CLOSE * 1.01 >= limit, "{best} for {limit}");
            assert!(steps < 15, "{steps}");
        }
    }

    #[test]
    fn both_ends_are_answers() {
        assert_eq!(find((100.0, 3000.0), 1e9).0, Some(3000.0));
        assert_eq!(find((100.0, 3000.0), 50.0), (None, 1));
    }
}
