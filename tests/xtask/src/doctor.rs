//! What the machine lacks, and getting it.

use std::process::Command;

use crate::shell::{execute, has_program, succeeds};

/// A thing a build or a test needs, and the Debian packages that bring it.
pub struct Need {
    /// Any of these programs will do.
    programs: &'static [&'static str],
    packages: &'static str,
    why: &'static str,
}

/// To build anything.
pub const BUILD: &[Need] = &[
    Need { programs: &["gcc", "cc"], packages: "gcc libc6-dev", why: "links Rust and compiles libopus" },
    Need { programs: &["g++", "c++"], packages: "g++", why: "compiles OpenH264" },
    Need { programs: &["make"], packages: "make", why: "builds libopus" },
    Need { programs: &["cmake"], packages: "cmake", why: "configures libopus" },
    Need { programs: &["nasm"], packages: "nasm", why: "OpenH264's assembly: without it video costs three times as much" },
];

/// To build and test the Python package.
pub const PYTHON: &[Need] =
    &[Need { programs: &["python3"], packages: "python3 python3-venv", why: "builds and tests the Python package" }];

/// To build and test the Kotlin package.
pub const KOTLIN: &[Need] = &[
    Need { programs: &["javac"], packages: "openjdk-17-jdk-headless", why: "runs what Kotlin is compiled to" },
    Need { programs: &["mvn"], packages: "maven", why: "builds and tests the Kotlin package" },
];

/// To run the demo with real pictures and voices.
pub const MEDIA: &[Need] =
    &[Need { programs: &["python3"], packages: "python3 python3-venv", why: "fetches the sample video" }];

/// To run every test.
pub const TEST: &[Need] = &[
    Need { programs: &["git"], packages: "git", why: "the house rules ask it which files there are" },
    Need { programs: &["chromium"], packages: "chromium", why: "real browsers join the calls" },
];

/// For everything.
const ALL: &[&[Need]] = &[BUILD, MEDIA, TEST, PYTHON, KOTLIN];

impl Need {
    fn met(&self) -> bool {
        self.programs.iter().any(|program| has_program(program))
    }
}

/// Parts of the Rust toolchain that `cargo xtask test` needs, as cargo calls them, and as rustup does.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

fn missing_components() -> Vec<&'static str> {
    let lacks = |command: &&(&str, &str)| !succeeds(Command::new("cargo").args([command.0, "--version"]));
    COMPONENTS.iter().filter(lacks).map(|(_, component)| *component).collect()
}

/// Adds the parts of the Rust toolchain that are missing, where rustup manages it, or says which those are.
pub fn ensure_components() -> Result<(), String> {
    let missing = missing_components();
    if missing.is_empty() {
        return Ok(());
    }
    if !has_program("rustup") {
        return Err(format!(
            "this Rust toolchain lacks {}: install them from where the toolchain came from",
            missing.join(" and ")
        ));
    }
    execute(Command::new("rustup").args(["component", "add"]).args(missing))
}

/// `cargo xtask doctor`: reports on everything; installs unless `--check`.
pub fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(unknown) = arguments.iter().find(|argument| *argument != "--check") {
        return Err(format!("doctor knows --check, to install nothing, and not {unknown}"));
    }
    let check = !arguments.is_empty();
    for need in ALL.iter().copied().flatten() {
        let state = if need.met() { "ok     " } else { "missing" };
        println!("{state} {:<10} {}", need.programs.first().unwrap_or(&""), need.why);
    }
    let lacking = missing_components();
    for (_, component) in COMPONENTS {
        let state = if lacking.contains(&component) { "missing" } else { "ok     " };
        println!("{state} {component:<10} `cargo xtask test` holds every change to it");
    }
    if check {
        if !lacking.is_empty() {
            return Err(format!("this Rust toolchain lacks {0}\nrun:  rustup component add {0}", lacking.join(" ")));
        }
        missing(ALL).map_or(Ok(()), |packages| Err(advice(&packages)))
    } else {
        ensure(ALL)?;
        ensure_components()
    }
}

/// Installs what is missing of `groups`, or says what to type.
pub fn ensure(groups: &[&[Need]]) -> Result<(), String> {
    let Some(packages) = missing(groups) else { return Ok(()) };
    if !has_program("apt-get") || !is_root() {
        return Err(advice(&packages));
    }
    eprintln!("installing {}", packages.join(" "));
    run_apt(&["update"])?;
    let mut install = vec!["install", "--no-install-recommends", "-y"];
    install.extend(packages.iter().map(String::as_str));
    run_apt(&install)?;
    missing(groups).map_or(Ok(()), |left| Err(format!("installed, and still missing: {}", left.join(" "))))
}

fn missing(groups: &[&[Need]]) -> Option<Vec<String>> {
    let packages: Vec<String> = groups
        .iter()
        .flat_map(|group| group.iter())
        .filter(|need| !need.met())
        .flat_map(|need| need.packages.split(' ').map(str::to_owned))
        .collect();
    (!packages.is_empty()).then_some(packages)
}

fn advice(packages: &[String]) -> String {
    let missing = packages.join(" ");
    format!(
        "this machine lacks {missing}\nrun:  sudo apt-get update && sudo apt-get install --no-install-recommends -y {missing}\n\
         (on another system install the same programs with its own package manager), then try again"
    )
}

fn run_apt(arguments: &[&str]) -> Result<(), String> {
    execute(Command::new("apt-get").arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> bool {
    succeeds(Command::new("sh").args(["-c", "[ \"$(id -u)\" = 0 ]"]))
}

/// Installs a package that a richer run wants but that nothing depends on; says whether it is there now.
pub fn try_install(package: &str) -> bool {
    let installed = |package: &str| succeeds(Command::new("dpkg").args(["-s", package]));
    if installed(package) {
        return true;
    }
    if !has_program("apt-get") || !is_root() {
        eprintln!("not installed: {package} (sudo apt-get install -y {package})");
        return false;
    }
    let _updated = run_apt(&["update"]);
    run_apt(&["install", "--no-install-recommends", "-y", package]).is_ok() && installed(package)
}
