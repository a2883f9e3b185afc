//! Every key of the configuration, once: as a TOML key, a flag and an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::ConfigError;
use crate::auth::KeySettings;

/// Declares a TOML table whose keys are flags and environment variables too, all optional, and how two sources of it are put together.
macro_rules! table {
    ($(#[$about:meta])* $name:ident { $($(#[$meta:meta])* $key:ident: $type:ty = $flag:literal, $env:literal $([$($extra:tt)*])?;)* }) => {
        $(#[$about])*
        #[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$meta])* #[arg(id = $flag, long = $flag, env = $env $(, $($extra)*)?)] pub $key: Option<$type>,)*
        }

        impl $name {
            /// Names of the TOML keys.
            pub const KEYS: &[&str] = &[$(stringify!($key)),*];

            /// Takes from `weaker` what is not set here.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $($key: self.$key.or(weaker.$key)),* }
            }
        }
    };
}

table! {
    /// HTTP, signalling and the page.
    HttpSettings {
        /// Address to listen on [default: 127.0.0.1:7880 or the next free port; with TLS 0.0.0.0:7880]
        listen: SocketAddr = "http-listen", "SEGUE_HTTP_LISTEN";
        /// What links begin with, where a proxy or a domain name stands before the relay
        public_url: String = "http-public-url", "SEGUE_HTTP_PUBLIC_URL";
        /// Most connections at a time [default: 4096]
        max_connections: usize = "http-max-connections", "SEGUE_HTTP_MAX_CONNECTIONS";
        /// Of them from one address, this machine's too; behind a proxy all come from one [default: 512, from this machine any number]
        max_connections_per_address: usize = "http-max-connections-per-address", "SEGUE_HTTP_MAX_CONNECTIONS_PER_ADDRESS";
        /// Answer /metrics to others than this machine [default: false]
        public_metrics: bool = "http-public-metrics", "SEGUE_HTTP_PUBLIC_METRICS" [num_args = 0..=1, default_missing_value = "true"];
    }
}

table! {
    /// TLS. Browsers give camera and microphone to HTTPS and to localhost only.
    TlsSettings {
        /// How connections are encrypted: not at all, with a certificate made at start, or with one from files [default: off, or files where a
        /// certificate or key is given]
        mode: TlsMode = "tls", "SEGUE_TLS";
        /// PEM file of the certificate chain, for `files`
        certificate: PathBuf = "tls-certificate", "SEGUE_TLS_CERTIFICATE";
        /// PEM file of the private key, for `files`
        key: PathBuf = "tls-key", "SEGUE_TLS_KEY";
    }
}

table! {
    /// Media: UDP.
    MediaSettings {
        /// Address to bind [default: 127.0.0.1 where HTTP listens on this machine only, 0.0.0.0 otherwise]
        bind: IpAddr = "udp-bind", "SEGUE_UDP_BIND";
        /// First UDP port, one per shard; 0 takes any [default: 0]
        port: u16 = "udp-port", "SEGUE_UDP_PORT";
        /// Addresses clients reach the relay at, where it stands behind a NAT [default: those of this machine]
        announce: Vec<IpAddr> = "udp-announce", "SEGUE_UDP_ANNOUNCE" [value_delimiter = ','];
        /// Threads that forward media [default: one per core]
        shards: usize = "shards", "SEGUE_SHARDS";
    }
}

table! {
    /// Who may join.
    AuthSettings {
        /// Keys that sign tokens, as `id:secret`; a secret with a comma, and a key for EdDSA, come in a file [default: a development key]
        keys: Vec<KeySettings> = "key", "SEGUE_KEYS" [value_delimiter = ',', hide_env_values = true, value_name = "ID:SECRET"];
        /// Files with a key each, as `id:path`: an Ed25519 key in PEM, private or public, or the text of a secret
        key_files: Vec<KeyFile> = "key-file", "SEGUE_KEY_FILES" [value_delimiter = ',', value_name = "ID:PATH"];
    }
}

table! {
    /// STUN and TURN servers passed on to clients, besides the relay's own STUN.
    IceSettings {
        /// As `url|username|credential`, several urls of one server with spaces between them
        servers: Vec<IceServerSettings> = "ice-server", "SEGUE_ICE_SERVERS" [value_delimiter = ',', hide_env_values = true];
    }
}

table! {
    /// How much of anything there may be.
    LimitSettings {
        /// Rooms open at a time [default: 1000]
        rooms: usize = "max-rooms", "SEGUE_MAX_ROOMS";
        /// Participants in a room, at most 512 [default: 100]
        participants: usize = "max-participants", "SEGUE_MAX_PARTICIPANTS";
        /// Tracks a participant has published at a time [default: 16]
        tracks: usize = "max-tracks", "SEGUE_MAX_TRACKS";
        /// Signalling messages a participant sends per second in the long run [default: 500]
        messages_per_second: u32 = "messages-per-second", "SEGUE_MESSAGES_PER_SECOND";
        /// Bytes a participant sends others through signalling per second in the long run, each receiver counted [default: 1048576]
        bytes_per_second: u32 = "bytes-per-second", "SEGUE_BYTES_PER_SECOND";
        /// Seconds a lost connection may take to come back [default: 30]
        resume_seconds: f64 = "resume-seconds", "SEGUE_RESUME_SECONDS" [allow_negative_numbers = true];
        /// Seconds calls may go on after SIGTERM, while no new rooms open; a second signal ends them at once [default: 20]
        drain_seconds: f64 = "drain-seconds", "SEGUE_DRAIN_SECONDS" [allow_negative_numbers = true];
    }
}

table! {
    /// When a room moves between mesh and relay.
    TopologySettings {
        /// Most participants of a mesh with video, at most 8 [default: 4]
        mesh_max: usize = "mesh-max", "SEGUE_MESH_MAX";
        /// Most participants of a mesh without video, at most 8 [default: 8]
        mesh_max_audio: usize = "mesh-max-audio", "SEGUE_MESH_MAX_AUDIO";
        /// Seconds a room must have been small before it goes back to a mesh [default: 10]
        down_hold_seconds: f64 = "down-hold-seconds", "SEGUE_DOWN_HOLD_SECONDS" [allow_negative_numbers = true];
        /// Seconds between two handovers at least, failures exempt [default: 30]
        handover_interval_seconds: f64 = "handover-interval-seconds", "SEGUE_HANDOVER_INTERVAL_SECONDS" [allow_negative_numbers = true];
        /// Seconds after which edges that are not on the new path stay where they are [default: 8]
        laggard_seconds: f64 = "laggard-seconds", "SEGUE_LAGGARD_SECONDS" [allow_negative_numbers = true];
        /// Seconds to wait after a handover that failed; doubles with each in a row [default: 30]
        backoff_seconds: f64 = "backoff-seconds", "SEGUE_BACKOFF_SECONDS" [allow_negative_numbers = true];
        /// A shared screen among three or more asks for the relay [default: true]
        relay_for_screens: bool = "relay-for-screens", "SEGUE_RELAY_FOR_SCREENS";
    }
}

table! {
    /// What is written to standard error.
    LogSettings {
        /// Which events, for example `info,segue_relay=debug` [default: info]
        filter: String = "log", "SEGUE_LOG";
        /// In which form [default: text]
        format: LogFormat = "log-format", "SEGUE_LOG_FORMAT";
    }
}

/// All tables.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Settings {
    #[command(flatten)]
    pub http: HttpSettings,
    #[command(flatten)]
    pub tls: TlsSettings,
    #[command(flatten)]
    pub media: MediaSettings,
    #[command(flatten)]
    pub auth: AuthSettings,
    #[command(flatten)]
    pub ice: IceSettings,
    #[command(flatten)]
    pub limits: LimitSettings,
    #[command(flatten)]
    pub topology: TopologySettings,
    #[command(flatten)]
    pub log: LogSettings,
}

impl Settings {
    /// Takes from `weaker` (a file) what is not set here (flags and environment).
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            http: self.http.or(weaker.http),
            tls: self.tls.or(weaker.tls),
            media: self.media.or(weaker.media),
            auth: self.auth.or(weaker.auth),
            ice: self.ice.or(weaker.ice),
            limits: self.limits.or(weaker.limits),
            topology: self.topology.or(weaker.topology),
            log: self.log.or(weaker.log),
        }
    }
}

/// How connections are encrypted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Not at all: for one machine, or behind a proxy.
    #[default]
    Off,
    /// With a certificate made at start: browsers ask once.
    SelfSigned,
    /// With a certificate from files.
    Files,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// One STUN or TURN server.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct IceServerSettings {
    /// `stun:` and `turn:` addresses (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// Of a TURN server.
    pub username: String,
    /// Of a TURN server.
    pub credential: String,
}

impl IceServerSettings {
    /// Whether clients can use it: browsers refuse a call with a server they cannot.
    ///
    /// # Errors
    /// It has no URL, one of another kind, or is a TURN server without credentials.
    pub fn check(&self) -> Result<(), ConfigError> {
        let known = |url: &String| ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
        if self.urls.is_empty() || !self.urls.iter().all(known) {
            return Err(ConfigError::Range { key: "ice.servers", rule: "urls that begin with stun:, turn: or turns:" });
        }
        let relays = self.urls.iter().any(|url| url.starts_with("turn"));
        if relays && (self.username.is_empty() || self.credential.is_empty()) {
            return Err(ConfigError::Range {
                key: "ice.servers",
                rule: "given with username and credential where they are TURN servers",
            });
        }
        Ok(())
    }
}

impl AuthSettings {
    /// Every key, those in files read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn all_keys(self) -> Result<Vec<KeySettings>, ConfigError> {
        let mut keys = self.keys.unwrap_or_default();
        for KeyFile { id, path } in self.key_files.unwrap_or_default() {
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::File { path, source })?;
            keys.push(KeySettings::from_text(id, &text));
        }
        Ok(keys)
    }
}

impl std::fmt::Debug for IceServerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceServerSettings({} urls)", self.urls.len())
    }
}

/// A file that holds a key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct KeyFile {
    /// The `iss` claim of its tokens.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A flag could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Not `id:secret`.
    #[error("a key is given as `id:secret`")]
    Key,
    /// Not `id:path`.
    #[error("a file with a key is given as `id:path`")]
    KeyFile,
    /// Not an ICE server.
    #[error(
        "an ICE server is given as `url|username|credential` with urls that begin with stun:, turn: or turns:; TURN needs both of the others"
    )]
    IceServer,
}

impl FromStr for KeySettings {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (id, secret) = text.split_once(':').ok_or(FlagError::Key)?;
        Ok(Self { id: id.to_owned(), secret: Some(secret.to_owned()), ..Self::default() })
    }
}

impl FromStr for KeyFile {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        let (id, path) = text.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or(FlagError::KeyFile)?;
        Ok(Self { id: id.to_owned(), path: path.into() })
    }
}

impl TryFrom<String> for KeyFile {
    type Error = FlagError;

    fn try_from(text: String) -> Result<Self, FlagError> {
        text.parse()
    }
}

impl FromStr for IceServerSettings {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Self, FlagError> {
        // What follows the second bar is the credential, bars and all.
        let mut parts = text.splitn(3, '|').map(str::to_owned);
        let urls: Vec<_> = parts.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let server = Self { urls, username: parts.next().unwrap_or_default(), credential: parts.next().unwrap_or_default() };
        server.check().map_err(|_| FlagError::IceServer)?;
        Ok(server)
    }
}
