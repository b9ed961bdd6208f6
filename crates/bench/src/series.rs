//! A stage over time: a point for each interval.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::plan::Stable;
use super::tally::Interval;

/// Windows that must agree.
const WINDOWS: usize = 3;

/// The measurement of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Its end, in seconds since the warm-up was over.
    pub at_seconds: f64,
    /// How long it was.
    pub seconds: f64,
    /// Good answers a second.
    pub answers_per_second: f64,
    /// Refusals and failures.
    pub errors: u64,
    /// Requests under way at its end.
    pub under_way: u64,
    /// Of its good answers; `None` if there was none.
    pub mean_ms: Option<f64>,
    /// Of its good answers.
    pub p50_ms: Option<f64>,
    /// Of its good answers.
    pub p99_ms: Option<f64>,
    /// Of its good answers.
    pub max_ms: Option<f64>,
}

/// Intervals of several threads, merged as they arrive.
#[derive(Debug)]
pub(super) struct Series {
    opens: Instant,
    interval: Duration,
    /// How many intervals each thread has sent; `None` when it is done.
    sent: Vec<Option<usize>>,
    /// The intervals that some thread has yet to send.
    open: VecDeque<(Interval, u64)>,
    /// The first is the warm-up.
    points: Vec<Point>,
}

impl Series {
    pub(super) fn new(threads: usize, opens: Instant, interval: Duration) -> Self {
        Self { opens, interval, sent: vec![Some(0); threads], open: VecDeque::new(), points: Vec::new() }
    }

    /// One thread's next interval, which ended at `now`.
    pub(super) fn add(
        &mut self,
        thread: usize,
        counts: &Interval,
        under_way: u64,
        now: Instant,
    ) -> Result<()> {
        let Some(Some(number)) = self.sent.get_mut(thread) else { return Ok(()) };
        let index = *number - self.points.len();
        *number += 1;
        while self.open.len() <= index {
            self.open.push_back((Interval::new()?, 0));
        }
        let (sum, sum_under_way) = &mut self.open[index];
        sum.add(counts)?;
        *sum_under_way += under_way;
        self.close(now);
        Ok(())
    }

    /// A thread has sent its last interval.
    pub(super) fn done(&mut self, thread: usize, now: Instant) -> Result<()> {
        if let Some(sent) = self.sent.get_mut(thread) {
            *sent = None;
        }
        self.close(now);
        Ok(())
    }

    /// Makes points of the intervals that every thread has sent.
    fn close(&mut self, now: Instant) {
        let complete = self.sent.iter().flatten().min().copied().unwrap_or(usize::MAX);
        while self.points.len() < complete {
            let Some((counts, under_way)) = self.open.pop_front() else { return };
            let number = self.points.len();
            let due = self.interval * number as u32;
            // The last interval is cut short.
            let end = now.saturating_duration_since(self.opens).min(due);
            let seconds = (end + self.interval).saturating_sub(due).as_secs_f64();
            self.points.push(point(&counts, under_way, end.as_secs_f64(), seconds));
        }
    }

    /// All points without the warm-up, and without a last one that is too short
    /// and empty.
    pub(super) fn points(&self) -> Vec<Point> {
        let mut points = self.measured().to_vec();
        points.retain(|point| {
            point.seconds > 0.0
                && (point.seconds * 2.0 > self.interval.as_secs_f64() || point.max_ms.is_some())
        });
        points
    }

    /// The last whole point, warm-up or not.
    pub(super) fn last(&self) -> Option<&Point> {
        self.points.last()
    }

    pub(super) fn errors(&self) -> u64 {
        self.measured().iter().map(|point| point.errors).sum()
    }

    /// Whether the last windows agree in rate and in mean latency.
    pub(super) fn is_stable(&self, rule: Stable) -> bool {
        let measured = self.measured();
        let Some(last) = measured.len().checked_sub(WINDOWS).map(|from| &measured[from..]) else {
            return false;
        };
        let agree = |pick: fn(&Point) -> Option<f64>| {
            let values: Vec<f64> = last.iter().filter_map(pick).collect();
            let mean = values.iter().sum::<f64>() / WINDOWS as f64;
            values.len() == WINDOWS
                && values.iter().all(|value| (value - mean).abs() <= rule.tolerance * mean)
        };
        agree(|point| Some(point.answers_per_second)) && agree(|point| point.mean_ms)
    }

    fn measured(&self) -> &[Point] {
        self.points.get(1..).unwrap_or_default()
    }
}

fn point(counts: &Interval, under_way: u64, at_seconds: f64, seconds: f64) -> Point {
    let latency = &counts.latency;
    let some = |nanoseconds: f64| (!latency.is_empty()).then_some(nanoseconds / 1e6);
    Point {
        at_seconds,
        seconds,
        answers_per_second: if seconds > 0.0 { latency.len() as f64 / seconds } else { 0.0 },
        errors: counts.errors,
        under_way,
        mean_ms: some(latency.mean()),
        p50_ms: some(latency.value_at_percentile(50.0) as f64),
        p99_ms: some(latency.value_at_percentile(99.0) as f64),
        max_ms: some(latency.max() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_clock as clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts(answers: u64, milliseconds: u64) -> Interval {
        let mut interval = Interval::new().unwrap();
        interval.latency.record_n(milliseconds * 1_000_000, answers).unwrap();
        interval
    }

    #[test]
    fn an_interval_is_whole_when_every_thread_has_sent_it() {
        let opens = clock::now();
        let mut series = Series::new(2, opens, SECOND);
        for (thread, number, answers) in [(0, 0, 5), (0, 1, 10), (1, 0, 5), (0, 2, 20), (1, 1, 30)] {
            series.add(thread, &counts(answers, 4), 1, opens + SECOND * number).unwrap();
        }
        assert_eq!(series.points().len(), 1);
        let point = series.points()[0];
        assert_eq!((point.at_seconds, point.answers_per_second, point.under_way), (1.0, 40.0, 2));
        assert!((point.p99_ms.unwrap() - 4.0).abs() < 0.05);
        // A thread that is done early delays no other.
        series.done(1, opens + SECOND * 2).unwrap();
        assert_eq!(series.points().len(), 2);
        series.add(0, &counts(7, 4), 0, opens + SECOND * 5 / 2).unwrap();
        let last = series.points()[2];
        assert_eq!((last.at_seconds, last.seconds, last.answers_per_second), (2.5, 0.5, 14.0));
    }

    #[test]
    fn three_windows_that_agree_are_stable() {
        let opens = clock::now();
        let rule = Stable { window: SECOND, tolerance: 0.1 };
        let mut series = Series::new(1, opens, SECOND);
        let mut stable = Vec::new();
        // Warm-up, too slow, then steady; the mean latency settles last.
        for (number, (answers, milliseconds)) in
            (0..).zip([(9, 9), (50, 4), (100, 8), (105, 4), (95, 4), (100, 4), (100, 9)])
        {
            series.add(0, &counts(answers, milliseconds), 0, opens + SECOND * number).unwrap();
            stable.push(series.is_stable(rule));
        }
        assert_eq!(stable, [false, false, false, false, false, true, false]);
    }
}
