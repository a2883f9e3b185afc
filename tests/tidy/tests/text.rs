//! What may not stand in a file.

use std::collections::BTreeSet;

use segue_tidy::{assert_only_known, files, sources, top};

/// The top level is fixed.
const TOP: [&str; 8] = ["Cargo.toml", "Cargo.lock", "README.md", "core", "bindings", "relay", "examples", "tests"];

#[test]
fn the_top_level_is_fixed() {
    let mut found = BTreeSet::new();
    for path in files() {
        let first = path.components().next().and_then(|part| part.as_os_str().to_str().map(str::to_owned)).unwrap_or_default();
        if !first.starts_with('.') && !TOP.contains(&first.as_str()) {
            found.insert(first);
        }
    }
    assert_only_known("a name at the top level that is not in the layout", &found, &[]);
    assert!(top().join("README.md").exists(), "README.md is missing");
}

#[test]
fn nothing_is_left_to_do_without_saying_so() {
    let mut found = BTreeSet::new();
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X"];
    for extension in ["rs", "js", "py", "kt", "swift"] {
        for (path, text) in sources(extension) {
            for (number, line) in text.lines().enumerate() {
                if words.iter().any(|word| line.contains(word.as_str())) {
                    found.insert(format!("{path}:{}", number + 1));
                }
            }
        }
    }
    assert_only_known("a note to self", &found, &[]);
}

#[test]
fn no_path_of_a_machine() {
    let mut found = BTreeSet::new();
    let home = format!("/{}/", "root");
    let folder = format!("/{}/", "work");
    for extension in ["rs", "js", "toml", "md", "html", "css", "proto", "service", "yml", "lock"] {
        for (path, text) in sources(extension) {
            for (number, line) in text.lines().enumerate() {
                if line.contains(&home) || line.contains(&folder) {
                    found.insert(format!("{path}:{}", number + 1));
                }
            }
        }
    }
    assert_only_known("a path of a machine", &found, &[]);
}
