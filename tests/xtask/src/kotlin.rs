//! The Kotlin package: its jar, its suite against that jar, and its lines of `cargo xtask bench bindings`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bindings::{self, Profile};
use crate::doctor;
use crate::shell::{execute, target, top};

/// `cargo xtask test --only kotlin`: the suite against the jar as it would be used, with the native library inside.
pub fn test() -> Result<(), String> {
    execute(&mut maven(Profile::Dev)?)
}

/// Prints this language's lines.
pub fn bench(arguments: &[String]) -> Result<(), String> {
    let mut bench = maven(Profile::Release)?;
    // Maven itself says nothing: the lines alone are on the standard output.
    bench.args(["--quiet", "-Dstyle.color=never", "-Dtest=Bench"]);
    if let Some(frames) = arguments.iter().skip_while(|argument| *argument != "--frames").nth(1) {
        bench.env("SEGUE_FRAMES", frames);
    }
    execute(&mut bench)
}

/// Builds the library; the command that makes the jar and runs tests on it.
fn maven(profile: Profile) -> Result<Command, String> {
    doctor::ensure(&[doctor::KOTLIN])?;
    let library = bindings::build(profile)?;
    bindings::generate(&library)?;
    place_native(&library)?;
    // What was removed from the sources is not to be found among the classes of an earlier build.
    let _absent_at_first = fs::remove_dir_all(target().join("kotlin"));
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--no-transfer-progress", "verify"]).arg(format!("-Dsegue.target={}", target().display()));
    maven.current_dir(top().join("bindings/kotlin"));
    maven.env("SEGUE_STAGE_PROGRAM", bindings::stage()).env("SEGUE_TOP", top());
    Ok(maven)
}

/// Puts the library, stripped, where the jar is filled from: a folder of the name that JNA looks for on this system.
pub fn place_native(library: &Path) -> Result<(), String> {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let machine = if cfg!(target_arch = "x86_64") { "x86-64" } else { std::env::consts::ARCH };
    let natives = target().join("bindings/natives");
    let _absent_at_first = fs::remove_dir_all(&natives);
    let folder = natives.join(format!("{system}-{machine}"));
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let name = library.file_name().ok_or_else(|| "the library has no name".to_owned())?;
    execute(Command::new("strip").arg("-o").arg(folder.join(name)).arg(library))
}
