//! Dependencies point down, and nothing below the purity line links a shell's library.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use segue_tidy::{PURE, top};

/// What each crate may link of this project. Tests may link anything.
const MAY_LINK: &[(&str, &[&str])] = &[
    ("segue-model", &[]),
    ("segue-wire", &["segue-model"]),
    ("segue-media", &["segue-model"]),
    ("segue-srtp", &["segue-model"]),
    ("segue-codec", &["segue-model"]),
    ("segue-session", &["segue-model", "segue-wire", "segue-media"]),
    ("segue-forward", &["segue-model", "segue-media"]),
    ("segue", &["segue-model", "segue-wire", "segue-media", "segue-session", "segue-codec"]),
    ("segue-relay", &["segue-model", "segue-wire", "segue-media", "segue-srtp", "segue-session", "segue-forward"]),
    ("segue-ffi", &["segue", "segue-wire"]),
    ("segue-bindgen", &[]),
    ("segue-examples", &["segue", "segue-codec", "segue-relay"]),
    ("segue-bench", &["segue-model", "segue-media", "segue-srtp", "segue-session", "segue-forward", "segue-relay"]),
    ("segue-e2e", &["segue", "segue-model", "segue-wire", "segue-codec", "segue-relay"]),
    ("segue-sim", &["segue-model", "segue-wire", "segue-media", "segue-session", "segue-forward"]),
    ("segue-tidy", &[]),
    ("xtask", &[]),
];

/// What a crate below the purity line may link from outside: values, parsing and arithmetic.
const PURE_MAY_LINK: [&str; 9] =
    ["base64", "bytes", "prost", "ring", "rtc-crypto", "serde", "serde_json", "thiserror", "tracing"];

/// No OpenSSL, no second cryptography.
const NEVER: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"];

/// Licences a dependency may stand under; one of its alternatives has to be here.
const LICENCES: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MPL-2.0",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
];

fn packages() -> (Vec<Package>, BTreeSet<String>) {
    let metadata = MetadataCommand::new().manifest_path(top().join("Cargo.toml")).exec().expect("cargo metadata");
    let members = metadata.workspace_packages().into_iter().cloned().collect();
    let all = metadata
        .resolve
        .expect("a resolved graph")
        .nodes
        .into_iter()
        .filter_map(|node| metadata.packages.iter().find(|package| package.id == node.id))
        .map(|package| package.name.to_string())
        .collect();
    (members, all)
}

fn normal_dependencies(package: &Package) -> BTreeSet<String> {
    package.dependencies.iter().filter(|dep| dep.kind == DependencyKind::Normal).map(|dep| dep.name.clone()).collect()
}

#[test]
fn dependencies_point_down() {
    let may_link: BTreeMap<_, _> = MAY_LINK.iter().copied().collect();
    let (members, _) = packages();
    let names: BTreeSet<String> = members.iter().map(|package| package.name.to_string()).collect();
    for package in &members {
        let allowed = may_link.get(package.name.as_str()).unwrap_or_else(|| panic!("{} has no line in MAY_LINK", package.name));
        for dependency in normal_dependencies(package).intersection(&names) {
            assert!(allowed.contains(&dependency.as_str()), "{} must not know {dependency}", package.name);
        }
    }
}

#[test]
fn pure_crates_link_no_shell() {
    let (members, _) = packages();
    for package in members.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        for dependency in normal_dependencies(package) {
            let ours = PURE.contains(&dependency.as_str());
            assert!(
                ours || PURE_MAY_LINK.contains(&dependency.as_str()),
                "{} is below the purity line and must not link {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn one_cryptography() {
    let (_, all) = packages();
    for name in NEVER {
        assert!(!all.contains(name), "{name} is in the dependency graph");
    }
}

/// An SPDX expression of the shapes that occur: alternatives, each of which may be several that all hold.
fn is_allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    // "(A OR B) AND C" reads as alternatives of "A" and "B AND C": stricter than meant, never looser, for C is among those allowed.
    flat.split(" OR ").any(|alternative| alternative.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn every_licence_is_allowed() {
    let metadata = MetadataCommand::new().manifest_path(top().join("Cargo.toml")).exec().expect("cargo metadata");
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        assert!(is_allowed(licence), "{} {} is under {licence}", package.name, package.version);
    }
}
