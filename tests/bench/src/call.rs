//! A call on a server under load: its rooms, its legs, its costs.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use segue_bench::load::http::Url;
use segue_bench::load::leg::{Identity, Leg, Way, connect};
use segue_bench::load::process::{RelayProcess, Usage, sum, usage};
use segue_bench::load::token;

/// Publishers, and receivers of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub publishers: usize,
    pub receivers: usize,
}

/// Which server is measured.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Server {
    /// The relay's binary [default: the one beside this program]
    #[arg(long)]
    pub relay: Option<PathBuf>,
    /// Shards of the relay [default: one per core]
    #[arg(long)]
    pub shards: Option<usize>,
    /// Another server that runs already: the URL publishers send offers to, with `{room}` in it
    #[arg(long, requires = "whep")]
    pub whip: Option<String>,
    /// The URL players of it send offers to, with `{room}` in it, and `{participant}` where it wants one
    #[arg(long, requires = "whip")]
    pub whep: Option<String>,
    /// Bearer token for it
    #[arg(long, default_value = "")]
    pub bearer: String,
    /// Its process, to measure what it costs
    #[arg(long)]
    pub pid: Option<u32>,
}

/// A server with the legs of a shape on it.
pub struct Call {
    pub publishers: Vec<Leg>,
    /// Those of the first publisher first.
    pub players: Vec<Leg>,
    /// What the server cost before the legs came.
    pub idle: Usage,
    process: Option<RelayProcess>,
    pid: Option<u32>,
}

/// Figures of the relay that runs are told by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures(Option<(f64, f64)>);

impl Shape {
    /// Receiving legs.
    pub const fn legs(self) -> usize {
        self.publishers * self.receivers
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.publishers, self.receivers)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a shape is publishers and receivers of each, as 1x100");
        let (publishers, receivers) = text.split_once('x').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().ok().filter(|&number| number > 0).ok_or_else(wrong);
        Ok(Self { publishers: number(publishers)?, receivers: number(receivers)? })
    }
}

impl Figures {
    /// Packets in a send call since then, on average.
    pub fn since(&self, before: &Self) -> Option<f64> {
        let ((packets, calls), (packets_before, calls_before)) = (self.0?, before.0?);
        Some((packets - packets_before) / (calls - calls_before).max(1.0))
    }
}

impl Server {
    /// Starts the relay, unless another server is named.
    pub fn start(&self) -> Result<Option<RelayProcess>, String> {
        if self.whip.is_some() {
            return Ok(None);
        }
        let shards = self.shards.map(|shards| shards.to_string());
        let arguments: Vec<&str> = shards.as_deref().map(|shards| vec!["--shards", shards]).unwrap_or_default();
        RelayProcess::start(self.relay.as_deref(), &arguments).map(Some)
    }

    /// Where a publisher of a room sends its offer, and with which token.
    pub fn whip(&self, process: Option<&RelayProcess>, room: &str, participant: &str) -> Result<(Url, String), String> {
        match (&self.whip, process) {
            (Some(url), _) => Ok((Url::parse(&fill(url, room, participant))?, self.bearer.clone())),
            (None, Some(process)) => {
                let url = Url::parse(&format!("{}/v1/whip/{room}", process.base()))?;
                Ok((url, token::mint(room, participant)))
            }
            (None, None) => Err("no server".to_owned()),
        }
    }

    /// Where a player of a participant sends its offer, and with which token.
    pub fn whep(&self, process: Option<&RelayProcess>, room: &str, participant: &str) -> Result<(Url, String), String> {
        match (&self.whep, process) {
            (Some(url), _) => Ok((Url::parse(&fill(url, room, participant))?, self.bearer.clone())),
            (None, Some(process)) => {
                let url = Url::parse(&format!("{}/v1/whep/{room}/{participant}", process.base()))?;
                Ok((url, token::mint(room, "")))
            }
            (None, None) => Err("no server".to_owned()),
        }
    }
}

fn fill(url: &str, room: &str, participant: &str) -> String {
    url.replace("{room}", room).replace("{participant}", participant)
}

impl Call {
    /// A room for every publisher, with its receivers.
    pub fn start(identity: &Arc<Identity>, server: &Server, shape: Shape, feedback: bool) -> Result<Self, String> {
        let process = server.start()?;
        let pid = server.pid.or_else(|| process.as_ref().map(RelayProcess::id));
        let idle = pid.map(usage).transpose()?.unwrap_or_default();
        let mut call = Self { publishers: Vec::new(), players: Vec::new(), idle, process, pid };
        for room in 0..shape.publishers {
            call.add_room(identity, server, &format!("bench{room}"), shape.receivers, feedback)?;
        }
        Ok(call)
    }

    /// One more room.
    pub fn add_room(
        &mut self,
        identity: &Arc<Identity>,
        server: &Server,
        room: &str,
        receivers: usize,
        feedback: bool,
    ) -> Result<(), String> {
        let number = self.publishers.len() as u32;
        let ssrcs = [10_000 + 2 * number, 10_001 + 2 * number];
        let (url, bearer) = server.whip(self.process.as_ref(), room, "camera")?;
        let leg = Leg::offer(identity, Way::Publish, &url, &bearer, ssrcs, feedback).map_err(|error| error.to_string())?;
        self.publishers.push(leg);
        let last = self.publishers.len() - 1;
        connect(identity, &mut self.publishers[last..]).map_err(|error| error.to_string())?;
        let (url, bearer) = server.whep(self.process.as_ref(), room, "camera")?;
        let first = self.players.len();
        for _ in 0..receivers {
            let leg = Leg::offer(identity, Way::Play, &url, &bearer, [0; 2], feedback).map_err(|error| error.to_string())?;
            self.players.push(leg);
        }
        connect(identity, &mut self.players[first..]).map_err(|error| error.to_string())
    }

    /// What the server costs so far; `None` where its process is not known.
    pub fn usage(&self) -> Result<Option<Usage>, String> {
        self.pid.map(usage).transpose()
    }

    /// The relay, where it is ours.
    pub fn process(&self) -> Option<&RelayProcess> {
        self.process.as_ref()
    }

    /// Figures of the relay, where it is ours.
    pub fn figures(&self) -> Result<Figures, String> {
        let Some(process) = &self.process else { return Ok(Figures(None)) };
        let text = process.metrics()?;
        Ok(Figures(Some((sum(&text, "segue_rtp_packets_sent_total"), sum(&text, "segue_send_calls_total")))))
    }
}
