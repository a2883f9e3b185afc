//! The path heartbeat: an APP packet (RFC 3550 section 6.7) named `SGHB`.

use segue_model::Ssrc;

use super::super::cursor::Reader;
use super::super::error::PacketError;
use super::{APP, RtcpPacket, framed};

const NAME: [u8; 4] = *b"SGHB";

/// Proves that a leg works in both directions and measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// Any source of the sender.
    pub sender: Ssrc,
    /// Counts the sender's heartbeats from 1.
    pub sequence: u32,
    /// When it was sent: microseconds on the sender's own clock, of unknown zero.
    pub sent_us: u64,
    /// The latest heartbeat the sender got, if any.
    pub echo: Option<HeartbeatEcho>,
}

/// An answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeartbeatEcho {
    /// Its number.
    pub sequence: u32,
    /// Its `sent_us`.
    pub sent_us: u64,
    /// Microseconds between its arrival and this answer.
    pub hold_us: u32,
}

pub(super) fn parse(body: &mut Reader<'_>, format: u8) -> Result<RtcpPacket, PacketError> {
    let sender = Ssrc(body.u32()?);
    if body.take(NAME.len())? != NAME {
        return Ok(RtcpPacket::Unknown { packet_type: APP, format });
    }
    let (sequence, sent_us) = (body.u32()?, body.u64()?);
    let echo = HeartbeatEcho { sequence: body.u32()?, sent_us: body.u64()?, hold_us: body.u32()? };
    Ok(RtcpPacket::Heartbeat(Heartbeat { sender, sequence, sent_us, echo: (echo.sequence != 0).then_some(echo) }))
}

pub(super) fn write(heartbeat: &Heartbeat, out: &mut Vec<u8>) {
    let echo = heartbeat.echo.unwrap_or(HeartbeatEcho { sequence: 0, sent_us: 0, hold_us: 0 });
    framed(APP, 0, out, |out| {
        out.extend_from_slice(&heartbeat.sender.0.to_be_bytes());
        out.extend_from_slice(&NAME);
        out.extend_from_slice(&heartbeat.sequence.to_be_bytes());
        out.extend_from_slice(&heartbeat.sent_us.to_be_bytes());
        out.extend_from_slice(&echo.sequence.to_be_bytes());
        out.extend_from_slice(&echo.sent_us.to_be_bytes());
        out.extend_from_slice(&echo.hold_us.to_be_bytes());
    });
}
