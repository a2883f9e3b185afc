//! Below the purity line nothing reads a clock, opens a socket, spawns a task or draws global randomness. Clippy's disallowed
//! methods prove most of it; this proves that the lint is on and catches what clippy cannot name.

use std::collections::BTreeSet;
use std::fs;

use segue_tidy::{PURE_FOLDERS, assert_only_known, is_test_code, sources, top, without_tests};

const FORBIDDEN: [&str; 11] = [
    "Instant::now",
    "SystemTime::now",
    "thread::spawn",
    "thread::sleep",
    "tokio::",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::fs::",
    "rand::",
    "SystemRandom",
    "RandomState",
];

/// Randomness of a shell that draws keys is not global randomness of a pure crate: there are no exceptions.
const KNOWN: [&str; 0] = [];

#[test]
fn pure_sources_name_no_effect() {
    let mut found = BTreeSet::new();
    for (path, text) in sources("rs") {
        if !PURE_FOLDERS.iter().any(|folder| path.starts_with(&format!("{folder}src/"))) || is_test_code(&path) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in FORBIDDEN {
                if code.contains(word) {
                    found.insert(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert_only_known("an effect below the purity line", &found, &KNOWN);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for (path, text) in sources("toml") {
        if path.ends_with("Cargo.toml") && text.contains("[package]") && !path.starts_with("tests/fuzz/") {
            assert!(text.contains("[lints]\nworkspace = true"), "{path} does not take the workspace's lints");
        }
    }
}

#[test]
fn pure_crates_neither_unwrap_nor_expect() {
    for folder in PURE_FOLDERS {
        let text = fs::read_to_string(top().join(folder).join("src/lib.rs")).expect("a crate");
        let lint = "#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]";
        assert!(text.contains(lint), "{folder}src/lib.rs does not hold {lint}");
    }
}

#[test]
fn pure_crates_keep_the_strict_lint_file() {
    for folder in PURE_FOLDERS {
        assert!(!top().join(folder).join(".clippy.toml").exists(), "{folder} overrides the purity line's .clippy.toml");
    }
    let strict = fs::read_to_string(top().join(".clippy.toml")).expect(".clippy.toml at the top");
    for word in ["Instant::now", "SystemTime::now", "thread::spawn", "HashMap::iter"] {
        assert!(strict.contains(word), ".clippy.toml no longer disallows {word}");
    }
}

#[test]
fn shells_read_the_clock_in_one_file() {
    let mut found = BTreeSet::new();
    for (path, text) in sources("rs") {
        let shell = path.starts_with("core/client/src/") || path.starts_with("relay/server/src/");
        if !shell || path.ends_with("/clock.rs") {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            if line.contains("Instant::now") || line.contains("SystemTime::now") {
                found.insert(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_only_known("a clock read outside clock.rs", &found, &[]);
}
