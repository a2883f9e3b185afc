//! `cargo xtask demo`: prepares media, builds in release and runs the demo.

use crate::shell::{cargo, execute};
use crate::{doctor, media};

/// Everything after `demo` goes to the demo itself.
pub fn run(arguments: &[String]) -> Result<(), String> {
    doctor::ensure(&[doctor::BUILD])?;
    let folder = media::prepare();
    execute(&mut cargo(&["build", "--release", "--package", "segue-relay", "--package", "segue-examples", "--bins"]))?;
    let mut demo = cargo(&["run", "--quiet", "--release", "--package", "segue-examples", "--bin", "demo", "--"]);
    let given = |flag: &str| arguments.iter().any(|argument| argument.split('=').next() == Some(flag));
    if !given("--media") {
        demo.arg("--media").arg(folder);
    }
    if !given("--out") {
        demo.arg("--out").arg("target/demo");
    }
    execute(demo.args(arguments))
}
