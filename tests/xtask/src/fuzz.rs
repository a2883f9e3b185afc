//! `cargo xtask fuzz` and the short replay of CI: libFuzzer on stable Rust, with coverage from the compiler's own passes.

use std::process::Command;

use crate::shell::{cargo, execute, target, top};

/// What a fuzz target reads, in one word each; the files stand in `tests/fuzz/targets`.
pub const TARGETS: [&str; 7] = ["signalling", "rtp", "rtcp", "sdp", "transport", "sctp", "layers"];

/// Inputs per target in CI, new ones, after the corpus.
const REPLAY_RUNS: u32 = 20_000;

/// A bound for the replay of one target, in seconds; fewer runs than asked is not a failure.
const REPLAY_SECONDS: u32 = 30;

/// Largest input in bytes.
const MAX_LEN: u32 = 4096;

const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

/// `cargo xtask fuzz [SECONDS] [NAME]`.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut seconds = 60_u32;
    let mut chosen = None;
    for argument in arguments {
        if let Ok(number) = argument.parse() {
            if number == 0 {
                return Err("each target runs for at least 1 second".to_owned());
            }
            seconds = number;
        } else if TARGETS.contains(&argument.as_str()) {
            chosen = Some(argument.as_str());
        } else {
            return Err(format!("there is no fuzz target {argument}: {}", TARGETS.join(" ")));
        }
    }
    crate::doctor::ensure(&[crate::doctor::BUILD])?;
    build()?;
    TARGETS
        .iter()
        .filter(|name| chosen.is_none_or(|chosen| chosen == **name))
        .try_for_each(|name| fuzz(name, &[format!("-max_total_time={seconds}")]))
}

/// Builds every target and gives each a short run.
pub fn replay() -> Result<(), String> {
    build()?;
    TARGETS.iter().try_for_each(|name| {
        fuzz(name, &[format!("-runs={REPLAY_RUNS}"), format!("-max_total_time={REPLAY_SECONDS}"), "-seed=1".to_owned()])
    })
}

fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc -vV: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| "rustc -vV names no host".to_owned())
}

fn build() -> Result<(), String> {
    // `--target` keeps the coverage flags away from build scripts and proc macros.
    execute(
        cargo(&["build", "--manifest-path", "tests/fuzz/Cargo.toml", "--release", "--bins", "--target", &host()?])
            .env("CARGO_TARGET_DIR", target().join("fuzz"))
            .env("RUSTFLAGS", COVERAGE),
    )
}

fn fuzz(name: &str, flags: &[String]) -> Result<(), String> {
    let corpus = target().join("fuzz/corpus").join(name);
    let artifacts = target().join("fuzz/artifacts").join(name);
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let program = target().join("fuzz").join(host()?).join("release").join(name);
    let mut command = Command::new(program);
    command
        .current_dir(top())
        .arg(&corpus)
        .args(flags)
        .arg(format!("-max_len={MAX_LEN}"))
        .arg("-timeout=10")
        .arg("-rss_limit_mb=2048")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    execute(&mut command)
}
