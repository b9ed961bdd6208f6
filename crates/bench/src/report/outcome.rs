//! The measurement of a whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::environment::Environment;
use super::level::{LevelOutcome, intervals};
use crate::args::Args;
use crate::conductor::Measured;
use crate::load::Arrivals;
use crate::objective::{Condition, Objective};
use crate::plan::Stage;
use crate::requests::Requests;
use crate::site::Site;

/// The measurement of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The server, as the command line named it.
    pub server: String,
    /// Its own name and version; `None` if it doesn't report them.
    pub server_version: Option<String>,
    /// The first request's target: `POST
    /// http://localhost:8000/v2/models/simple/infer`.
    pub target: String,
    /// The content of each request, or of the first of several: `binary, INPUT0
    /// INT32 [1, 16]`.
    pub content: String,
    /// How many different requests there were.
    pub different_requests: usize,
    /// The mean size of a request's body.
    pub request_bytes: usize,
    /// The sizes of the smallest and the largest body.
    pub request_bytes_range: (usize, usize),
    /// How long the load ran before anything was counted.
    pub warm_up_seconds: f64,
    /// One for each load, in the order asked for.
    pub levels: Vec<LevelOutcome>,
    /// The objective.
    pub objective: Option<String>,
    /// Whether a highest rate was searched for.
    pub searched: bool,
    /// The highest rate at which the objective held, if it was searched for.
    pub found_rate: Option<f64>,
    /// Whether SIGINT ended it early: the last level is then cut short.
    pub interrupted: bool,
    /// The run's settings, by name.
    pub settings: BTreeMap<&'static str, String>,
    /// Where the generator ran, and when.
    pub environment: Environment,
}

impl Outcome {
    pub(crate) fn new(args: &Args, site: &Site, requests: &Requests, server_version: Option<String>) -> Self {
        let first = &requests.all[0].payload;
        Self {
            server: site.authority().to_owned(),
            server_version,
            target: format!("{} {}", first.method(), first.url()),
            content: first.content().to_owned(),
            different_requests: requests.all.len(),
            request_bytes: requests.mean_size(),
            request_bytes_range: requests.sizes(),
            warm_up_seconds: args.bounds.warm_up.as_secs_f64(),
            levels: Vec::new(),
            objective: args.report.slo.as_ref().map(Objective::to_string),
            searched: args.load.search,
            found_rate: None,
            interrupted: false,
            settings: settings(args),
            environment: Environment::here(),
        }
    }

    pub(crate) fn add(&mut self, stage: &Stage, measured: &Measured, objective: Option<&Objective>) {
        self.interrupted |= measured.interrupted;
        let number = self.levels.last().map_or(0, |level| level.stage + 1);
        for (part, counts) in measured.parts.iter().enumerate() {
            let mut level = LevelOutcome::new(number, &stage.load, part, counts, measured, objective);
            level.intervals = intervals(stage, part, measured);
            self.levels.push(level);
        }
    }

    /// Whether any request failed, or none was measured; for a search, whether
    /// it found nothing.
    #[must_use]
    pub fn failed(&self) -> bool {
        if self.searched {
            return self.found_rate.is_none();
        }
        self.levels.is_empty()
            || self.levels.iter().any(|level| level.latency.is_none() || !level.errors.is_empty())
    }

    /// The exit code: 0, 1 for a failure, 3 if a condition is met. If there are
    /// conditions, only they decide.
    #[must_use]
    pub fn exit_code(&self, conditions: &[Condition]) -> u8 {
        if conditions.is_empty() {
            return u8::from(self.failed());
        }
        match (self.levels.is_empty(), self.met(conditions).next()) {
            (true, _) => 1,
            (false, Some(_)) => 3,
            (false, None) => 0,
        }
    }

    /// Which conditions are met, and at which load.
    pub(super) fn met<'a>(
        &'a self,
        conditions: &'a [Condition],
    ) -> impl Iterator<Item = (&'a Condition, &'a LevelOutcome)> {
        conditions.iter().flat_map(|condition| {
            self.levels.iter().filter(|level| condition.met(level)).map(move |level| (condition, level))
        })
    }

    /// What a reader of the report should know of each level, and of the whole.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self.levels.iter().flat_map(LevelOutcome::remarks).collect();
        if let Some(objective) = &self.objective {
            match self.found_rate {
                Some(rate) => remarks.push(format!(
                    "{objective} holds up to {} requests a second",
                    (rate * 1e3).round() / 1e3
                )),
                None if self.searched => remarks.push(format!("{objective} didn't hold at any rate")),
                None => {}
            }
        }
        if self.interrupted {
            remarks.push("interrupted: this is what was measured until then".to_owned());
        }
        remarks
    }
}

fn settings(args: &Args) -> BTreeMap<&'static str, String> {
    let duration = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut settings = BTreeMap::new();
    settings.insert("warm-up", duration(args.bounds.warm_up));
    settings.insert("timeout", duration(args.bounds.timeout));
    settings.insert("threads", args.load.threads.to_string());
    settings.insert("seed", args.load.seed.to_string());
    if let Some(length) = args.bounds.duration {
        settings.insert("duration", duration(length));
    }
    if let Some(requests) = args.bounds.requests {
        settings.insert("requests", requests.to_string());
    }
    if let Some(stable) = args.bounds.until_stable {
        let window = duration(args.bounds.window);
        settings
            .insert("until stable", format!("three windows of {window} within {:.0} %", stable.0 * 100.0));
    }
    if args.load.concurrency.is_empty() {
        let arrivals = match args.load.arrivals {
            Arrivals::Poisson => "poisson",
            Arrivals::Constant => "constant",
        };
        settings.insert("arrivals", arrivals.to_owned());
        settings.insert("max connections", args.load.max_connections.to_string());
    }
    if let Some(model) = &args.model {
        settings.insert("model", model.clone());
    }
    if let Some(objective) = &args.report.slo {
        settings.insert("objective", objective.to_string());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::super::ErrorCount;
    use super::super::tests::{level, outcome};

    #[test]
    fn an_error_or_no_answer_is_a_failure() {
        assert!(!outcome(vec![level(1)]).failed());
        assert!(outcome(vec![]).failed());
        let mut silent = level(1);
        silent.latency = None;
        assert!(outcome(vec![level(1), silent]).failed());
        let mut refused = level(1);
        let late =
            ErrorCount { cause: "timed out".to_owned(), count: 1, refused: false, first: String::new() };
        refused.errors.push(late);
        let refused = outcome(vec![refused, level(1)]);
        assert_eq!((refused.failed(), refused.exit_code(&[])), (true, 1));
        let conditions = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(refused.exit_code(&conditions(&["p99>1s", "errors>1%"])), 0, "only what was asked counts");
        assert_eq!(refused.exit_code(&conditions(&["p99>1s", "errors>0"])), 3);
        assert_eq!(outcome(vec![]).exit_code(&conditions(&["errors>0"])), 1);
    }

    #[test]
    fn a_search_fails_where_it_finds_nothing() {
        let mut outcome = outcome(vec![level(1)]);
        outcome.searched = true;
        assert!(outcome.failed());
        outcome.found_rate = Some(100.0);
        assert!(!outcome.failed());
    }

    #[test]
    fn json_has_the_same_numbers() {
        let json = serde_json::to_value(outcome(vec![level(8)])).unwrap();
        let level = &json["levels"][0];
        assert_eq!(level["concurrency"], 8);
        assert_eq!(level["requests_per_second"], 12_345.6);
        assert_eq!(level["latency"]["count"], 3);
        assert!((level["latency"]["p99_9_ms"].as_f64().unwrap() - 0.3).abs() < 0.001);
        assert_eq!(level["errors"], serde_json::json!([]));
        assert_eq!(json["settings"]["threads"], "1");
    }
}
