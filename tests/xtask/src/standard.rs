//! Independent WebRTC clients against the relay: `cargo xtask test --only standard`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::shell::{cargo, execute, target, top};

/// The client, pinned: what it speaks is part of the test.
const AIORTC: &str = "aiortc==1.16.0";

/// A relay that ends with its guard.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// aiortc (PyPI) publishes by WHIP and plays by WHEP; frames have to be decoded.
pub fn clients() -> Result<(), String> {
    // The whole workspace, so that nothing is built with features of its own.
    execute(&mut cargo(&["build", "--quiet", "--workspace", "--bin", "segue-relay"]))?;
    let python = python()?;
    let program = target().join("debug/segue-relay");
    let mut child = Command::new(&program)
        .args(["serve", "--http-listen", "127.0.0.1:0", "--log", "warn"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let output = child.stdout.take().ok_or("no output of the relay")?;
    let _relay = Relay(child);
    let mut link = String::new();
    BufReader::new(output).read_line(&mut link).map_err(|error| error.to_string())?;
    let base = link.split("/#").next().filter(|base| base.starts_with("http://")).ok_or("the relay printed no link")?;
    let token = Command::new(&program).args(["token", "create", "--room", "standard", "--identity", "camera"]).output();
    let token = String::from_utf8_lossy(&token.map_err(|error| error.to_string())?.stdout).trim().to_owned();
    let script = top().join("tests/e2e/standard_clients/aiortc_client.py");
    // The token is not for the log.
    let status =
        Command::new(python).arg(script).args([base, &token, "standard"]).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("aiortc: {status}")) }
}

/// A Python with the client, in a folder of its own.
fn python() -> Result<PathBuf, String> {
    let folder = target().join("standard_clients");
    let python = folder.join("bin/python");
    if !python.exists() {
        execute(Command::new("python3").args([Path::new("-m"), Path::new("venv"), &folder]))?;
    }
    execute(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", AIORTC]))?;
    Ok(python)
}
