//! Bytes to messages and back, in both forms.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::check::Check;
use crate::limits::{MAX_CLIENT_FRAME, MAX_LOSSY_PAYLOAD, MAX_SERVER_FRAME, MAX_SIGNAL_BODY, MAX_TEXT};
use crate::proto::{ClientFrame, ErrorCode, LossyData, ServerFrame, Signal, SignalBody};

/// JSON writes bytes as base64 and escapes session descriptions: what is within a limit in protobuf is within twice that as text.
const JSON_OVERHEAD: usize = 2;

/// The two forms of every message. A WebSocket says which by its subprotocol, a data channel message by its payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf: binary WebSocket and data channel messages.
    Proto,
    /// JSON: text messages.
    Json,
}

/// Why bytes from outside are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Larger than any message may be; not even looked at.
    #[error("a message of {size} bytes exceeds the limit of {limit}")]
    Oversize {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not this schema.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// A field exceeds its limit.
    #[error("`{field}` exceeds its limit of {limit}")]
    Limit {
        /// The field.
        field: &'static str,
        /// In bytes, or entries of a list.
        limit: usize,
        /// Sequence number of the frame, 0 where it has none.
        seq: u64,
    },
}

impl WireError {
    /// The stable code for the sender.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Oversize { .. } | Self::Limit { .. } => ErrorCode::TooLarge,
            Self::Malformed(_) => ErrorCode::Malformed,
        }
    }

    /// Sequence number of the frame at fault, where it could be read.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Limit { seq, .. } => *seq,
            Self::Oversize { .. } | Self::Malformed(_) => 0,
        }
    }
}

/// Reads what a client sends to the relay.
///
/// # Errors
/// See [`WireError`]. A frame whose kind of message is unknown is no error: it reads as a frame without message.
pub fn decode_client_frame(encoding: Encoding, bytes: &[u8]) -> Result<ClientFrame, WireError> {
    let frame: ClientFrame = decode(encoding, bytes, MAX_CLIENT_FRAME)?;
    check(&frame, frame.seq)?;
    Ok(frame)
}

/// Reads what the relay sends to a client.
///
/// # Errors
/// As [`decode_client_frame`].
pub fn decode_server_frame(encoding: Encoding, bytes: &[u8]) -> Result<ServerFrame, WireError> {
    let frame: ServerFrame = decode(encoding, bytes, MAX_SERVER_FRAME)?;
    check(&frame, frame.seq)?;
    Ok(frame)
}

/// Reads a participant's signal and its body; the body is `None` where its kind is unknown.
///
/// # Errors
/// As [`decode_client_frame`].
pub fn decode_signal(encoding: Encoding, bytes: &[u8]) -> Result<(Signal, SignalBody), WireError> {
    let signal: Signal = decode(encoding, bytes, MAX_SIGNAL_BODY + MAX_TEXT)?;
    check(&signal, 0)?;
    let body = SignalBody::decode(signal.body.as_slice()).map_err(|error| WireError::Malformed(short(&error)))?;
    check(&body, 0)?;
    Ok((signal, body))
}

/// Reads a lossy data message.
///
/// # Errors
/// As [`decode_client_frame`].
pub fn decode_lossy(encoding: Encoding, bytes: &[u8]) -> Result<LossyData, WireError> {
    let data: LossyData = decode(encoding, bytes, MAX_LOSSY_PAYLOAD + 2 * MAX_TEXT)?;
    check(&data, 0)?;
    Ok(data)
}

/// Writes what a client sends. JSON is UTF-8 text.
#[must_use]
pub fn encode_client_frame(encoding: Encoding, frame: &ClientFrame) -> Vec<u8> {
    encode(encoding, frame)
}

/// Writes what the relay sends.
#[must_use]
pub fn encode_server_frame(encoding: Encoding, frame: &ServerFrame) -> Vec<u8> {
    encode(encoding, frame)
}

/// Writes a signal for a data channel.
#[must_use]
pub fn encode_signal(encoding: Encoding, signal: &Signal) -> Vec<u8> {
    encode(encoding, signal)
}

/// Writes a lossy data message.
#[must_use]
pub fn encode_lossy(encoding: Encoding, data: &LossyData) -> Vec<u8> {
    encode(encoding, data)
}

fn decode<M: Message + Default + DeserializeOwned>(encoding: Encoding, bytes: &[u8], limit: usize) -> Result<M, WireError> {
    let limit = match encoding {
        Encoding::Proto => limit,
        Encoding::Json => limit * JSON_OVERHEAD,
    };
    if bytes.len() > limit {
        return Err(WireError::Oversize { size: bytes.len(), limit });
    }
    match encoding {
        Encoding::Proto => M::decode(bytes).map_err(|error| WireError::Malformed(short(&error))),
        Encoding::Json => serde_json::from_slice(bytes).map_err(|error| WireError::Malformed(short(&error))),
    }
}

fn encode<M: Message + Serialize>(encoding: Encoding, message: &M) -> Vec<u8> {
    match encoding {
        Encoding::Proto => message.encode_to_vec(),
        // These types have string keys and finite numbers only, which is all that serde_json can refuse.
        Encoding::Json => serde_json::to_vec(message).unwrap_or_default(),
    }
}

fn check(message: &impl Check, seq: u64) -> Result<(), WireError> {
    message.check().map_err(|long| WireError::Limit { field: long.field, limit: long.limit, seq })
}

/// The decoder's words, cut so that hostile input cannot fill a log line.
fn short(error: &impl ToString) -> String {
    error.to_string().chars().take(160).collect()
}
