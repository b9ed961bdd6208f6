//! Load as a value: how requests are paced.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// No list of levels is longer: a typing error should be an error, and not a
/// run of a week.
const MAX_LEVELS: usize = 1000;

/// How requests are paced.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Load {
    /// This many clients, each of which sends its next request when the last
    /// one was answered. The load slows down with the server.
    Closed { concurrency: NonZeroUsize },
    /// Requests are due at times that don't depend on the server.
    Open { parts: Vec<Part>, arrivals: Arrivals },
}

/// A stretch of an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// Requests a second at its beginning.
    pub(super) from: f64,
    /// The rate at its end; in between it changes linearly.
    pub(super) to: f64,
}

/// How the arrivals of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent of one another, as from many users: exponential gaps
    Poisson,
    /// Evenly spaced
    Constant,
}

impl Load {
    pub(super) fn closed(concurrency: NonZeroUsize) -> Self {
        Self::Closed { concurrency }
    }

    pub(super) fn rate(rate: f64, arrivals: Arrivals) -> Self {
        Self::Open { parts: vec![Part { from: rate, to: rate }], arrivals }
    }

    /// How many parts are reported separately.
    pub(super) fn parts(&self) -> usize {
        match self {
            Self::Closed { .. } => 1,
            Self::Open { parts, .. } => parts.len(),
        }
    }
}

impl Part {
    /// Mean requests a second.
    pub(super) fn rate(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }

    /// How many requests are due until `elapsed` of a part that is `length`
    /// long. A part without a length keeps its first rate.
    pub(super) fn due_by(&self, elapsed: Duration, length: Option<Duration>) -> f64 {
        let t = elapsed.as_secs_f64();
        self.from * t + self.slope(length) * t * t / 2.0
    }

    /// The inverse: when the request of this number is due, or `None` if the
    /// rate falls to zero before.
    pub(super) fn time_of(&self, number: f64, length: Option<Duration>) -> Option<f64> {
        if number <= 0.0 {
            // Also if the rate begins at zero.
            return Some(0.0);
        }
        let slope = self.slope(length);
        // The root of from·t + slope·t²/2 = number, written so that it holds
        // for a slope of zero and loses no digits near it.
        let root = (self.from * self.from + 2.0 * slope * number).max(0.0).sqrt();
        let time = 2.0 * number / (self.from + root);
        time.is_finite().then_some(time)
    }

    fn slope(&self, length: Option<Duration>) -> f64 {
        let seconds = length.unwrap_or_default().as_secs_f64();
        // A part of zero length has no slope: 0/0 is not a number.
        if seconds > 0.0 { (self.to - self.from) / seconds } else { 0.0 }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from.to_bits() == self.to.to_bits() {
            write!(f, "{}/s", self.from)
        } else {
            write!(f, "{}→{}/s", self.from, self.to)
        }
    }
}

/// One number or a range of them: `8`, `4..64` (doubling), `100..2000:100`.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    first: f64,
    last: f64,
    step: Option<f64>,
}

impl Range {
    /// Every number in it, the last one included.
    pub(super) fn values(&self) -> Vec<f64> {
        let mut values = Vec::new();
        let mut value = self.first;
        while value < self.last && values.len() < MAX_LEVELS {
            values.push(value);
            value = self.step.map_or(value * 2.0, |step| value + step);
        }
        values.push(self.last);
        values
    }

    /// Both ends.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.first, self.last)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("expected N, A..B (doubling) or A..B:STEP, all above 0, got '{text}'");
        let number = |text: &str| -> Result<f64, String> {
            text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(wrong)
        };
        let Some((first, rest)) = text.split_once("..") else {
            let value = number(text)?;
            return Ok(Self { first: value, last: value, step: None });
        };
        let (last, step) = match rest.split_once(':') {
            Some((last, step)) => (last, Some(number(step)?)),
            None => (rest, None),
        };
        let range = Self { first: number(first)?, last: number(last)?, step };
        if range.first > range.last {
            return Err(wrong());
        }
        if range.step.is_some_and(|step| (range.last - range.first) / step > MAX_LEVELS as f64) {
            return Err(format!("'{text}' is more than {MAX_LEVELS} levels"));
        }
        Ok(range)
    }
}

/// A [`Range`] of whole numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeRange(Range);

impl WholeRange {
    pub(super) fn values(&self) -> impl Iterator<Item = NonZeroUsize> {
        self.0.values().into_iter().filter_map(|value| NonZeroUsize::new(value as usize))
    }
}

impl FromStr for WholeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range: Range = text.parse()?;
        let whole = |n: f64| n.fract() == 0.0 && n < 1e6;
        if whole(range.first) && whole(range.last) && range.step.is_none_or(whole) {
            Ok(Self(range))
        } else {
            Err(format!("expected whole numbers below a million, got '{text}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<f64> {
        text.parse::<Range>().unwrap().values()
    }

    #[test]
    fn ranges_double_or_step_and_reach_their_end() {
        assert_eq!(values("8"), [8.0]);
        assert_eq!(values("4..64"), [4.0, 8.0, 16.0, 32.0, 64.0]);
        assert_eq!(values("3..10"), [3.0, 6.0, 10.0]);
        assert_eq!(values("100..250:100"), [100.0, 200.0, 250.0]);
        assert_eq!(values("0.5..1:0.25"), [0.5, 0.75, 1.0]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in ["", "0", "-1", "5..2", "1..", "1..5:0", "a", "1..1e9:1", "inf", "NaN"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
        for wrong in ["1.5", "1..4:0.5", "10000000"] {
            assert!(wrong.parse::<WholeRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_counts_and_its_inverse_agrees() {
        let length = Some(Duration::from_secs(10));
        for part in
            [(100.0, 100.0), (10.0, 200.0), (200.0, 10.0), (0.0, 50.0)].map(|(from, to)| Part { from, to })
        {
            for seconds in [0.001, 1.0, 5.0, 9.99] {
                let number = part.due_by(Duration::from_secs_f64(seconds), length);
                let time = part.time_of(number, length).unwrap();
                assert!((time - seconds).abs() < 1e-9, "{part}: {time} for {seconds}");
            }
            let whole = part.due_by(Duration::from_secs(10), length);
            assert!((whole - part.rate() * 10.0).abs() < 1e-6, "{part}");
        }
    }
}
