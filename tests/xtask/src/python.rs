//! The Python package: its wheel, its suite in a fresh virtual environment, and its lines of `cargo xtask bench bindings`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bindings::{self, Profile};
use crate::doctor;
use crate::shell::{execute, has_program, target, top};

/// Builds wheels.
const MATURIN: &str = "maturin>=1.9,<2";

/// What the suite needs beside the wheel.
const SUITE: [&str; 3] = ["pytest>=8", "pytest-asyncio>=0.24", "mypy>=1.11"];

/// `cargo xtask test --only python`: types, then the suite, against the wheel as it would be installed.
pub fn test() -> Result<(), String> {
    bindings::build(Profile::Dev)?;
    let python = install(&wheel(Profile::Dev)?, &SUITE)?;
    let package = top().join("bindings/python");
    execute(Command::new(&python).args(["-m", "mypy", "segue"]).current_dir(&package))?;
    // From the folder of the tests: beside the package's sources Python would take those for the package.
    let mut suite = Command::new(&python);
    suite.args(["-m", "pytest", "--quiet", "--config-file", "../pyproject.toml", "--rootdir", "."]);
    suite.current_dir(package.join("tests")).env("SEGUE_STAGE_PROGRAM", bindings::stage()).env("SEGUE_TOP", top());
    execute(&mut suite)
}

/// Prints this language's lines.
pub fn bench(arguments: &[String]) -> Result<(), String> {
    bindings::build(Profile::Release)?;
    let python = install(&wheel(Profile::Release)?, &[])?;
    let script = top().join("bindings/python/tests/bench.py");
    execute(
        Command::new(&python).arg(script).args(arguments).current_dir(target()).env("SEGUE_STAGE_PROGRAM", bindings::stage()),
    )
}

/// Builds the wheel.
fn wheel(profile: Profile) -> Result<PathBuf, String> {
    let python = environment(&target().join("python/build"), false)?;
    pip(&python, &[MATURIN])?;
    let out = target().join("bindings/wheels").join(profile.name());
    let _absent_at_first = fs::remove_dir_all(&out);
    let mut maturin = Command::new(&python);
    maturin.args(["-m", "maturin", "build", "--quiet", "--interpreter", "python3", "--out"]).arg(&out);
    maturin.args(["--profile", profile.name()]);
    maturin.current_dir(top().join("bindings/python"));
    execute(&mut maturin)?;
    let mut made = fs::read_dir(&out).map_err(|error| error.to_string())?.filter_map(|entry| Some(entry.ok()?.path()));
    made.find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| "maturin made no wheel".to_owned())
}

/// A fresh environment with the wheel and more in it; its interpreter.
fn install(wheel: &Path, more: &[&str]) -> Result<PathBuf, String> {
    let python = environment(&target().join("python/suite"), true)?;
    let wheel = wheel.to_string_lossy();
    let mut packages = vec![wheel.as_ref()];
    packages.extend(more);
    pip(&python, &packages)?;
    Ok(python)
}

/// A virtual environment of our own, so that nothing of the system's Python changes.
fn environment(folder: &Path, fresh: bool) -> Result<PathBuf, String> {
    doctor::ensure(&[doctor::PYTHON])?;
    let python = folder.join("bin/python");
    let make = || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(folder);
        execute(&mut venv)
    };
    if (fresh || !python.exists()) && make().is_err() {
        if !doctor::try_install("python3-venv") {
            return Err("python3 has no venv module: install python3-venv".to_owned());
        }
        make()?;
    }
    Ok(python)
}

fn pip(python: &Path, packages: &[&str]) -> Result<(), String> {
    if !has_program("python3") {
        return Err("python3 is missing".to_owned());
    }
    execute(Command::new(python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
}
