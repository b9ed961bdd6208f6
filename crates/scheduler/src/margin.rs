//! How far forecasts are off: learned from who was late though a forecast had
//! said otherwise.

use std::time::Duration;

/// Of what is forecast, at the start.
const FIRST: f64 = 0.05;
/// What one that is late adds, and the most.
const LATE: f64 = 0.01;
const MOST: f64 = 0.5;
/// What one that is in time takes away: it stands still where 1 of 200 is late.
const IN_TIME: f64 = LATE / 200.0;

/// A share of what is forecast that is added to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margin(f64);

impl Default for Margin {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Margin {
    /// Somebody who was taken in was answered after so long.
    pub(crate) fn learn(&mut self, latency: Duration, target: Duration) {
        let change = if latency > target { LATE } else { -IN_TIME };
        self.0 = (self.0 + change).clamp(0.0, MOST);
    }

    pub(crate) fn on(self, forecast: Duration) -> Duration {
        forecast.mul_f64(1.0 + self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_grows_with_those_who_are_late_and_shrinks_with_the_others() {
        let mut margin = Margin::default();
        assert_eq!(margin.on(100 * MS), 105 * MS);
        (0..10).for_each(|_| margin.learn(60 * MS, 50 * MS));
        assert_eq!(margin.on(100 * MS).as_millis(), 115);
        (0..1000).for_each(|_| margin.learn(60 * MS, 50 * MS));
        assert_eq!(margin.on(100 * MS), 150 * MS);
        (0..100_000).for_each(|_| margin.learn(50 * MS, 50 * MS));
        assert_eq!(margin.on(100 * MS), 100 * MS);
    }
}
