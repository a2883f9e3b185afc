//! How large anything on the wire may be. Checked when a message is decoded, so that nothing behind it has to.

/// Bytes of one frame a client sends: the largest thing in one is a session description.
pub const MAX_CLIENT_FRAME: usize = 256 * 1024;

/// Bytes of one frame the relay sends: the roster of a full room of 512 with metadata fits.
pub const MAX_SERVER_FRAME: usize = 4 * 1024 * 1024;

/// Bytes of one session description: Chromium with 100 sections stays below.
pub const MAX_SDP: usize = 64 * 1024;

/// Bytes of a signal's body: a session description with its track map, or one data message.
pub const MAX_SIGNAL_BODY: usize = 96 * 1024;

/// Bytes of one reliable data message.
pub const MAX_DATA_PAYLOAD: usize = 64 * 1024;

/// Bytes of one lossy data message: it should fit a few datagrams, otherwise it is never lossy but lost.
pub const MAX_LOSSY_PAYLOAD: usize = 15 * 1024;

/// Bytes of names: identity, display name, room, track name, client name.
pub const MAX_NAME: usize = 256;

/// Bytes of a participant's metadata.
pub const MAX_METADATA: usize = 4 * 1024;

/// What a device signs of a join is this, followed by the token (`Join.device_signature`).
pub const JOIN_CONTEXT: &[u8] = b"segue.v1 join ";

/// Bytes of a join token.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Bytes of a data topic, a reason or an error sentence.
pub const MAX_TEXT: usize = 1024;

/// Bytes of one ICE candidate, and of its username fragment and section name.
pub const MAX_CANDIDATE: usize = 1024;

/// Bytes of a device key: Ed25519.
pub const MAX_DEVICE_KEY: usize = 32;

/// Bytes of what a device key signs: Ed25519.
pub const MAX_DEVICE_SIGNATURE: usize = 64;

/// Bytes of a mid or a rid: they travel in RTP header extensions of at most 16 bytes (RFC 8285 section 4.2).
pub const MAX_LABEL: usize = 16;

/// Entries of a list that has no tighter limit: tracks of one description, slots, tracks of an edge.
pub const MAX_LIST: usize = 1024;

/// Encodings of one track.
pub const MAX_ENCODINGS: usize = segue_model::MAX_ENCODINGS;

/// Participants in one roster.
pub const MAX_ROSTER: usize = 1024;
