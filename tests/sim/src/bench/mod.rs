//! `bench handover`: what a change of path costs, measured on what was played.
//!
//! Every seed runs twice: once the room changes its topology, once, under a relay that is configured not to want it, it does not. Media
//! meets the same losses in both runs, because the loss of a packet belongs to the packet and not to its path ([`crate::net::Common`]); the
//! class `hops` loses on every hop for itself instead.

mod class;
mod compare;
mod html;
mod line;
mod overlap;
mod report;
mod side;
mod trial;

use std::ops::RangeInclusive;
use std::path::Path;

use crate::rng::Rng;
use crate::scenario::Scenario;
pub use class::Class;
pub use compare::Measured;
pub use trial::Trial;

/// Longest delay that can be asked for, and most seeds: a night's work.
const MAX_MS: f64 = 10_000.0;
const MAX_SEEDS: u64 = 1_000_000;

const USAGE: &str = "\
usage: segue-sim handover [--seeds N] [--seed-base B] [--participants P] [--loss P] [--burst] [--jitter MS] [--path-diff MS]
                          [--class NAME] [--scenario FILE] [--each] [--html FILE] [--json]
  --participants  established participants, 2..8 (default: drawn)
  --seeds         1..1000000
  --loss          share of packets lost, 0..1; 0.05 for 5 %
  --jitter        0..10000
  --path-diff     how much longer the way by the relay takes, -10000..10000
  --class         one of the chaos set only; without any of these options the whole set is run
  --each          a line for each seed besides, as soon as it is done
  --scenario      its [network] and steps are played before the trigger: everybody who is there then is measured, under what the file says
";

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    seeds: u64,
    base: u64,
    participants: Option<usize>,
    loss: Option<f64>,
    burst: bool,
    jitter: Option<f64>,
    path_diff: Option<f64>,
    class: Option<Class>,
    scenario: Option<String>,
    /// A line for each seed.
    each: bool,
    /// Where the page goes.
    html: Option<String>,
}

impl Options {
    fn is_plain(&self) -> bool {
        self.loss.is_none() && !self.burst && self.jitter.is_none() && self.path_diff.is_none() && self.scenario.is_none()
    }

    /// Nothing is asked for that a scenario file says too, or that has no place for one.
    fn agree_with(&self, scenario: &Scenario) -> Result<(), String> {
        if let Some((class, why)) = self.class.and_then(|class| Some((class, class.refuses_scenario()?))) {
            return Err(format!("--class {} {why}; leave out one of --class and --scenario", class.name()));
        }
        let trial = self.trial(self.base);
        let network = &scenario.network;
        if network.common.is_some() && (trial.loss > 0.0 || trial.burst || trial.jitter > 0.0) {
            return Err("the file's [network.common] says what is lost and late, and so does the command line: leave out one"
                .to_owned());
        }
        if (network.direct.is_some() || network.relay.is_some()) && trial.diff != 0.0 {
            return Err("the file's [network] says how long paths are, and so does the command line: leave out one".to_owned());
        }
        if self.participants.is_some() && scenario.people().1 > 1 {
            return Err("--participants and the file both say who is there: leave out one".to_owned());
        }
        Ok(())
    }

    /// The trial of a seed.
    fn trial(&self, seed: u64) -> Trial {
        let mut rng = Rng::new(seed);
        let participants = self.participants.unwrap_or_else(|| rng.between(2, 8) as usize);
        let up = rng.chance(0.5);
        let class = match self.class {
            Some(class) => class,
            None if self.is_plain() => Class::ALL[(seed % Class::ALL.len() as u64) as usize],
            None => Class::Asked,
        };
        let mut trial = Trial { seed, participants, up, class, loss: 0.0, burst: self.burst, jitter: 0.0, diff: 0.0 };
        class.shape(&mut trial, &mut rng);
        trial.loss = self.loss.unwrap_or(trial.loss);
        trial.jitter = self.jitter.unwrap_or(trial.jitter);
        trial.diff = self.path_diff.unwrap_or(trial.diff);
        trial.burst |= self.burst;
        trial
    }
}

/// A number in a range.
fn within(text: &str, range: RangeInclusive<f64>) -> Option<f64> {
    text.parse().ok().filter(|number| range.contains(number))
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { seeds: 64, base: 1, ..Options::default() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        let wrong = |text: &str| format!("{word} cannot be {text:?}\n{USAGE}");
        match word.as_str() {
            "--seeds" => {
                let text = value()?;
                options.seeds =
                    text.parse().ok().filter(|count| (1..=MAX_SEEDS).contains(count)).ok_or_else(|| wrong(&text))?;
            }
            "--seed-base" => options.base = value().and_then(|text| text.parse().map_err(|_| wrong(&text)))?,
            "--participants" => {
                let text = value()?;
                let count = text.parse().ok().filter(|count| (2..=8).contains(count));
                options.participants = Some(count.ok_or_else(|| wrong(&text))?);
            }
            "--loss" => options.loss = Some(value().and_then(|text| within(&text, 0.0..=1.0).ok_or_else(|| wrong(&text)))?),
            "--burst" => options.burst = true,
            "--jitter" => {
                options.jitter = Some(value().and_then(|text| within(&text, 0.0..=MAX_MS).ok_or_else(|| wrong(&text)))?);
            }
            "--path-diff" => {
                options.path_diff = Some(value().and_then(|text| within(&text, -MAX_MS..=MAX_MS).ok_or_else(|| wrong(&text)))?);
            }
            "--class" => {
                let text = value()?;
                options.class = Some(Class::named(&text).ok_or_else(|| wrong(&text))?);
            }
            "--scenario" => options.scenario = Some(value()?),
            "--each" => options.each = true,
            "--html" => options.html = Some(value()?),
            "--json" => {}
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.base.checked_add(options.seeds).is_none() {
        return Err(format!(
            "--seed-base cannot be {}: the last of {} seeds would be above 2^64\n{USAGE}",
            options.base, options.seeds
        ));
    }
    Ok(options)
}

/// Runs it; `load` reads a scenario. True where no oracle was broken.
///
/// # Errors
/// What is wrong with the arguments.
pub fn run(arguments: &[String], load: &dyn Fn(&Path) -> Result<Scenario, String>) -> Result<bool, String> {
    let options = parse(arguments)?;
    let scenario = options.scenario.as_ref().map(|path| load(Path::new(path))).transpose()?;
    if let Some(scenario) = &scenario {
        options.agree_with(scenario)?;
    }
    let mut report = report::Report::default();
    let trials: Vec<Trial> = (options.base..options.base + options.seeds).map(|seed| options.trial(seed)).collect();
    let measure = |trial: &Trial| trial.measure(scenario.as_ref());
    crate::parallel::each(&trials, measure, |trial, outcome| {
        if options.each {
            println!("{}", report::run_line(trial, &outcome));
        }
        report.add(trial, outcome);
    });
    report.print();
    if let Some(path) = &options.html {
        std::fs::write(path, report.page()).map_err(|error| format!("{path}: {error}"))?;
        eprintln!("{path} has the same for people");
    }
    Ok(report.is_sound())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_out_of_range_are_refused_by_name() {
        let wrong = [
            ("--loss", "1.5"),
            ("--loss", "-0.1"),
            ("--loss", "NaN"),
            ("--jitter", "-1"),
            ("--jitter", "inf"),
            ("--path-diff", "1e9"),
            ("--seeds", "0"),
            ("--participants", "9"),
            ("--class", "moon"),
        ];
        for (word, value) in wrong {
            let error = parse(&[word.to_owned(), value.to_owned()]).unwrap_err();
            assert!(error.starts_with(&format!("{word} cannot be {value:?}")), "{error}");
        }
        let words = ["--loss", "0.05", "--jitter", "30", "--path-diff", "-50", "--seeds", "3"];
        let options = parse(&words.map(str::to_owned)).unwrap();
        assert_eq!((options.loss, options.jitter, options.path_diff, options.seeds), (Some(0.05), Some(30.0), Some(-50.0), 3));
    }

    #[test]
    fn seeds_that_go_beyond_their_type_are_refused() {
        let words = |base: u64| ["--seeds", "3", "--seed-base", &base.to_string()].map(str::to_owned);
        assert!(parse(&words(u64::MAX - 3)).is_ok());
        assert!(parse(&words(u64::MAX - 2)).unwrap_err().starts_with("--seed-base cannot be"));
    }

    #[test]
    fn what_a_file_and_the_command_line_both_say_is_refused() {
        let scenario = Scenario::parse(
            "name = 'x'\n[network.common]\nloss = 0.1\n[network.direct]\ndelay_ms = 9\n[[step]]\ndo = 'join'\nwho = ['a', 'b']",
            &|_| None,
        );
        let scenario = scenario.unwrap();
        let agrees = |words: &[&str]| {
            let words: Vec<String> =
                words.iter().map(|word| (*word).to_owned()).chain(["--scenario", "f"].map(str::to_owned)).collect();
            parse(&words).unwrap().agree_with(&scenario)
        };
        assert_eq!(agrees(&[]), Ok(()));
        assert_eq!(agrees(&["--class", "relay_stalls"]), Ok(()));
        for wrong in [
            &["--loss", "0.01"][..],
            &["--class", "loss1"],
            &["--path-diff", "50"],
            &["--participants", "3"],
            &["--class", "relay_killed"],
            &["--class", "skew"],
            &["--class", "hops"],
        ] {
            assert!(agrees(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_scenario_file_can_be_measured() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        // The yardstick of speed is for release builds.
        for path in files.iter().filter(|path| !path.ends_with("eight.toml")) {
            let scenario = Scenario::parse(&std::fs::read_to_string(path).unwrap(), &|_| None).unwrap();
            let options = Options { base: 1, scenario: Some(path.display().to_string()), ..Options::default() };
            for up in [true, false] {
                let trial = Trial { up, ..options.trial(1) };
                let measured = trial.measure(Some(&scenario)).unwrap_or_else(|failure| panic!("{path:?}: {}", failure.what));
                assert_eq!(measured.truth.participants, scenario.people().1, "{path:?}");
                assert!(!measured.audio_gaps.is_empty() && measured.messages_sent > 0, "{path:?}");
            }
        }
    }
}
