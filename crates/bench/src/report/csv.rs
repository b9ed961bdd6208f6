//! A line for each level, for a spreadsheet.

use super::{LevelOutcome, Outcome};

/// A column, and its cell for a level; empty for none.
type CsvColumn = (&'static str, fn(&LevelOutcome) -> String);

const COLUMNS: [CsvColumn; 25] = [
    ("load", |level| quoted(&level.load)),
    ("concurrency", |level| text(level.concurrency)),
    ("offered_per_second", |level| text(level.offered_rate)),
    ("seconds", |level| level.seconds.to_string()),
    ("requests", |level| level.requests.to_string()),
    ("requests_per_second", |level| level.requests_per_second.to_string()),
    ("goodput_per_second", |level| text(level.goodput_per_second)),
    ("objective_held", |level| text(level.objective_held)),
    ("mean_ms", |level| text(level.latency.map(|latency| latency.mean_ms))),
    ("p50_ms", |level| text(level.latency.map(|latency| latency.p50_ms))),
    ("p90_ms", |level| text(level.latency.map(|latency| latency.p90_ms))),
    ("p95_ms", |level| text(level.latency.map(|latency| latency.p95_ms))),
    ("p99_ms", |level| text(level.latency.map(|latency| latency.p99_ms))),
    ("p99_9_ms", |level| text(level.latency.map(|latency| latency.p99_9_ms))),
    ("p99_99_ms", |level| text(level.latency.map(|latency| latency.p99_99_ms))),
    ("max_ms", |level| text(level.latency.map(|latency| latency.max_ms))),
    ("server_queue_ms", |level| text(level.server.map(|server| server.queue_ms))),
    ("server_compute_ms", |level| text(level.server.map(|server| server.compute_ms))),
    ("server_batch_size", |level| text(level.server.map(|server| server.batch_size))),
    ("refused", |level| level.refused().to_string()),
    ("errors", |level| level.error_count().to_string()),
    ("causes", |level| quoted(&causes(level))),
    ("body_bytes", |level| level.body_bytes.to_string()),
    ("lag_p99_ms", |level| text(level.lag.map(|lag| lag.p99_ms))),
    ("own_cpu", |level| level.own_cpu.to_string()),
];

pub(super) fn lines(outcome: &Outcome) -> String {
    let titles = COLUMNS.map(|(title, _)| title).join(",");
    let line = |level: &LevelOutcome| COLUMNS.map(|(_, cell)| cell(level)).join(",");
    let lines: Vec<String> = std::iter::once(titles).chain(outcome.levels.iter().map(line)).collect();
    lines.join("\n") + "\n"
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn causes(level: &LevelOutcome) -> String {
    let causes: Vec<_> =
        level.errors.iter().map(|error| format!("{} × {}", error.count, error.cause)).collect();
    causes.join("; ")
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{level, outcome};
    use super::*;

    #[test]
    fn a_line_for_each_level_with_a_cell_for_each_column() {
        let mut silent = level(8);
        (silent.latency, silent.load) = (None, "a \"quoted\" load".to_owned());
        let lines = lines(&outcome(vec![level(1), silent]));
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("\"concurrency 1\",1,,10,123456,12345.6,,,0.199968,"), "{}", lines[1]);
        assert!(
            lines[2].starts_with("\"a \"\"quoted\"\" load\",8,,10,123456,12345.6,,,,,,,,,,,"),
            "{}",
            lines[2]
        );
        for line in lines {
            assert_eq!(line.matches(',').count(), COLUMNS.len() - 1);
        }
    }
}
