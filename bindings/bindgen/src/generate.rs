//! Generating.

use std::fs;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

use crate::surface::{fingerprint, surface};

/// A language there is a package for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `segue_ffi.py` and `version.py`.
    Python,
    /// Package `dev.segue.internal`.
    Kotlin,
    /// Module `SegueGenerated` over the C module `SegueFFI`.
    Swift,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::Kotlin, Self::Swift];

    /// As it is called in folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Kotlin => "kotlin",
            Self::Swift => "swift",
        }
    }

    const fn target(self) -> TargetLanguage {
        match self {
            Self::Python => TargetLanguage::Python,
            Self::Kotlin => TargetLanguage::Kotlin,
            Self::Swift => TargetLanguage::Swift,
        }
    }
}

/// Where crate `segue-ffi` stands with its `uniffi.toml`, known without asking cargo for the metadata of the whole workspace.
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ffi");

/// Version of the SDK.
const VERSION: &str = env!("CARGO_PKG_VERSION");

struct Crate;

impl BindgenPathsLayer for Crate {
    fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
        (crate_name == "segue_ffi").then(|| Utf8PathBuf::from(CRATE))
    }
}

/// Generates what a language needs from a built library into a folder, which is emptied first.
///
/// # Errors
/// The library has no metadata, or a file cannot be written.
pub fn generate(language: Language, library: &Utf8Path, out: &Utf8Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    let mut paths = BindgenPaths::default();
    paths.add_layer(Crate);
    let options = GenerateOptions {
        languages: vec![language.target()],
        source: library.to_owned(),
        out_dir: out.to_owned(),
        ..GenerateOptions::default()
    };
    generate_with_bindgen_paths(options, paths)?;
    let version = format!("{VERSION}+{:08x}", fingerprint(&surface(library)?));
    let (file, text) = match language {
        Language::Python => ("version.py", format!("SDK_VERSION = \"{version}\"\n")),
        Language::Kotlin => (
            "dev/segue/internal/SdkVersion.kt",
            format!("package dev.segue.internal\n\ninternal const val SDK_VERSION = \"{version}\"\n"),
        ),
        Language::Swift => (
            "SdkVersion.swift",
            format!("/// The library this was generated from.\npublic let expectedSdkVersion = \"{version}\"\n"),
        ),
    };
    Ok(fs::write(out.join(file), text)?)
}
