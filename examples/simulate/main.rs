//! What each heuristic of the scheduler is worth by a clock that is turned by
//! hand: the real batcher among simulated clients and instances, once with all
//! heuristics and once without each.
//!
//! `simulate [--off NAMES]… [--seeds N] [--json]`
//!
//! Prints a line for each heuristic and scenario: rate, p50 and p99 with it over
//! those without it, the median over the seeds. `scripts/limits --only ablation`
//! runs it.

mod chance;
mod scenario;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;

use scenario::Kind;
use world::{Outcome, World};

/// What is turned off at once, and in which scenarios that can matter.
const SWITCHES: [(&str, &[Kind]); 9] = [
    ("sizes", &[Kind::Usual, Kind::Target, Kind::Disturbed]),
    ("shared", &[Kind::Usual, Kind::Target, Kind::Cold]),
    ("beside_another", &[Kind::Usual, Kind::Disturbed]),
    ("shared,beside_another", &[Kind::Usual]),
    ("company", &[Kind::Target]),
    ("trial_whole", &[Kind::Usual, Kind::Disturbed]),
    ("warmth", &[Kind::Cold]),
    ("overhead", &[Kind::Lengths]),
    (
        "sizes,shared,beside_another,company,trial_whole,warmth,overhead",
        &[Kind::Usual, Kind::Target, Kind::Lengths, Kind::Cold, Kind::Disturbed],
    ),
];

/// Of each figure a value for each seed.
type Figures = [Vec<f64>; 3];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    let seeds = after("--seeds").and_then(|text| text.parse().ok()).unwrap_or(7);
    if words.iter().any(|word| word == "--one") {
        simulate(seeds);
        return;
    }
    let asked: Vec<&String> = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(flag, _)| *flag == "--off")
        .map(|(_, name)| name)
        .collect();
    let chosen = |name: &str| asked.is_empty() || asked.iter().any(|asked| *asked == name);
    let switches: Vec<_> = SWITCHES.into_iter().filter(|(name, _)| chosen(name)).collect();
    // Each in a process of its own, which reads what is off from its environment.
    let names: Vec<&str> = std::iter::once("").chain(switches.iter().map(|(name, _)| *name)).collect();
    let outcomes = all_of(&names, seeds);
    let Some(with) = outcomes.first() else { return };
    for ((name, kinds), without) in switches.iter().zip(outcomes.iter().skip(1)) {
        for scenario in scenario::all().iter().filter(|scenario| kinds.contains(&scenario.kind)) {
            let label = scenario.to_string();
            if let (Some(with), Some(without)) = (with.get(&label), without.get(&label)) {
                report(name, &label, with, without, words.iter().any(|word| word == "--json"));
            }
        }
    }
}

/// Runs every scenario in this process.
fn simulate(seeds: u64) {
    for scenario in &scenario::all() {
        let outcomes: Vec<Outcome> = (1..=seeds).map(|seed| World::new(scenario, seed).run()).collect();
        let of = |figure: fn(&Outcome) -> f64| outcomes.iter().map(figure).collect::<Vec<f64>>();
        let figures = [of(|one| one.rate), of(|one| one.p50), of(|one| one.p99)];
        println!("{}", serde_json::json!([scenario.to_string(), figures]));
    }
}

/// As many at a time as there are processors.
fn all_of(names: &[&str], seeds: u64) -> Vec<BTreeMap<String, Figures>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = Vec::new();
    for names in names.chunks(processors) {
        thread::scope(|scope| {
            let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || one_of(name, seeds))).collect();
            outcomes.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_default()));
        });
    }
    outcomes
}

fn one_of(name: &str, seeds: u64) -> BTreeMap<String, Figures> {
    let Ok(program) = std::env::current_exe() else { return BTreeMap::new() };
    let mut command = Command::new(program);
    command.env("CRESSET_ABLATE", name).args(["--one", "--seeds", &seeds.to_string()]);
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
