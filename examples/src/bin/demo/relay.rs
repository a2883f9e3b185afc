//! The relay of the demo: a child process of its own, as an operator would run it.

use std::process::Stdio;
use std::time::Duration;

use segue_relay::auth::{Claims, Grants, Keys};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child as Process, Command};

/// How long the relay may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// The room of the demo.
const ROOM: &str = "demo";

/// How long the demo's tokens open it, in seconds.
const VALID_SECONDS: u64 = 600;

/// A running relay; it ends with this value.
pub struct Child {
    pub url: String,
    secret: String,
    process: Process,
}

impl Child {
    /// Starts the binary that stands beside this one, on a free port of this machine.
    pub async fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("segue-relay");
        // Good for this run and this machine's loopback only.
        let secret = format!("demo-{}-{:?}-only-for-this-run", std::process::id(), std::time::SystemTime::now());
        let secret: String = secret.chars().filter(|character| character.is_ascii_alphanumeric()).collect();
        let mut process = Command::new(&program)
            .args(["serve", "--http-listen", "127.0.0.1:0", "--print-link", "--key"])
            .arg(format!("demo:{secret}"))
            .args(["--log", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error} (build it with: cargo build --release -p segue-relay)", program.display()))?;
        let output = process.stdout.take().ok_or("the relay has no output")?;
        let mut lines = BufReader::new(output).lines();
        let link = tokio::time::timeout(START, lines.next_line())
            .await
            .map_err(|_| "the relay did not start in time".to_owned())?
            .map_err(|error| error.to_string())?
            .ok_or("the relay ended before it printed its link")?;
        // The link is the page's: scheme and host are the relay's.
        let url = link.split('/').take(3).collect::<Vec<_>>().join("/");
        Ok(Self { url, secret, process })
    }

    /// Makes join tokens for the demo's room.
    pub fn token_maker(&self) -> impl Fn(&str) -> String + Send + Sync + 'static {
        let keys = format!("demo:{}", self.secret).parse().ok().and_then(|key| Keys::from_settings(&[key]).ok());
        move |identity| {
            let grants = Grants { publish: true, subscribe: true, admin: false };
            let claims = Claims::new(ROOM, identity, grants, VALID_SECONDS);
            keys.as_ref().and_then(|keys| keys.mint(claims).ok()).unwrap_or_default()
        }
    }

    /// Ends the relay and waits for it.
    pub async fn stop(mut self) {
        let _ended = self.process.kill().await;
    }
}
