//! The relay of a run: a process of its own, that can be killed like one.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use segue_relay::{Config, Grants, Relay};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::caller::NAMES;
use crate::fabric::RELAY_ADDRESS;

/// The word that makes a relay of this program; the most participants of a mesh follow.
pub const WORD: &str = "--be-the-relay";

/// The room of every run.
const ROOM: &str = "handover";

/// How long a process may take to start on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A room goes back soon after it has become small, and may change again soon after.
const SOON: Duration = Duration::from_millis(500);

/// A running relay.
pub struct RelayProcess {
    process: Child,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where media comes, on 127.0.0.1.
    pub media_port: u16,
    tokens: Vec<String>,
}

impl RelayProcess {
    /// Starts one that moves rooms of more than `mesh_max`.
    ///
    /// # Errors
    /// In words.
    pub async fn start(mesh_max: usize) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut process = Command::new(program)
            .args([WORD, &mesh_max.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the relay does not start: {error}"))?;
        let output = process.stdout.take().ok_or("the relay has no output")?;
        let line = tokio::time::timeout(START, BufReader::new(output).lines().next_line()).await;
        let line = line.map_err(|_| "the relay did not start in time")?.map_err(|error| error.to_string())?;
        let told: Value = serde_json::from_str(&line.unwrap_or_default()).map_err(|error| format!("the relay said {error}"))?;
        let port = |key: &str| told[key].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("the relay named no port");
        let tokens = told["tokens"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, port("http")?));
        Ok(Self { process, http, media_port: port("media")?, tokens })
    }

    /// What lets one of the cast in.
    #[must_use]
    pub fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    /// SIGKILL: no goodbye of any kind.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn kill(&mut self) -> Result<(), String> {
        self.process.start_kill().map_err(|error| error.to_string())
    }
}

/// Is the relay until standard input ends, as it does when the parent is gone.
///
/// # Errors
/// In words.
pub async fn be(mesh_max: &str) -> Result<(), String> {
    let mut config = Config::ephemeral();
    config.media.bind = Ipv4Addr::LOCALHOST.into();
    config.media.announce = vec![RELAY_ADDRESS];
    let topology = &mut config.room.topology;
    topology.mesh_max = mesh_max.parse().map_err(|_| "how many make a mesh?")?;
    topology.mesh_max_audio = topology.mesh_max;
    (topology.down_hold, topology.handover_interval) = (SOON, SOON);
    let relay = Relay::start(config).await.map_err(|error| error.to_string())?;
    let token = |name: &&str| relay.token(ROOM, name, Grants::default()).map_err(|error| error.to_string());
    let tokens: Vec<String> = NAMES.iter().map(token).collect::<Result<_, _>>()?;
    let media = relay.media_addresses().first().map_or(0, SocketAddr::port);
    println!("{}", json!({ "http": relay.address().port(), "media": media, "tokens": tokens }));
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    ended.map(drop).map_err(|error| error.to_string())
}
