//! A relay that can be killed.

use std::net::SocketAddr;
use std::time::Duration;

use segue_relay::{Claims, Config, Grants, Relay};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::wait::soon;

/// Threads of a relay's control plane.
const WORKERS: usize = 1;

/// Pause between attempts to take a port that a killed relay still holds.
const RETRY: Duration = Duration::from_millis(20);

/// A relay on a runtime of its own, so that killing it ends all its tasks at once, like the death of a process.
pub struct TestRelay {
    config: Config,
    running: Option<(Relay, Runtime)>,
    address: SocketAddr,
}

impl TestRelay {
    /// A relay on any free ports, with settings that suit a test: rooms go back to a mesh soon after they have become small.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with settings of the test's own.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::ephemeral();
        config.room.topology.down_hold = Duration::from_millis(500);
        config.room.topology.handover_interval = Duration::from_millis(500);
        adjust(&mut config);
        let running = run(config.clone()).await.expect("a relay starts on free ports");
        let address = running.0.address();
        config.http = address;
        config.try_next_port = false;
        Self { config, running: Some(running), address }
    }

    /// What clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/v1/connect", self.address)
    }

    /// Where HTTP listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The relay, while it runs.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.running.as_ref().expect("the relay runs").0
    }

    /// A token for a room with every usual grant.
    #[must_use]
    pub fn token(&self, room: &str, identity: &str) -> String {
        self.relay().token(room, identity, Grants::default()).expect("the development key signs")
    }

    /// A token with any claims.
    #[must_use]
    pub fn token_with(&self, claims: Claims) -> String {
        self.relay().token_with(claims).expect("the development key signs")
    }

    /// The sum of a figure over all labels that contain `label`.
    #[must_use]
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.relay().metrics();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        let values = samples.filter(|(key, _)| key.split('{').next() == Some(name) && key.contains(label));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// Kills the relay: no goodbye, every socket closed by the system.
    pub fn kill(&mut self) {
        let (relay, runtime) = self.running.take().expect("the relay runs");
        drop(relay);
        runtime.shutdown_background();
    }

    /// Stops the relay as an operator does: it says goodbye.
    pub async fn shut_down(&mut self) {
        let (relay, runtime) = self.running.take().expect("the relay runs");
        runtime.spawn(relay.shutdown()).await.expect("shuts down");
        runtime.shutdown_background();
    }

    /// Starts the relay again on the same port, with nothing in its memory.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "the relay runs");
        self.running = Some(
            soon("the start of the relay on its former port", async {
                loop {
                    match run(self.config.clone()).await {
                        Ok(running) => return running,
                        Err(_) => sleep(RETRY).await,
                    }
                }
            })
            .await,
        );
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        if let Some((relay, runtime)) = self.running.take() {
            drop(relay);
            runtime.shutdown_background();
        }
    }
}

async fn run(config: Config) -> Result<(Relay, Runtime), segue_relay::StartError> {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().expect("a runtime");
    match runtime.spawn(Relay::start(config)).await.expect("no panic") {
        Ok(relay) => Ok((relay, runtime)),
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}
