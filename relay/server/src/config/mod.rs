//! The relay's configuration: read from one TOML file, flags and the environment, checked once.

mod settings;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use segue_session::peer::MAX_DIRECT_ROOM;
use segue_session::room::{MAX_PARTICIPANTS, RoomConfig, TopologyConfig};
use segue_wire::proto;

use crate::auth::{KeyError, KeySettings};

pub use settings::{
    AuthSettings, FlagError, HttpSettings, IceServerSettings, IceSettings, KeyFile, LimitSettings, LogFormat, LogSettings,
    MediaSettings, Settings, TlsMode, TlsSettings, TopologySettings,
};

/// The port links name by default.
pub const DEFAULT_PORT: u16 = 7880;

/// Signalling connections at a time. One that has not joined costs some 20 KiB and holds at most 64 KiB more; one that has a token may hold a
/// message of 1 MiB while it is read, and 4 MiB that its client has not acknowledged.
const DEFAULT_CONNECTIONS: usize = 4096;

/// Connections from one address at a time: everybody of a company behind one address, and an eighth of all.
pub const DEFAULT_CONNECTIONS_PER_ADDRESS: usize = 512;

/// No system has file descriptors for more.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Rooms at a time.
const DEFAULT_ROOMS: usize = 1000;

/// With what it takes to say goodbye less than the 30 s that `deploy/` has service managers wait before they kill.
const DEFAULT_DRAIN: Duration = Duration::from_secs(20);

/// More shards than this is a mistake, not a machine.
const MAX_SHARDS: usize = 256;

/// What a relay runs with. [`Config::default`] is what `segue-relay serve` does without any setting, [`Config::ephemeral`] suits tests.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where the port is taken, try the ones after it.
    pub try_next_port: bool,
    /// What links begin with, where it is not what HTTP listens on.
    pub public_url: Option<String>,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Of them from one address (an IPv6 network of 64 bits counts as one). `None`: [`DEFAULT_CONNECTIONS_PER_ADDRESS`], and as many as
    /// there may be from this machine, where a proxy may stand.
    pub max_connections_per_address: Option<usize>,
    /// `/metrics` answers others than this machine.
    pub public_metrics: bool,
    /// How they are encrypted.
    pub tls: Tls,
    /// UDP.
    pub media: MediaConfig,
    /// Keys that sign tokens; empty: a development key.
    pub keys: Vec<KeySettings>,
    /// Most rooms at a time.
    pub max_rooms: usize,
    /// How long calls may go on after SIGTERM.
    pub drain: Duration,
    /// Every room's settings; name, incarnation and the relay's own STUN are filled in.
    pub room: RoomConfig,
    /// Log filter.
    pub log_filter: String,
    /// Log form.
    pub log_format: LogFormat,
}

/// How connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// With a certificate made at start.
    SelfSigned,
    /// From PEM files.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// UDP.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Address to bind.
    pub bind: IpAddr,
    /// First port, one per shard; 0 for any.
    pub port: u16,
    /// Addresses clients are told; never empty once checked.
    pub announce: Vec<IpAddr>,
    /// Threads.
    pub shards: usize,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; it must be a text file that is there and that this user is allowed to read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not this schema.
    #[error("{path}: {source}")]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// TLS from files without files.
    #[error("tls.mode is `files`: set tls.certificate and tls.key")]
    TlsFiles,
    /// A number makes no sense.
    #[error("{key} must be {rule}")]
    Range {
        /// Which.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            try_next_port: true,
            public_url: None,
            max_connections: DEFAULT_CONNECTIONS,
            max_connections_per_address: None,
            public_metrics: false,
            tls: Tls::Off,
            media: MediaConfig {
                bind: Ipv4Addr::LOCALHOST.into(),
                port: 0,
                announce: vec![Ipv4Addr::LOCALHOST.into()],
                shards: default_shards(),
            },
            keys: Vec::new(),
            max_rooms: DEFAULT_ROOMS,
            drain: DEFAULT_DRAIN,
            room: RoomConfig::default(),
            log_filter: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Any free ports of this machine, one shard: for tests and demonstrations in one process.
    #[must_use]
    pub fn ephemeral() -> Self {
        let mut config = Self { http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Self::default() };
        config.media.shards = 1;
        config
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or has keys or values this relay does not know.
    pub fn read(path: &Path) -> Result<Settings, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })
    }

    /// Checks settings and fills in what they leave open.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let Settings { http, tls, media, auth, ice, limits, topology, log } = settings;
        let tls = tls_of(tls)?;
        // TLS is asked for to be reached from elsewhere.
        let ip = if tls == Tls::Off { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let listen = http.listen.unwrap_or_else(|| SocketAddr::from((ip, DEFAULT_PORT)));
        let drain = limits.drain_seconds;
        let room = room_of(ice, &limits, &topology)?;
        Ok(Self {
            http: listen,
            try_next_port: http.listen.is_none(),
            public_url: http.public_url.map(|url| public_url(&url)).transpose()?,
            max_connections: connections(http.max_connections.unwrap_or(DEFAULT_CONNECTIONS))?,
            max_connections_per_address: match http.max_connections_per_address {
                Some(share) => Some(at_least_one("http.max_connections_per_address", share)?),
                None => None,
            },
            public_metrics: http.public_metrics.unwrap_or(false),
            tls,
            media: media_of(media, listen.ip())?,
            keys: auth.all_keys()?,
            max_rooms: at_least_one("limits.rooms", limits.rooms.unwrap_or(DEFAULT_ROOMS))?,
            drain: seconds("limits.drain_seconds", drain, DEFAULT_DRAIN)?,
            room,
            log_filter: log.filter.unwrap_or_else(|| "info".to_owned()),
            log_format: log.format.unwrap_or_default(),
        })
    }
}

fn tls_of(settings: TlsSettings) -> Result<Tls, ConfigError> {
    let named = settings.certificate.is_some() || settings.key.is_some();
    match settings.mode.unwrap_or(if named { TlsMode::Files } else { TlsMode::Off }) {
        TlsMode::Off => Ok(Tls::Off),
        TlsMode::SelfSigned => Ok(Tls::SelfSigned),
        TlsMode::Files => match (settings.certificate, settings.key) {
            (Some(certificate), Some(key)) => Ok(Tls::Files { certificate, key }),
            _ => Err(ConfigError::TlsFiles),
        },
    }
}

fn media_of(settings: MediaSettings, http: IpAddr) -> Result<MediaConfig, ConfigError> {
    let bind = settings.bind.unwrap_or(if http.is_loopback() { http } else { Ipv4Addr::UNSPECIFIED.into() });
    let announce = match settings.announce {
        Some(announce) if !announce.is_empty() => announce,
        _ if bind.is_unspecified() => vec![lan_address().unwrap_or(Ipv4Addr::LOCALHOST.into())],
        _ => vec![bind],
    };
    if announce.iter().any(|ip| ip.is_unspecified() || ip.is_multicast()) {
        return Err(ConfigError::Range { key: "media.announce", rule: "addresses of this relay that clients can send to" });
    }
    let shards = settings.shards.unwrap_or_else(default_shards);
    if shards == 0 || shards > MAX_SHARDS {
        return Err(ConfigError::Range { key: "media.shards", rule: "between 1 and 256" });
    }
    let port = settings.port.unwrap_or(0);
    if port != 0 && usize::from(u16::MAX - port) < shards - 1 {
        return Err(ConfigError::Range { key: "media.port", rule: "low enough to leave a port for each shard above it" });
    }
    Ok(MediaConfig { bind, port, announce, shards })
}

fn room_of(ice: IceSettings, limits: &LimitSettings, topology: &TopologySettings) -> Result<RoomConfig, ConfigError> {
    let defaults = RoomConfig::default();
    let participants = at_least_one("limits.participants", limits.participants.unwrap_or(defaults.max_participants))?;
    if participants > MAX_PARTICIPANTS {
        return Err(ConfigError::Range { key: "limits.participants", rule: "at most 512" });
    }
    let servers = ice.servers.unwrap_or_default();
    servers.iter().try_for_each(IceServerSettings::check)?;
    Ok(RoomConfig {
        ice_servers: servers
            .into_iter()
            .map(|server| proto::IceServer { urls: server.urls, username: server.username, credential: server.credential })
            .collect(),
        max_participants: participants,
        max_tracks: at_least_one("limits.tracks", limits.tracks.unwrap_or(defaults.max_tracks))?,
        resume_window: seconds("limits.resume_seconds", limits.resume_seconds, defaults.resume_window)?,
        messages_per_second: rate("limits.messages_per_second", limits.messages_per_second, defaults.messages_per_second)?,
        bytes_per_second: rate("limits.bytes_per_second", limits.bytes_per_second, defaults.bytes_per_second)?,
        topology: topology_of(topology)?,
        ..defaults
    })
}

fn topology_of(settings: &TopologySettings) -> Result<TopologyConfig, ConfigError> {
    let defaults = TopologyConfig::default();
    Ok(TopologyConfig {
        mesh_max: mesh("topology.mesh_max", settings.mesh_max.unwrap_or(defaults.mesh_max))?,
        mesh_max_audio: mesh("topology.mesh_max_audio", settings.mesh_max_audio.unwrap_or(defaults.mesh_max_audio))?,
        down_hold: seconds("topology.down_hold_seconds", settings.down_hold_seconds, defaults.down_hold)?,
        handover_interval: seconds(
            "topology.handover_interval_seconds",
            settings.handover_interval_seconds,
            defaults.handover_interval,
        )?,
        laggard_after: seconds("topology.laggard_seconds", settings.laggard_seconds, defaults.laggard_after)?,
        backoff: seconds("topology.backoff_seconds", settings.backoff_seconds, defaults.backoff)?,
        relay_for_screens: settings.relay_for_screens.unwrap_or(defaults.relay_for_screens),
        ..defaults
    })
}

fn connections(value: usize) -> Result<usize, ConfigError> {
    if (1..=MAX_CONNECTIONS).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::Range { key: "http.max_connections", rule: "between 1 and 1000000" })
    }
}

/// Clients keep direct legs in rooms of up to [`MAX_DIRECT_ROOM`]: a mesh of more would leave its members without any path.
fn mesh(key: &'static str, value: usize) -> Result<usize, ConfigError> {
    if (1..=MAX_DIRECT_ROOM).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::Range { key, rule: "between 1 and 8: clients keep direct legs in rooms of up to 8 participants" })
    }
}

fn at_least_one(key: &'static str, value: usize) -> Result<usize, ConfigError> {
    if value == 0 { Err(ConfigError::Range { key, rule: "at least 1" }) } else { Ok(value) }
}

fn rate(key: &'static str, value: Option<u32>, default: u32) -> Result<u32, ConfigError> {
    if value == Some(0) { Err(ConfigError::Range { key, rule: "at least 1" }) } else { Ok(value.unwrap_or(default)) }
}

/// Links are made by appending to it.
fn public_url(url: &str) -> Result<String, ConfigError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || host.contains(['?', '#', ' '])) {
        return Err(ConfigError::Range {
            key: "http.public_url",
            rule: "a URL like https://calls.example.org, with a path if need be and nothing after it",
        });
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn seconds(key: &'static str, value: Option<f64>, default: Duration) -> Result<Duration, ConfigError> {
    let Some(value) = value else { return Ok(default) };
    let range = ConfigError::Range { key, rule: "a number of seconds from 0 to a day" };
    if (0.0..=86_400.0).contains(&value) { Duration::try_from_secs_f64(value).map_err(|_| range) } else { Err(range) }
}

fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS)
}

/// The address this machine uses towards others; nothing is sent.
pub(crate) fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation (RFC 5737): only the route to it is looked up.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../segue-relay.toml");

    #[test]
    fn the_documented_file_is_what_runs_without_one() {
        let documented = Config::from_settings(toml::from_str(DOCUMENTED).expect("reads")).expect("makes sense");
        let none = Config::from_settings(Settings::default()).expect("makes sense");
        assert_eq!(format!("{documented:?}"), format!("{none:?}"));
    }

    #[test]
    fn every_key_is_documented_and_read() {
        let uncommented: String =
            DOCUMENTED.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).flat_map(|line| [line, "\n"]).collect();
        let table: toml::Table = toml::from_str(&uncommented).expect("reads with every key");
        let tables: [(&str, &[&str]); 8] = [
            ("http", HttpSettings::KEYS),
            ("tls", TlsSettings::KEYS),
            ("media", MediaSettings::KEYS),
            ("auth", AuthSettings::KEYS),
            ("ice", IceSettings::KEYS),
            ("limits", LimitSettings::KEYS),
            ("topology", TopologySettings::KEYS),
            ("log", LogSettings::KEYS),
        ];
        for (name, keys) in tables {
            let found: Vec<_> = table[name].as_table().expect("a table").keys().map(String::as_str).collect();
            let mut keys = keys.to_vec();
            keys.sort_unstable();
            assert_eq!(found, keys, "[{name}]");
        }
        let _: Settings = toml::from_str(&uncommented).expect("every value has the right type");
    }

    #[test]
    fn several_urls_of_one_server_and_odd_credentials_fit_a_flag() {
        let server: IceServerSettings = "turn:a.example:3478 turns:a.example:443|ann|se|cret".parse().expect("reads");
        assert_eq!(server.urls, ["turn:a.example:3478", "turns:a.example:443"]);
        assert_eq!((server.username.as_str(), server.credential.as_str()), ("ann", "se|cret"));
        for nonsense in ["", "|ann|secret", "http://a.example", "turn:a.example b.example"] {
            assert_eq!(nonsense.parse::<IceServerSettings>(), Err(FlagError::IceServer), "{nonsense}");
        }
    }

    #[test]
    fn flags_go_before_the_file() {
        let file: Settings = toml::from_str("[topology]\nmesh_max = 3\nmesh_max_audio = 6").expect("reads");
        let flags = Settings { topology: TopologySettings { mesh_max: Some(2), ..Default::default() }, ..Default::default() };
        let config = Config::from_settings(flags.or(file)).expect("makes sense");
        assert_eq!((config.room.topology.mesh_max, config.room.topology.mesh_max_audio), (2, 6));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |text: &str| {
            let settings: Settings = toml::from_str(text).expect("reads");
            Config::from_settings(settings).expect_err("nonsense").to_string()
        };
        assert_eq!(refused("[limits]\nparticipants = 5000"), "limits.participants must be at most 512");
        assert!(refused("[http]\nmax_connections = 9000000000").contains("http.max_connections"));
        assert!(refused("[media]\nport = 65535\nshards = 2").contains("media.port"));
        for key in ["mesh_max", "mesh_max_audio"] {
            let refused = refused(&format!("[topology]\n{key} = 9"));
            assert_eq!(
                refused,
                format!("topology.{key} must be between 1 and 8: clients keep direct legs in rooms of up to 8 participants")
            );
        }
        assert_eq!(MAX_DIRECT_ROOM, 8);
        assert!(refused("[limits]\nresume_seconds = -1.0").contains("limits.resume_seconds"));
        assert!(refused("[tls]\nmode = \"files\"").contains("tls.certificate"));
        for url in ["ftp://x", "https://", "https://x?q", "calls.example.org"] {
            assert!(refused(&format!("[http]\npublic_url = {url:?}")).contains("http.public_url"), "{url}");
        }
        assert!(refused("[media]\nannounce = [\"0.0.0.0\"]").contains("media.announce"));
        assert!(refused("[limits]\nmessages_per_second = 0").contains("limits.messages_per_second"));
        assert!(refused("[ice]\nservers = [{ urls = [\"http://x\"] }]").contains("ice.servers"));
        assert!(refused("[ice]\nservers = [{ urls = [\"turn:x\"], username = \"me\" }]").contains("credential"));
        assert!("turn:x:3478".parse::<IceServerSettings>().is_err() && "stun:x:3478".parse::<IceServerSettings>().is_ok());
        assert!(toml::from_str::<Settings>("[http]\nlistne = \"x\"").is_err());
    }
}
