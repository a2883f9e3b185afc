//! The process under load: started, asked what it costs, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::http::{self, Url};
use super::token;

/// A relay as a child process, stopped when it is dropped.
pub struct RelayProcess {
    child: Child,
    base: String,
}

/// What a server costs so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on a CPU, all threads that live.
    pub cpu: Duration,
    /// Resident bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl RelayProcess {
    /// Starts the relay that was built beside this program, with our key, on free ports.
    ///
    /// # Errors
    /// It is not there or does not start.
    pub fn start(path: Option<&Path>, arguments: &[&str]) -> Result<Self, String> {
        let beside = || -> Option<PathBuf> { Some(std::env::current_exe().ok()?.parent()?.join("segue-relay")) };
        let path = path.map(Path::to_owned).or_else(beside).filter(|path| path.exists());
        let path = path.ok_or("there is no segue-relay beside this program; build it, or name one with --relay")?;
        let key = format!("{}:{}", token::KEY, token::SECRET);
        let mut child = Command::new(&path)
            .args(["serve", "--http-listen", "127.0.0.1:0", "--key", &key, "--log", "warn"])
            .args(["--max-participants", "512", "--max-rooms", "4096"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut link = String::new();
        let output = child.stdout.take().ok_or("no output of the relay")?;
        BufReader::new(output).read_line(&mut link).map_err(|error| error.to_string())?;
        let base = link.split("/#").next().filter(|base| base.starts_with("http://")).map(str::to_owned);
        match base {
            Some(base) => Ok(Self { child, base }),
            None => {
                // It printed no link: whatever it is, it is no relay that runs.
                let _ = child.kill();
                Err(format!("{} did not start: {link:?}", path.display()))
            }
        }
    }

    /// `http://host:port`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The sum of a figure of `/metrics` over all its labels.
    ///
    /// # Errors
    /// The relay does not answer.
    pub fn figure(&self, name: &str) -> Result<f64, String> {
        Ok(sum(&self.metrics()?, name))
    }

    /// All figures.
    ///
    /// # Errors
    /// The relay does not answer.
    pub fn metrics(&self) -> Result<String, String> {
        Ok(http::request("GET", &Url::parse(&format!("{}/metrics", self.base))?, None, None)?.body)
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sum of a figure over its labels, in the text form of Prometheus.
#[must_use]
pub fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let of = lines.filter(|(key, _)| key.split('{').next() == Some(name));
    of.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

/// What a process costs. CPU time is the scheduler's own, in nanoseconds, of every thread.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn usage(id: u32) -> Result<Usage, String> {
    let fail = |error: std::io::Error| format!("process {id}: {error}");
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task")).map_err(fail)? {
        let path = task.map_err(fail)?.path().join("schedstat");
        // A thread may end while we look.
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).map_err(fail)?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024;
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).map_err(fail)?.count();
    Ok(Usage { cpu: Duration::from_nanos(nanoseconds), resident, descriptors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_costs() {
        let before = usage(std::process::id()).unwrap();
        let mut number = 1u64;
        while usage(std::process::id()).unwrap().cpu == before.cpu {
            number = number.wrapping_mul(3);
        }
        assert!(before.resident > 0 && before.descriptors > 2 && number != 0);
    }

    #[test]
    fn figures_are_summed_over_their_labels() {
        let text = "# HELP a x\na{shard=\"0\"} 2\na{shard=\"1\"} 3\nab 9\n";
        assert_eq!((sum(text, "a"), sum(text, "ab"), sum(text, "c")), (5.0, 9.0, 0.0));
    }
}
