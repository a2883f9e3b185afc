//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The top of the workspace.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}

/// Where builds and everything made at run time go.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// Variables that `cargo run` sets about the crate it runs.
const OURS_ALONE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// A `cargo` command at the top of the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(top());
    // What `cargo run` tells this program about itself is not for the builds it starts: build scripts that watch it would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OURS_ALONE.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Prints the command, runs it with this process's output, and fails where it fails.
pub fn execute(command: &mut Command) -> Result<(), String> {
    let line = describe(command);
    eprintln!("+ {line}");
    let status = command.status().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// Runs quietly and says whether it succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command as a person would type it.
fn describe(command: &Command) -> String {
    let mut words: Vec<String> =
        command.get_envs().filter_map(|(key, value)| Some(format!("{}={:?}", key.to_str()?, value?))).collect();
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Whether a program of this name is on the path.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
