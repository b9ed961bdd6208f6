//! The value of each heuristic of the scheduler in simulated time: the real
//! batcher with simulated clients and instances, once with all heuristics and
//! once without each.
//!
//! `simulate [--off NAMES]… [--seeds N] [--json]`
//!
//! Prints a line for each heuristic and scenario: rate, p50 and p99 with it
//! relative to those without it, the median over the seeds. `--off` turns the
//! named heuristics off in every scenario; names are separated by commas.
//! `scripts/limits --only ablation-simulated` runs it.

mod chance;
mod scenario;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;

use scenario::{Kind, Scenario};
use world::{Outcome, World};

/// The heuristics that are turned off, and the scenarios that they may affect.
const SWITCHES: [(&str, &[Kind]); 8] = [
    ("sizes", &[Kind::Usual, Kind::Target, Kind::Disturbed, Kind::Contended]),
    ("shared", &[Kind::Usual, Kind::Target, Kind::Cold, Kind::Contended]),
    ("defer_to_other", &[Kind::Usual, Kind::Disturbed, Kind::Contended]),
    ("shared,defer_to_other", &[Kind::Usual, Kind::Contended]),
    ("coalesce", &[Kind::Target]),
    ("trial_whole", &[Kind::Usual, Kind::Disturbed, Kind::Contended]),
    ("padding_cost", &[Kind::Lengths]),
    ("sizes,shared,defer_to_other,coalesce,trial_whole,padding_cost", &Kind::ALL),
];

/// For each figure, a value for each seed.
type Figures = [Vec<f64>; 3];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        let pairs = words.iter().zip(words.iter().skip(1));
        pairs.filter(|(word, _)| *word == flag).map(|(_, next)| next.as_str()).collect::<Vec<&str>>()
    };
    let seeds = after("--seeds").first().and_then(|text| text.parse().ok()).unwrap_or(7);
    if let Some(kinds) = after("--one").first() {
        simulate(kinds, seeds);
        return;
    }
    let mut switches: Vec<(&str, &[Kind])> =
        after("--off").into_iter().map(|name| (name, &Kind::ALL[..])).collect();
    if switches.is_empty() {
        switches.extend(SWITCHES);
    }
    // Each runs in a separate process, which reads the heuristics that are off
    // from its environment.
    let runs: Vec<_> = std::iter::once(("", &Kind::ALL[..])).chain(switches.iter().copied()).collect();
    let outcomes = all_of(&runs, seeds);
    let Some(with) = outcomes.first() else { return };
    for ((name, _), without) in switches.iter().zip(outcomes.iter().skip(1)) {
        for scenario in scenario::all() {
            let label = scenario.to_string();
            if let (Some(with), Some(without)) = (with.get(&label), without.get(&label)) {
                report(name, &label, with, without, words.iter().any(|word| word == "--json"));
            }
        }
    }
}

/// Runs the scenarios of these kinds in this process.
fn simulate(kinds: &str, seeds: u64) {
    let asked = |scenario: &Scenario| kinds.split(',').any(|kind| kind == scenario.kind.name());
    for scenario in scenario::all().into_iter().filter(asked) {
        let outcomes: Vec<Outcome> = (1..=seeds).map(|seed| World::new(&scenario, seed).run()).collect();
        let of = |figure: fn(&Outcome) -> f64| outcomes.iter().map(figure).collect::<Vec<f64>>();
        let figures = [of(|one| one.rate), of(|one| one.p50), of(|one| one.p99)];
        println!("{}", serde_json::json!([scenario.to_string(), figures]));
    }
}

/// As many at a time as there are processors.
fn all_of(runs: &[(&str, &[Kind])], seeds: u64) -> Vec<BTreeMap<String, Figures>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = Vec::new();
    for runs in runs.chunks(processors) {
        thread::scope(|scope| {
            let start = |(name, kinds)| scope.spawn(move || one_of(name, kinds, seeds));
            let threads: Vec<_> = runs.iter().copied().map(start).collect();
            outcomes.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_default()));
        });
    }
    outcomes
}

fn one_of(name: &str, kinds: &[Kind], seeds: u64) -> BTreeMap<String, Figures> {
    let Ok(program) = std::env::current_exe() else { return BTreeMap::new() };
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut command = Command::new(program);
    command.env("CRESSET_ABLATE", name).args(["--one", &kinds.join(","), "--seeds", &seeds.to_string()]);
    let Ok(said) = command.output() else { return BTreeMap::new() };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn report(name: &str, scenario: &str, with: &Figures, without: &Figures, json: bool) {
    let ratios = |at: usize| with[at].iter().zip(&without[at]).map(|(with, without)| with / without);
    let [rate, p50, p99]: Figures = [0, 1, 2].map(|at| ratios(at).collect());
    if json {
        let line =
            serde_json::json!({"off": name, "scenario": scenario, "rate": rate, "p50": p50, "p99": p99});
        println!("{line}");
    } else {
        let [rate, p50, p99] = [rate, p50, p99].map(median);
        println!("{name:16} {scenario:60} rate {rate:.3}  p50 {p50:.3}  p99 {p99:.3}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
