//! `cargo xtask bindings`: builds the seam (`bindings/ffi`) and generates what each package needs, all from the same build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{cargo, execute, target, top};
use crate::{doctor, kotlin, python};

/// Languages that something is generated for.
const LANGUAGES: [&str; 3] = ["python", "kotlin", "swift"];

/// The stripped library may have this many megabytes: what an app store listing grows by. Printed and checked with every build of
/// [`Profile::Ship`].
const SIZE_BUDGET: f64 = 14.0;

/// What a build is for: tests (quickly built), measurements, or people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo test` builds.
    Dev,
    /// As benchmarks are built.
    Release,
    /// As it is shipped: as small as it gets, in minutes.
    Ship,
}

impl Profile {
    /// What cargo calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Ship => "ship",
        }
    }
}

/// `cargo xtask bindings [--release] [--accept]`
pub fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(other) = arguments.iter().find(|argument| !["--release", "--accept"].contains(&argument.as_str())) {
        return Err(format!("usage: cargo xtask bindings [--release] [--accept] (not {other})"));
    }
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    doctor::ensure(&[doctor::BUILD])?;
    let profile = if given("--release") { Profile::Ship } else { Profile::Dev };
    let mut library = build(profile)?;
    if given("--accept") && accept(&library)? {
        // The library carries the number of its surface: it has to be built with the new one.
        library = build(profile)?;
    }
    generate(&library)?;
    kotlin::place_native(&library)?;
    if profile == Profile::Ship {
        check_size(&library)?;
    }
    Ok(())
}

/// A language and what prints its lines.
type Bench = (&'static str, fn(&[String]) -> Result<(), String>);

/// `cargo xtask bench bindings`: languages that are measured.
const BENCHES: [Bench; 2] = [("python", python::bench), ("kotlin", kotlin::bench)];

/// `cargo xtask bench bindings [--json] [--only LANGUAGE] [ARGS]`: what crossing the seam costs in each language.
pub fn bench(arguments: &[String]) -> Result<(), String> {
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    for (language, bench) in BENCHES.iter().filter(|(language, _)| only.is_none_or(|only| only == language)) {
        eprintln!("== {language}");
        bench(arguments)?;
    }
    Ok(())
}

/// Builds the library, the generators and the stage, and says where the library is. As the tests of the whole workspace are built, always: a
/// part of it would be built with features of its own, and everything below it again.
pub fn build(profile: Profile) -> Result<PathBuf, String> {
    let tests = ["--test", "surface", "--test", "conformance"];
    execute(cargo(&["test", "--quiet", "--workspace", "--no-run"]).args(tests))?;
    let name = format!("{}segue_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    if profile == Profile::Dev {
        return Ok(target().join("debug/deps").join(name));
    }
    execute(&mut cargo(&["build", "--quiet", "--profile", profile.name(), "--package", "segue-ffi"]))?;
    Ok(target().join(profile.name()).join(name))
}

/// Where the program that suites play on was built.
pub fn stage() -> PathBuf {
    target().join("debug/stage")
}

fn generator() -> Command {
    Command::new(target().join("debug/uniffi-bindgen"))
}

fn surface_file() -> PathBuf {
    top().join("bindings/ffi/surface.txt")
}

fn surface(library: &Path) -> Result<String, String> {
    let output = generator().arg("surface").arg(library).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// Takes the built surface for the committed one; whether it was another.
fn accept(library: &Path) -> Result<bool, String> {
    let built = surface(library)?;
    let changed = fs::read_to_string(surface_file()).map_err(|error| error.to_string())? != built;
    fs::write(surface_file(), built).map_err(|error| error.to_string())?;
    Ok(changed)
}

/// Generates into `target/bindings/LANGUAGE`.
pub fn generate(library: &Path) -> Result<(), String> {
    let committed = fs::read_to_string(surface_file()).map_err(|error| error.to_string())?;
    if surface(library)? != committed {
        return Err("what crosses the seam is not what bindings/ffi/surface.txt says: `cargo xtask bindings --accept` if it is meant, and look at all packages".to_owned());
    }
    for language in LANGUAGES {
        let out = target().join("bindings").join(language);
        execute(generator().args(["generate", "--language", language, "--out-dir"]).arg(&out).arg("--library").arg(library))?;
        println!("{}", out.display());
    }
    println!("{}", library.display());
    Ok(())
}

/// Without symbols, which generators need and nobody else.
fn check_size(library: &Path) -> Result<(), String> {
    let stripped = target().join("bindings/stripped");
    execute(Command::new("strip").arg("-o").arg(&stripped).arg(library))?;
    let megabytes = fs::metadata(&stripped).map_err(|error| error.to_string())?.len() as f64 / 1e6;
    println!("stripped: {megabytes:.1} MB of {SIZE_BUDGET} MB");
    if megabytes <= SIZE_BUDGET {
        Ok(())
    } else {
        Err(format!("the stripped library has {megabytes:.1} MB: more than {SIZE_BUDGET}"))
    }
}
