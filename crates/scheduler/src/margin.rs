//! How far forecasts are off: learned from requests that were late although the
//! forecast had accepted them.

use std::time::Duration;

/// The margin at the start, as a share of the forecast.
const FIRST: f64 = 0.05;
/// The increase for a late request, and the maximum.
const LATE: f64 = 0.01;
const MOST: f64 = 0.5;
/// The decrease for a request in time: the margin is steady if 1 of 200 is
/// late.
const IN_TIME: f64 = LATE / 200.0;
/// The least behind a long queue: for the request's own run, and for what is
/// learned only when hundreds more were accepted. A queue that is shorter by that
/// still keeps every instance busy.
const BEHIND_A_QUEUE: f64 = 0.2;

/// A share of the forecast that is added to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Margin(f64);

impl Default for Margin {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Margin {
    /// A request that was accepted was answered after `latency`.
    pub(crate) fn learn(&mut self, latency: Duration, target: Duration) {
        self.change(latency, target, 0.0);
    }

    /// The same for a long queue.
    pub(crate) fn learn_behind_a_queue(&mut self, latency: Duration, target: Duration) {
        self.change(latency, target, BEHIND_A_QUEUE);
    }

    fn change(&mut self, latency: Duration, target: Duration, least: f64) {
        let change = if latency > target { LATE } else { -IN_TIME };
        self.0 = (self.0 + change).clamp(least, MOST);
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
        margin.learn_behind_a_queue(50 * MS, 50 * MS);
        assert_eq!(margin.on(100 * MS), 120 * MS);
    }
}
