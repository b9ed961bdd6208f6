//! The table at the end of a run.

use std::fmt;

use super::{Latency, LevelOutcome, Outcome};

/// A column, and its cell for a level.
type TableColumn = (&'static str, fn(&LevelOutcome) -> String);

const LATENCIES: [TableColumn; 6] = [
    ("p50 ms", |level| latency(level, |latency| latency.p50_ms)),
    ("p90 ms", |level| latency(level, |latency| latency.p90_ms)),
    ("p99 ms", |level| latency(level, |latency| latency.p99_ms)),
    ("p99.9 ms", |level| latency(level, |latency| latency.p99_9_ms)),
    ("p99.99 ms", |level| latency(level, |latency| latency.p99_99_ms)),
    ("max ms", |level| latency(level, |latency| latency.max_ms)),
];

/// The columns that have something to show for these levels.
pub(super) fn columns(levels: &[LevelOutcome]) -> Vec<TableColumn> {
    let mut columns: Vec<TableColumn> = Vec::new();
    if levels.iter().all(|level| level.concurrency.is_some()) {
        columns.push(("concurrency", |level| level.concurrency.unwrap_or(0).to_string()));
    } else {
        columns.push(("load", |level| level.load.clone()));
    }
    columns.push(("requests/s", |level| format!("{:.1}", level.requests_per_second)));
    if levels.iter().any(|level| level.goodput_per_second.is_some()) {
        columns.push(("goodput/s", |level| decimal(level.goodput_per_second, 1)));
        columns.push(("held", |level| held(level).to_owned()));
    }
    columns.extend(LATENCIES);
    if levels.iter().any(|level| level.server.is_some()) {
        columns.push(("queue ms", |level| decimal(level.server.map(|server| server.queue_ms), 3)));
        columns.push(("compute ms", |level| decimal(level.server.map(|server| server.compute_ms), 3)));
        columns.push(("batch", |level| decimal(level.server.map(|server| server.batch_size), 1)));
    }
    columns.push(("requests", |level| level.requests.to_string()));
    if levels.iter().any(|level| level.refused() > 0) {
        columns.push(("refused", |level| level.refused().to_string()));
    }
    columns.push(("errors", |level| (level.error_count() - level.refused()).to_string()));
    columns.push(("body MB", |level| format!("{:.2}", level.body_bytes as f64 / 1e6)));
    if levels.iter().any(|level| level.lag.is_some()) {
        columns.push(("lag p99 ms", |level| decimal(level.lag.map(|lag| lag.p99_ms), 3)));
    }
    columns.push(("own CPU", |level| format!("{:.0}%", level.own_cpu * 100.0)));
    columns
}

fn latency(level: &LevelOutcome, pick: fn(&Latency) -> f64) -> String {
    decimal(level.latency.as_ref().map(pick), 3)
}

fn decimal(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn held(level: &LevelOutcome) -> &'static str {
    match level.objective_held {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.target)?;
        write!(f, "{} ", self.content)?;
        match (self.different_requests, self.request_bytes_range) {
            (1, (size, _)) => write!(f, "({size} bytes)")?,
            (count, (least, most)) => write!(f, "and {} others ({least} to {most} bytes)", count - 1)?,
        }
        let open = self.levels.iter().any(|level| level.offered_rate.is_some());
        match self.settings.get("arrivals").filter(|_| open) {
            Some(arrivals) => {
                writeln!(f, "; open loop, {arrivals} arrivals, latency from when each was due")?
            }
            None => writeln!(f, "; closed loop")?,
        }
        if let Some(objective) = &self.objective {
            writeln!(f, "objective: {objective}")?;
        }
        writeln!(f)?;
        write_table(f, &self.levels)?;
        for remark in self.remarks() {
            writeln!(f, "{remark}")?;
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, levels: &[LevelOutcome]) -> fmt::Result {
    let columns = columns(levels);
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let mut rows = vec![titles];
    rows.extend(levels.iter().map(|level| columns.iter().map(|(_, cell)| cell(level)).collect()));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        writeln!(f, "{}", cells.join("  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{level, outcome};
    use super::super::{ErrorCount, Lag};
    use crate::ServerTimes;

    #[test]
    fn a_table_with_its_remarks() {
        let mut refused = level(64);
        let first = "queue is full".to_owned();
        let cause = "status 503".to_owned();
        refused.errors.push(ErrorCount { cause, count: 12, refused: true, first });
        (refused.own_cpu, refused.own_cpu_busiest) = (0.99, 0.99);
        let mut silent = level(128);
        (silent.latency, silent.reconnects) = (None, 3);
        let expected = "\
POST http://localhost:8000/predict
image/jpeg (1000 bytes); closed loop

concurrency  requests/s  p50 ms  p90 ms  p99 ms  p99.9 ms  p99.99 ms  max ms  requests  refused  errors  body MB  own CPU
          1     12345.6   0.200   0.300   0.300     0.300      0.300   0.300    123456        0       0     1.23      25%
         64     12345.6   0.200   0.300   0.300     0.300      0.300   0.300    123456       12       0     1.23      99%
        128     12345.6       -       -       -         -          -       -    123456        0       0     1.23      25%
concurrency 64: 12 × status 503: queue is full
concurrency 64: the generator had no processor time left; the server may do more (--threads)
concurrency 128: connected anew 3 times, their latency included
";
        assert_eq!(outcome(vec![level(1), refused, silent]).to_string(), expected);
    }

    #[test]
    fn an_open_loop_has_its_own_columns() {
        let mut open = level(1);
        (open.load, open.concurrency, open.offered_rate) = ("rate 100/s".to_owned(), None, Some(100.0));
        (open.goodput_per_second, open.objective_held) = (Some(99.5), Some(true));
        open.lag = Some(Lag { p50_ms: 0.01, p99_ms: 0.05, max_ms: 0.1 });
        open.server = Some(ServerTimes { requests: 5, queue_ms: 0.25, compute_ms: 0.5, batch_size: 1.5 });
        let mut outcome = outcome(vec![open]);
        outcome.settings.insert("arrivals", "poisson".to_owned());
        (outcome.objective, outcome.searched, outcome.found_rate) =
            (Some("p99<50ms".to_owned()), true, Some(100.0));
        let expected = "\
POST http://localhost:8000/predict
image/jpeg (1000 bytes); open loop, poisson arrivals, latency from when each was due
objective: p99<50ms

      load  requests/s  goodput/s  held  p50 ms  p90 ms  p99 ms  p99.9 ms  p99.99 ms  max ms  queue ms  compute ms  batch  requests  errors  body MB  lag p99 ms  own CPU
rate 100/s     12345.6       99.5   yes   0.200   0.300   0.300     0.300      0.300   0.300     0.250       0.500    1.5    123456       0     1.23       0.050      25%
p99<50ms holds up to 100 requests a second
";
        assert_eq!(outcome.to_string(), expected);
    }
}
