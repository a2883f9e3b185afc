//! What a room may be, and when it changes its topology.

use std::time::Duration;

use segue_wire::proto;

/// No configuration allows more participants: edges are counted in pairs, and a roster must fit a frame.
pub const MAX_PARTICIPANTS: usize = 512;

/// And where nobody says: one who speaks before a hundred, the largest room that is measured, and whoever looks after it besides.
pub const DEFAULT_PARTICIPANTS: usize = 128;

/// Settings of one room.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The room's name.
    pub name: String,
    /// Of the relay process: grows with every start. Below 2^53, because JavaScript reads it.
    pub incarnation: u64,
    /// Told to every participant.
    pub ice_servers: Vec<proto::IceServer>,
    /// At most [`MAX_PARTICIPANTS`].
    pub max_participants: usize,
    /// Tracks one participant may have published at a time: microphone, camera, screen with sound, and a few of the application's.
    pub max_tracks: usize,
    /// A session whose connection is lost is held this long.
    pub resume_window: Duration,
    /// Messages a participant may send per second in the long run. Reliable data travels as messages.
    pub messages_per_second: u32,
    /// Bytes a participant may have the relay send on to others per second in the long run, each receiver counted.
    pub bytes_per_second: u32,
    /// When the room moves.
    pub topology: TopologyConfig,
}

/// When a room moves between mesh and relay (`handover.md` section 2 of the design).
#[derive(Clone, Copy, Debug)]
pub struct TopologyConfig {
    /// Most participants of a mesh in which somebody publishes video.
    pub mesh_max: usize,
    /// Most participants of a mesh without video.
    pub mesh_max_audio: usize,
    /// A room must have been small this long before it goes back to a mesh.
    pub down_hold: Duration,
    /// At most one handover in this time; what a failure asks for is exempt.
    pub handover_interval: Duration,
    /// Edges that are not on the new path after this stay where they are, and the room is mixed.
    pub laggard_after: Duration,
    /// Wait after a handover that failed; doubles with each failure in a row.
    pub backoff: Duration,
    /// A participant's uplink must have borne too little for the mesh this long, without rising, before the room goes to the relay.
    pub uplink_hold: Duration,
    /// A shared screen among three or more asks for the relay.
    pub relay_for_screens: bool,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            incarnation: 1,
            ice_servers: Vec::new(),
            max_participants: DEFAULT_PARTICIPANTS,
            max_tracks: 16,
            resume_window: Duration::from_secs(30),
            messages_per_second: 500,
            bytes_per_second: 1024 * 1024,
            topology: TopologyConfig::default(),
        }
    }
}

impl Default for TopologyConfig {
    fn default() -> Self {
        Self {
            mesh_max: 4,
            mesh_max_audio: 8,
            down_hold: Duration::from_secs(10),
            handover_interval: Duration::from_secs(30),
            laggard_after: Duration::from_secs(8),
            backoff: Duration::from_secs(30),
            uplink_hold: Duration::from_secs(5),
            relay_for_screens: true,
        }
    }
}
