//! What was counted while a stage ran.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::client::{Answer, Failure};
use super::plan::{Phase, Ticket, Window};

/// Counts in nanoseconds, three digits kept: a percentile is within 0.1 % of
/// the latency that was measured.
const DIGITS: u8 = 3;
/// Finer than the clock is worth.
const SHORTEST: Duration = Duration::from_nanos(100);
/// Anything longer counts as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// The counts of one thread; those of several add up.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of requests that were measured and answered 200. A refusal is quick and
    /// would flatter them.
    pub(super) latency: Histogram<u64>,
    /// Requests measured: started in the window, however they ended.
    pub(super) requests: u64,
    /// Of those, the ones that failed.
    pub(super) errors: BTreeMap<String, Errors>,
    /// 200s that came while the window was open, started in it or not: the
    /// rate of these has no bias at either end.
    pub(super) answers: u64,
    /// Body bytes of those.
    pub(super) bytes: u64,
    /// Connections made in place of lost or closed ones.
    pub(super) reconnects: u64,
    /// When the last measured request ended.
    pub(super) last: Option<Instant>,
    window: Window,
}

/// Failures of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) count: u64,
    /// What the first one said.
    pub(super) first: String,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(window: Window) -> Result<Self> {
        let (shortest, longest) = (nanoseconds(SHORTEST), nanoseconds(LONGEST));
        Ok(Self {
            latency: Histogram::new_with_bounds(shortest, longest, DIGITS)?,
            requests: 0,
            errors: BTreeMap::new(),
            answers: 0,
            bytes: 0,
            reconnects: 0,
            last: None,
            window,
        })
    }

    /// One request came to its end.
    pub(super) fn record(&mut self, ticket: Ticket, end: Instant, result: &Result<Answer, Failure>) {
        if let Ok(answer) = result
            && answer.is_ok()
            && self.window.contains(end)
        {
            self.answers += 1;
            self.bytes += answer.bytes;
        }
        match ticket.phase {
            Phase::WarmUp => {}
            Phase::Measured => self.record_measured(ticket, end, result),
        }
    }

    fn record_measured(&mut self, ticket: Ticket, end: Instant, result: &Result<Answer, Failure>) {
        self.requests += 1;
        self.last = self.last.max(Some(end));
        match result {
            Ok(answer) if answer.is_ok() => {
                self.latency.saturating_record(nanoseconds(end.saturating_duration_since(ticket.due)));
            }
            Ok(answer) => self.count(format!("status {}", answer.status.as_u16()), answer.text()),
            Err(failure) => self.count(failure.cause().to_owned(), failure.to_string()),
        }
    }

    fn count(&mut self, cause: String, text: String) {
        self.errors.entry(cause).or_insert(Errors { count: 0, first: text }).count += 1;
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    fn answer(status: StatusCode, text: &str) -> Result<Answer, Failure> {
        Ok(Answer { status, bytes: 10, kept: text.as_bytes().to_vec() })
    }

    #[test]
    fn the_window_decides_the_rate_and_the_start_the_latency() {
        let opens = clock::now();
        let mut tally = Tally::new(Window { opens, closes: Some(opens + 10 * MS) }).unwrap();
        let mut send = |phase, start: Instant, end: Instant| {
            tally.record(Ticket { due: start, phase }, end, &answer(StatusCode::OK, ""));
        };
        send(Phase::WarmUp, opens - 5 * MS, opens - MS);
        send(Phase::WarmUp, opens - 5 * MS, opens + MS);
        send(Phase::Measured, opens + MS, opens + 3 * MS);
        send(Phase::Measured, opens + 9 * MS, opens + 29 * MS);
        assert_eq!((tally.requests, tally.answers, tally.bytes), (2, 2, 20));
        assert_eq!(tally.latency.len(), 2);
        assert!(tally.latency.max().abs_diff(20_000_000) < 20_000);
        assert_eq!(tally.last, Some(opens + 29 * MS));
    }

    #[test]
    fn failures_are_counted_by_cause_and_the_first_is_quoted() {
        let opens = clock::now();
        let mut tally = Tally::new(Window { opens, closes: None }).unwrap();
        let ticket = Ticket { due: opens, phase: Phase::Measured };
        for text in ["queue  is\nfull", "later"] {
            tally.record(ticket, opens, &answer(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        tally.record(ticket, opens, &Err(Failure::TimedOut(MS)));
        assert_eq!(tally.errors["status 503"], Errors { count: 2, first: "queue is full".to_owned() });
        assert_eq!(tally.errors["timed out"].count, 1);
        assert_eq!((tally.requests, tally.answers, tally.latency.len()), (3, 0, 0));
    }

    #[test]
    fn percentiles_are_those_of_an_exact_sort() {
        let opens = clock::now();
        let mut tally = Tally::new(Window { opens, closes: None }).unwrap();
        let ticket = Ticket { due: opens, phase: Phase::Measured };
        let mut exact: Vec<u64> = (0..10_000_u64).map(|n| 40_000 + (n * n) % 7_919_000).collect();
        for &latency in &exact {
            let end = opens + Duration::from_nanos(latency);
            tally.record(ticket, end, &answer(StatusCode::OK, ""));
        }
        exact.sort_unstable();
        for (percentile, index) in [(50.0, 4_999), (90.0, 8_999), (99.0, 9_899), (99.9, 9_989)] {
            let (measured, exact) = (tally.latency.value_at_percentile(percentile), exact[index]);
            assert!(measured.abs_diff(exact) * 100 <= exact, "p{percentile}: {measured} for {exact}");
        }
    }
}
