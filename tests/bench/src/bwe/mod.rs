//! `segue-bench bwe`: the bandwidth estimator over emulated links, in virtual time.

mod cases;
mod flow;
mod link;
mod measure;
mod rng;
mod trace;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use cases::Case;
use measure::{Floor, Measure};

/// What may be asked for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs of every case, each with a seed of its own.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed_base: u64,
    /// Only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
    /// Folder of recorded links.
    #[arg(long, default_value = "../shared/traces")]
    traces: PathBuf,
    /// JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Prints one run of the chosen cases as it goes: second, capacity, estimates and queue.
    #[arg(long)]
    plot: bool,
}

/// Most runs of a case: a night's work.
const MAX_SEEDS: u64 = 100_000;

impl Arguments {
    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_SEEDS).contains(&self.seeds) {
            return Err(format!("--seeds cannot be {}: 1 to {MAX_SEEDS}", self.seeds));
        }
        if self.seed_base.checked_add(self.seeds).is_none() {
            return Err(format!(
                "--seed-base cannot be {}: the last of {} seeds would be above 2^64",
                self.seed_base, self.seeds
            ));
        }
        Ok(())
    }
}

/// Runs every case and prints a line for each; fails where a floor is not met.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let mut cases = cases::all();
    match trace::read_all(&arguments.traces) {
        Ok(traces) => cases.extend(traces.into_iter().map(|(name, capacity, period)| cases::trace(&name, capacity, period))),
        Err(reason) => {
            eprintln!("traces skipped: {reason}");
            if arguments.json {
                println!("{}", json!({"kind": "bwe", "case": "traces", "skipped": reason}));
            }
        }
    }
    let wanted = |case: &Case| arguments.case.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    arguments.check()?;
    if !cases.iter().any(&wanted) {
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let asked = arguments.case.as_deref().unwrap_or_default();
        return Err(format!("--case {asked:?} is part of no case's name; there are {}", names.join(", ")));
    }
    let mut missed = Vec::new();
    for case in cases.iter().filter(|case| wanted(case)) {
        if arguments.plot {
            plot(case, arguments.seed_base);
            continue;
        }
        let line = run_case(case, arguments.seed_base, arguments.seeds);
        if line["met"] == json!(false) {
            missed.push(case.name.clone());
        }
        print(&line, arguments.json);
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("floors missed: {}", missed.join(", "))) }
}

fn print(line: &Value, as_json: bool) {
    if as_json {
        println!("{line}");
        return;
    }
    let fields = line.as_object().into_iter().flatten().filter(|(_, value)| value.is_object());
    let fields = fields.map(|(name, value)| format!("{name} {} ({}..{})", value["median"], value["min"], value["max"]));
    println!("{:<28} {}", line["case"].as_str().unwrap_or_default(), fields.collect::<Vec<_>>().join("  "));
}

/// Every seed of a case, summed up in one line.
fn run_case(case: &Case, seed_base: u64, seeds: u64) -> Value {
    let records: Vec<_> = (seed_base..seed_base + seeds).map(|seed| world::run(&case.setup, seed)).collect();
    let mut line = Map::new();
    line.insert("kind".to_owned(), json!("bwe"));
    line.insert("case".to_owned(), json!(case.name));
    line.insert("seeds".to_owned(), json!(seeds));
    line.insert("seed_base".to_owned(), json!(seed_base));
    let mut all_met = None;
    for measure in &case.measures {
        let values: Vec<f64> = records.iter().map(|record| measure.read(&case.setup, record)).collect();
        let (value, met) = sum_up(measure, values, seed_base);
        all_met = met.map_or(all_met, |met| Some(all_met.unwrap_or(true) && met));
        line.insert(measure.name.to_owned(), value);
    }
    if let Some(met) = all_met {
        line.insert("met".to_owned(), json!(met));
    }
    Value::Object(line)
}

/// Median and extremes over the seeds; a floor holds for every seed.
fn sum_up(measure: &Measure, values: Vec<f64>, seed_base: u64) -> (Value, Option<bool>) {
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let (least, most) = (sorted.first().copied().unwrap_or_default(), sorted.last().copied().unwrap_or_default());
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let mut value = json!({"median": round(median), "min": round(least), "max": round(most)});
    let met = measure.floor.map(|floor| values.iter().all(|value| floor.is_met(*value)));
    if let Some(floor) = measure.floor {
        let (bound, worst) = match floor {
            Floor::AtMost(_) => ("at_most", most),
            Floor::AtLeast(_) => ("at_least", least),
        };
        value[bound] = json!(floor.bound());
        value["met"] = json!(met);
        let seed = (seed_base..).zip(&values).find(|(_, value)| **value == worst).map(|(seed, _)| seed);
        value["worst_seed"] = json!(seed);
    }
    (value, met)
}

/// Three decimals; a time that never came is null.
fn round(value: f64) -> Value {
    if value.is_finite() { json!((value * 1e3).round() / 1e3) } else { Value::Null }
}

fn plot(case: &Case, seed: u64) {
    const STEP: Duration = Duration::from_millis(200);
    let record = world::run(&case.setup, seed);
    let mut departures = record.departures.iter().peekable();
    let (mut number, mut at) = (0, Duration::ZERO);
    while at.as_secs_f64() < case.setup.seconds {
        let end = at + STEP;
        let (mut wait, mut bytes) = (Duration::ZERO, 0);
        while let Some(departure) = departures.next_if(|departure| departure.at < end) {
            wait = wait.max(departure.waited);
            bytes += departure.bytes;
        }
        let rates: Vec<u64> =
            record.samples.iter().filter_map(|flow| flow.get(number)).map(|sample| sample.rate / 1_000).collect();
        let drops = record.drops.iter().filter(|drop| **drop >= at && **drop < end).count();
        let capacity = case.setup.capacity.at(at).0 / 1_000;
        println!(
            "{:7.1} s  capacity {capacity:6}  passed {:6}  queue {:4} ms  drops {drops:3}  estimates {rates:?}",
            at.as_secs_f64(),
            bytes * 8 / STEP.as_millis() as u64,
            wait.as_millis(),
        );
        (number, at) = (number + 2, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other seeds than those anybody looked at while choosing constants.
    const SEED_BASE: u64 = 9_000;

    #[test]
    fn every_floor_is_met() {
        for case in cases::all().iter().filter(|case| case.measures.iter().any(|measure| measure.floor.is_some())) {
            let line = run_case(case, SEED_BASE, 3);
            assert_eq!(line["met"], json!(true), "{line}");
        }
    }

    #[test]
    fn arguments_that_would_run_nothing_are_refused_by_name() {
        let usual =
            || Arguments { seeds: 1, seed_base: 1, case: None, traces: PathBuf::from("nowhere"), json: true, plot: false };
        let refused = |arguments: Arguments| run(&arguments).unwrap_err();
        assert!(refused(Arguments { case: Some("nope".to_owned()), ..usual() }).starts_with("--case \"nope\""));
        assert!(refused(Arguments { seeds: 0, ..usual() }).starts_with("--seeds cannot be 0"));
        assert!(refused(Arguments { seeds: u64::MAX, ..usual() }).starts_with("--seeds cannot be"));
        assert!(refused(Arguments { seeds: 9, seed_base: u64::MAX - 3, ..usual() }).starts_with("--seed-base cannot be"));
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let cases = cases::all();
        let case = cases.iter().find(|case| case.name == "jitter_30ms").expect("a case with jitter");
        assert_eq!(run_case(case, SEED_BASE, 1), run_case(case, SEED_BASE, 1));
    }
}
