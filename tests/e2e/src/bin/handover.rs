//! `handover [--scenario TEXT]... [--runs N] [--seed S] [--json]`: what a change of path costs over real sockets with real codecs. Ends in one
//! line of JSON. It reports, and judges nothing but its own arguments.

use segue_e2e::handover::compare::{compare, outages};
use segue_e2e::handover::relay::{WORD, be};
use segue_e2e::handover::report::Report;
use segue_e2e::handover::run::play;
use segue_e2e::handover::scenario::{ALL, Scenario};

const USAGE: &str = "\
usage: cargo xtask bench handover --real [--scenario TEXT] [--runs N] [--seed S] [--json]
  --scenario  only scenarios whose name contains it
  --runs      how often each is played (default 1), every time with other losses
  --seed      of the losses (default 1)";

struct Options {
    scenario: String,
    runs: u64,
    seed: u64,
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { scenario: String::new(), runs: 1, seed: 1 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{word} takes a number\n{USAGE}"));
        match word.as_str() {
            "--runs" => options.runs = number()?,
            "--seed" => options.seed = number()?,
            "--scenario" => options.scenario = words.next().cloned().ok_or("--scenario takes a name")?,
            // Lines of JSON are all there is.
            "--json" | "--real" => {}
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.runs == 0 {
        return Err("--runs takes a number of runs, at least 1".to_owned());
    }
    if ALL.iter().any(|scenario| scenario.name.contains(&options.scenario)) {
        Ok(options)
    } else {
        let names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        Err(format!("there is no scenario {}: {}", options.scenario, names.join(" ")))
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [word, mesh_max] if word == WORD => be(mesh_max).await,
        _ => match parse(&arguments) {
            Ok(options) => {
                run(&options).await;
                Ok(())
            }
            Err(message) => Err(message),
        },
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) {
    let mut report = Report::default();
    for seed in options.seed..options.seed + options.runs {
        for scenario in ALL.iter().filter(|scenario| scenario.name.contains(&options.scenario)) {
            if let Err(why) = measure(&mut report, scenario, seed).await {
                report.fail(scenario, &why);
            }
        }
    }
    report.print();
}

async fn measure(report: &mut Report, scenario: &Scenario, seed: u64) -> Result<(), String> {
    let with = play(scenario, true, seed, None).await?;
    if scenario.is_disaster() {
        report.add(scenario, outages(scenario, &with));
        return Ok(());
    }
    let without = play(scenario, false, seed, Some(with.until - with.start)).await?;
    report.add(scenario, compare(scenario, &with, &without));
    Ok(())
}
