//! The progress line while a load runs.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::generator::StageOrder;
use super::load::Load;
use super::schedule::Windows;
use super::series::Series;

/// Writes to standard error, and only if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    /// From 1.
    stage: usize,
    stages: Option<usize>,
}

impl Progress {
    pub(super) fn new(quiet: bool, stages: Option<usize>) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), stage: 0, stages }
    }

    /// The next stage begins.
    pub(super) fn next_stage(&mut self) {
        self.stage += 1;
    }

    pub(super) fn show(&self, order: &StageOrder, windows: &Windows, series: &Series, now: Instant) {
        if self.shown {
            write(&line(self.stage, self.stages, order, windows, series, now));
        }
    }

    /// Removes the line.
    pub(super) fn clear(&self) {
        if self.shown {
            write("");
        }
    }
}

/// A failure is ignored: the terminal may be closed.
fn write(line: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    let _ = std::io::stderr().flush();
}

fn line(
    stage: usize,
    stages: Option<usize>,
    order: &StageOrder,
    windows: &Windows,
    series: &Series,
    now: Instant,
) -> String {
    let mut parts = Vec::new();
    match stages {
        Some(1) => {}
        Some(stages) => parts.push(format!("{stage}/{stages}")),
        None => parts.push(format!("step {stage}")),
    }
    parts.push(match &order.stage.load {
        Load::Closed { concurrency } => format!("concurrency {concurrency}"),
        Load::Open { parts, .. } => {
            let part = windows.part_at(now).unwrap_or(0).min(parts.len().saturating_sub(1));
            parts.get(part).map_or_else(String::new, |part| format!("rate {part}"))
        }
    });
    parts.push(if now < windows.opens {
        "warming up".to_owned()
    } else {
        let elapsed = now.saturating_duration_since(windows.opens);
        match windows.closes() {
            Some(closes) if now > closes => "waiting for the last answers".to_owned(),
            Some(closes) => format!("{} of {}", seconds(elapsed), seconds(closes - windows.opens)),
            None => seconds(elapsed),
        }
    });
    if let Some(last) = series.last() {
        parts.push(format!("{:.0} answers/s", last.answers_per_second));
        if let (Some(p50), Some(p99)) = (last.p50_ms, last.p99_ms) {
            parts.push(format!("p50 {p50:.2} ms, p99 {p99:.2} ms"));
        }
        parts.push(format!("{} under way", last.under_way));
    }
    parts.push(format!("{} errors", series.errors()));
    parts.join(" · ")
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}
