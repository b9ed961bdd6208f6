//! The counts of a stage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::client::{Answer, Failure};
use super::schedule::{End, Phase, Ticket, Windows};

/// Significant digits of a histogram in nanoseconds: a percentile is within 0.1
/// % of the measured latency.
const DIGITS: u8 = 3;
/// Of an interval's histogram, which is ten times smaller.
const INTERVAL_DIGITS: u8 = 2;
/// Finer than the clock's precision.
const SHORTEST: Duration = Duration::from_nanos(100);
/// Anything longer counts as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// The counts of one thread; those of several threads can be added.
#[derive(Debug)]
pub(super) struct Tally {
    /// One for each part of the stage.
    pub(super) parts: Vec<PartTally>,
    /// How much later than due the generator sent, unless the server delayed
    /// it.
    pub(super) lag: Histogram<u64>,
    /// Requests that were due while every connection was busy.
    pub(super) held: u64,
    /// Connections made in place of lost or closed ones.
    pub(super) reconnects: u64,
    /// Since the last call of `take_interval`.
    interval: Interval,
    windows: Windows,
    end: Arc<End>,
    /// An answer later than this doesn't count as good.
    limit: Option<Duration>,
}

/// The counts of one part.
#[derive(Debug)]
pub(super) struct PartTally {
    /// Of requests that were measured and answered 200. Refusals are left out:
    /// they are quick and would flatter the latency.
    pub(super) latency: Histogram<u64>,
    /// Of measured requests that the server refused because of overload.
    pub(super) refusals: Histogram<u64>,
    /// Requests measured: due in the window, whatever their result.
    pub(super) requests: u64,
    /// Measured requests answered within the objective's limit.
    pub(super) good: u64,
    /// Measured requests that failed, by cause.
    pub(super) errors: BTreeMap<String, Errors>,
    /// 200s that came while the window was open, whether or not they were due
    /// in it: their rate has no bias at either end.
    pub(super) answers: u64,
    /// Body bytes of these answers.
    pub(super) bytes: u64,
    /// When the last measured request ended.
    pub(super) last: Option<Instant>,
}

/// Failures of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) count: u64,
    /// The server said that it is overloaded.
    pub(super) refused: bool,
    /// The message of the first one.
    pub(super) first: String,
}

/// Requests that ended within a short time, warm-up or not.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) latency: Histogram<u64>,
    pub(super) errors: u64,
}

impl Tally {
    /// Nothing yet. `limit` is the objective's: answers within it are good.
    pub(super) fn new(windows: Windows, end: Arc<End>, limit: Option<Duration>) -> Result<Self> {
        Ok(Self {
            parts: (0..windows.parts).map(|_| PartTally::new()).collect::<Result<_>>()?,
            lag: histogram(DIGITS)?,
            held: 0,
            reconnects: 0,
            interval: Interval::new()?,
            windows,
            end,
            limit,
        })
    }

    /// Records the end of one request.
    pub(super) fn record(&mut self, ticket: Ticket, end: Instant, result: &Result<Answer, Failure>) {
        let latency = end.saturating_duration_since(ticket.due);
        match result {
            Ok(answer) if answer.status.is_ok() => {
                self.interval.latency.saturating_record(nanoseconds(latency));
                if let Some(part) = self.window_of(end) {
                    part.answers += 1;
                    part.bytes += answer.bytes;
                }
            }
            Ok(_) | Err(_) => self.interval.errors += 1,
        }
        let Phase::Measured { part } = ticket.phase else { return };
        let limit = self.limit;
        if let Some(part) = self.parts.get_mut(part) {
            part.record(latency, end, result, limit);
        }
    }

    /// Records that a request is sent.
    pub(super) fn sent(&mut self, ticket: Ticket, now: Instant) {
        if let Phase::Measured { .. } = ticket.phase {
            self.lag.saturating_record(nanoseconds(now.saturating_duration_since(ticket.due)));
        }
    }

    /// The counts since the last call.
    pub(super) fn take_interval(&mut self) -> Result<Interval> {
        Ok(std::mem::replace(&mut self.interval, Interval::new()?))
    }

    /// Adds another thread's counts.
    pub(super) fn add(&mut self, other: Self) -> Result<()> {
        self.lag.add(&other.lag)?;
        self.held += other.held;
        self.reconnects += other.reconnects;
        for (mine, part) in self.parts.iter_mut().zip(other.parts) {
            mine.add(part)?;
        }
        Ok(())
    }

    fn window_of(&mut self, instant: Instant) -> Option<&mut PartTally> {
        if self.end.passed(instant) {
            return None;
        }
        let part = self.windows.part_at(instant)?;
        self.parts.get_mut(part)
    }
}

impl PartTally {
    fn new() -> Result<Self> {
        Ok(Self {
            latency: histogram(DIGITS)?,
            refusals: histogram(DIGITS)?,
            requests: 0,
            good: 0,
            errors: BTreeMap::new(),
            answers: 0,
            bytes: 0,
            last: None,
        })
    }

    fn record(
        &mut self,
        latency: Duration,
        end: Instant,
        result: &Result<Answer, Failure>,
        limit: Option<Duration>,
    ) {
        self.requests += 1;
        self.last = self.last.max(Some(end));
        match result {
            Ok(answer) if answer.status.is_ok() => {
                self.latency.saturating_record(nanoseconds(latency));
                self.good += u64::from(limit.is_none_or(|limit| latency <= limit));
            }
            Ok(answer) => {
                let refused = answer.status.is_refusal();
                if refused {
                    self.refusals.saturating_record(nanoseconds(latency));
                }
                self.count(answer.status.cause(), refused, || answer.text());
            }
            Err(failure) => self.count(failure.cause().to_owned(), false, || failure.to_string()),
        }
    }

    fn count(&mut self, cause: String, refused: bool, text: impl FnOnce() -> String) {
        let entry = self.errors.entry(cause);
        entry.or_insert_with(|| Errors { count: 0, refused, first: text() }).count += 1;
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.latency.add(&other.latency)?;
        self.refusals.add(&other.refusals)?;
        self.requests += other.requests;
        self.good += other.good;
        self.answers += other.answers;
        self.bytes += other.bytes;
        self.last = self.last.max(other.last);
        for (cause, errors) in other.errors {
            let count = errors.count;
            self.errors.entry(cause).or_insert(Errors { count: 0, ..errors }).count += count;
        }
        Ok(())
    }
}

impl Interval {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { latency: histogram(INTERVAL_DIGITS)?, errors: 0 })
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        self.latency.add(&other.latency)?;
        self.errors += other.errors;
        Ok(())
    }
}

fn histogram(digits: u8) -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(nanoseconds(SHORTEST), nanoseconds(LONGEST), digits)?)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::StatusCode;
    use hyper::header::HeaderMap;

    use super::*;
    use crate::client::Status;
    use cresset_clock as clock;

    const MS: Duration = Duration::from_millis(1);
    const MEASURED: Phase = Phase::Measured { part: 0 };

    fn answer(status: StatusCode, text: &str) -> Result<Answer, Failure> {
        let kept = Bytes::copy_from_slice(text.as_bytes());
        Ok(Answer { status: Status::Http(status), bytes: 10, headers: HeaderMap::new(), kept })
    }

    fn tally(opens: Instant, length: Option<Duration>, limit: Option<Duration>) -> (Tally, Arc<End>) {
        let end = Arc::new(End::default());
        let windows = Windows { opens, length, parts: 2 };
        (Tally::new(windows, Arc::clone(&end), limit).unwrap(), end)
    }

    #[test]
    fn the_window_decides_the_rate_and_the_start_the_latency() {
        let opens = clock::now();
        let (mut tally, _) = tally(opens, Some(10 * MS), Some(5 * MS));
        let mut send = |phase, start: Instant, end: Instant| {
            tally.record(Ticket { due: start, phase }, end, &answer(StatusCode::OK, ""));
        };
        send(Phase::WarmUp, opens - 5 * MS, opens - MS);
        send(Phase::WarmUp, opens - 5 * MS, opens + MS);
        send(MEASURED, opens + MS, opens + 3 * MS);
        send(MEASURED, opens + 9 * MS, opens + 19 * MS);
        send(Phase::Measured { part: 1 }, opens + 19 * MS, opens + 29 * MS);
        let [first, second] = &tally.parts[..] else { panic!("two parts") };
        assert_eq!((first.requests, first.answers, first.bytes, first.good), (2, 2, 20, 1));
        assert_eq!((second.requests, second.answers), (1, 1), "answered in the second, due in the first");
        assert!(first.latency.max().abs_diff(10_000_000) < 10_000);
        assert_eq!(first.last, Some(opens + 19 * MS));
    }

    #[test]
    fn what_comes_after_the_end_counts_for_latency_alone() {
        let opens = clock::now();
        let (mut tally, end) = tally(opens, None, None);
        end.say(opens + 5 * MS);
        for after in [4 * MS, 6 * MS] {
            tally.record(Ticket { due: opens, phase: MEASURED }, opens + after, &answer(StatusCode::OK, ""));
        }
        assert_eq!(
            (tally.parts[0].requests, tally.parts[0].answers, tally.parts[0].latency.len()),
            (2, 1, 2)
        );
    }

    #[test]
    fn failures_are_counted_by_cause_and_the_first_is_quoted() {
        let opens = clock::now();
        let (mut tally, _) = tally(opens, None, None);
        let ticket = Ticket { due: opens, phase: MEASURED };
        for text in ["queue  is\nfull", "later"] {
            tally.record(ticket, opens, &answer(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        tally.record(ticket, opens, &Err(Failure::TimedOut(MS)));
        let part = &tally.parts[0];
        let refused = Errors { count: 2, refused: true, first: "queue is full".to_owned() };
        assert_eq!(part.errors["status 503"], refused);
        assert_eq!((part.errors["timed out"].count, part.errors["timed out"].refused), (1, false));
        assert_eq!((part.requests, part.answers, part.latency.len(), part.good), (3, 0, 0, 0));
        assert_eq!(part.refusals.len(), 2);
        let interval = tally.take_interval().unwrap();
        assert_eq!((interval.errors, interval.latency.len()), (3, 0));
        assert_eq!(tally.take_interval().unwrap().errors, 0);
    }

    /// Like the threads of a run, each with its own histogram.
    #[test]
    fn percentiles_of_merged_threads_are_those_of_an_exact_sort() {
        let opens = clock::now();
        let ticket = Ticket { due: opens, phase: MEASURED };
        let mut exact: Vec<u64> = (0..100_000_u64).map(|n| 40_000 + (n * n) % 79_190_000).collect();
        let mut merged = tally(opens, None, None).0;
        for thread in exact.chunks(30_000) {
            let mut own = tally(opens, None, None).0;
            for &latency in thread {
                own.record(ticket, opens + Duration::from_nanos(latency), &answer(StatusCode::OK, ""));
            }
            own.record(ticket, opens, &Err(Failure::TimedOut(MS)));
            own.sent(ticket, opens + MS);
            merged.add(own).unwrap();
        }
        exact.sort_unstable();
        let part = &merged.parts[0];
        for (percentile, rank) in
            [(50.0, 50_000), (90.0, 90_000), (99.0, 99_000), (99.9, 99_900), (99.99, 99_990)]
        {
            let (measured, exact) = (part.latency.value_at_percentile(percentile), exact[rank - 1]);
            assert!(measured.abs_diff(exact) * 100 <= exact, "p{percentile}: {measured} for {exact}");
        }
        assert_eq!((part.requests, part.answers, part.errors["timed out"].count), (100_004, 100_000, 4));
        assert_eq!(merged.lag.len(), 4);
    }
}
