//! The rules of this house as tests: what a reviewer would otherwise have to remember.
//!
//! Each rule is one file under `tests/`. A rule that something already breaks holds a list of exceptions that may only shrink: an
//! entry that is no longer needed fails the test too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the workspace.
///
/// # Panics
/// Where the crate does not stand two levels below the top.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/tidy stands two levels below the top").to_path_buf()
}

/// Every file git knows or would take, relative to the top.
///
/// # Panics
/// Where git cannot be run.
#[must_use]
pub fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .expect("git lists the files of the project");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).filter(|path| top().join(path).is_file()).collect()
}

/// Files that end in `.extension`, with their text.
#[must_use]
pub fn sources(extension: &str) -> BTreeMap<String, String> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some((path.to_str()?.to_owned(), fs::read_to_string(top().join(&path)).ok()?)))
        .collect()
}

/// The part of a Rust file before its unit tests.
#[must_use]
pub fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Whether a whole file is test code: unit tests that outgrew their module's file, integration tests, benches.
#[must_use]
pub fn is_test_code(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}

/// Crates below the purity line.
pub const PURE: [&str; 6] = ["segue-model", "segue-wire", "segue-media", "segue-srtp", "segue-session", "segue-forward"];

/// Folders of the crates below the purity line.
pub const PURE_FOLDERS: [&str; 6] =
    ["core/model/", "core/wire/", "core/media/", "core/srtp/", "core/session/", "relay/forward/"];

/// Compares what breaks a rule with what is known to break it.
///
/// # Panics
/// With the difference, where there is one.
pub fn assert_only_known(rule: &str, found: &BTreeSet<String>, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|&entry| entry.to_owned()).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(found).collect();
    assert!(new.is_empty(), "{rule}: new breaches {new:#?}");
    assert!(gone.is_empty(), "{rule}: no longer needed, take it off the list {gone:#?}");
}
