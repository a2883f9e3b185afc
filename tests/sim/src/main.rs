//! `segue-sim`: runs a scenario, or a run drawn from a seed, and says how it went.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segue_sim::random;
use segue_sim::scenario::{Failure, Outcome, Runner, Scenario};
use segue_sim::timeline;

const USAGE: &str = "\
usage: segue-sim [--seed S] [--seeds N] [--scenario FILE] [--soak] [--seconds T] [--json] [--html FILE]
       segue-sim handover [OPTIONS]   (see `segue-sim handover --help`)
";

#[derive(Default)]
struct Options {
    seed: u64,
    seeds: Option<u64>,
    scenario: Option<PathBuf>,
    soak: bool,
    seconds: Option<u64>,
    json: bool,
    html: Option<PathBuf>,
}

/// Most runs that can be asked for, and their longest: a night's work.
const MAX_SEEDS: u64 = 1_000_000;
const MAX_SECONDS: u64 = 86_400;

/// Runs of a soak: a simulated day.
const SOAK_SEEDS: u64 = 100;

impl Options {
    fn count(&self) -> u64 {
        self.seeds.unwrap_or(if self.soak { SOAK_SEEDS } else { 1 })
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { seed: 1, ..Options::default() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{word} takes a number, not {text:?}"));
        match word.as_str() {
            "--seed" => options.seed = number(value()?)?,
            "--seeds" => options.seeds = Some(number(value()?)?),
            "--seconds" => options.seconds = Some(number(value()?)?),
            "--scenario" => options.scenario = Some(PathBuf::from(value()?)),
            "--html" => options.html = Some(PathBuf::from(value()?)),
            "--soak" => options.soak = true,
            "--json" => options.json = true,
            _ => return Err(format!("{word:?} is no option\n{USAGE}")),
        }
    }
    if !(1..=MAX_SEEDS).contains(&options.count()) {
        return Err(format!("--seeds takes a number of runs, 1 to {MAX_SEEDS}"));
    }
    if options.seconds.is_some_and(|seconds| !(1..=MAX_SECONDS).contains(&seconds)) {
        return Err(format!("--seconds takes 1 to {MAX_SECONDS}"));
    }
    if options.seed.checked_add(options.count()).is_none() {
        return Err(format!("--seed cannot be {}: the last of {} seeds would be above 2^64", options.seed, options.count()));
    }
    if let Some(path) = &options.html {
        std::fs::File::create(path).map_err(|error| format!("{}: {error}; name a file that can be written", path.display()))?;
    }
    Ok(options)
}

fn load(path: &Path) -> Result<Scenario, String> {
    let read = |path: &Path| std::fs::read_to_string(path);
    let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let beside = |name: &str| read(&path.with_file_name(name)).ok();
    Scenario::parse(&text, &beside).map_err(|error| format!("{}: {error}", path.display()))
}

fn one(options: &Options, scenario: Option<&Scenario>, seed: u64) -> Result<Outcome, Failure> {
    let mut runner = match scenario {
        Some(scenario) => Runner::new(scenario, seed, false),
        None => random::runner(seed, options.soak),
    };
    if options.html.is_some() {
        runner.world.trace.full = Some(Vec::new());
    }
    let outcome = match scenario {
        Some(scenario) => runner.run(scenario),
        None if options.soak => random::soak(&mut runner, seed, options.seconds.unwrap_or(random::SOAK_SECONDS)),
        None => random::run(&mut runner, seed, options.seconds.unwrap_or(random::SECONDS)),
    };
    if let Some(path) = &options.html {
        write(path, &timeline::html(&runner.world));
    }
    outcome
}

/// A file that cannot be written was found before anything ran, unless something changed since.
fn write(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        eprintln!("{}: {error}", path.display());
    }
}

fn report(options: &Options, outcome: &Outcome) {
    let Outcome { seed, hash, seconds, packets, happenings, handovers } = outcome;
    if options.json {
        println!(
            "{{\"kind\":\"sim\",\"seed\":{seed},\"ok\":true,\"trace\":\"{hash:016x}\",\"virtual_s\":{seconds:.3},\"packets\":{packets},\"events\":{happenings},\"handovers\":{handovers}}}"
        );
    } else {
        println!("seed {seed}: every oracle kept, {seconds:.1} s, {packets} packets, {handovers} handovers, trace {hash:016x}");
    }
}

/// What was run: with a word for changes nobody has committed.
fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let text = git.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

fn complain(options: &Options, failure: &Failure) {
    for line in &failure.lines {
        eprintln!("{}", line.chars().take(300).collect::<String>());
    }
    let Failure { seed, at, what, .. } = failure;
    let commit = commit();
    if options.json {
        let what = serde_json::Value::String(what.clone());
        println!("{{\"kind\":\"sim\",\"seed\":{seed},\"ok\":false,\"commit\":\"{commit}\",\"at_s\":{at:.3},\"what\":{what}}}");
    }
    eprintln!("seed {seed}, commit {commit}, {at:.3} s: {what}");
    let scenario = options.scenario.as_ref().map(|path| format!(" --scenario {}", path.display())).unwrap_or_default();
    eprintln!("again with: cargo xtask sim --seed {seed}{scenario}{}", if options.soak { " --soak" } else { "" });
}

fn run(arguments: &[String]) -> Result<bool, String> {
    if arguments.first().is_some_and(|word| word == "handover") {
        return segue_sim::bench::run(&arguments[1..], &load);
    }
    let options = parse(arguments)?;
    let scenario = options.scenario.as_deref().map(load).transpose()?;
    let (mut failed, mut seconds) = (0, 0.0);
    let seeds: Vec<u64> = (options.seed..options.seed + options.count()).collect();
    segue_sim::parallel::each(
        &seeds,
        |seed| one(&options, scenario.as_ref(), *seed),
        |_, outcome| match outcome {
            Ok(outcome) => {
                seconds += outcome.seconds;
                report(&options, &outcome);
            }
            Err(failure) => {
                failed += 1;
                complain(&options, &failure);
            }
        },
    );
    if options.json {
        let hours = seconds / 3_600.0;
        println!("{{\"kind\":\"sim_total\",\"runs\":{},\"failed\":{failed},\"virtual_h\":{hours:.2}}}", options.count());
    }
    Ok(failed == 0)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("segue-sim: {message}");
            ExitCode::FAILURE
        }
    }
}
