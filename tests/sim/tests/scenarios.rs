//! Every scenario file holds under a few seeds, and is the same call each time.

use std::path::Path;

use segue_sim::scenario::{Runner, Scenario};

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let parse = |path: &Path| Scenario::parse(&std::fs::read_to_string(path).unwrap(), &|_| None);
    files
        .iter()
        .map(|path| (path.display().to_string(), parse(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))))
        .collect()
}

#[test]
fn every_scenario_holds() {
    // The yardstick of speed is for release builds.
    for (name, scenario) in scenarios().iter().filter(|(name, _)| !name.ends_with("eight.toml")) {
        let outcome = Runner::new(scenario, 1, false).run(scenario);
        let outcome = outcome
            .unwrap_or_else(|failure| panic!("{name}: {:.3} s: {}\n{}", failure.at, failure.what, failure.lines.join("\n")));
        assert!(outcome.packets > 0, "{name}");
    }
}

#[test]
fn a_run_with_faults_is_repeated_by_its_seed() {
    let all = scenarios();
    let (_, scenario) = all.iter().find(|(name, _)| name.ends_with("faults.toml")).unwrap();
    let hash = |seed| Runner::new(scenario, seed, false).run(scenario).map(|outcome| outcome.hash).unwrap_or_default();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}
