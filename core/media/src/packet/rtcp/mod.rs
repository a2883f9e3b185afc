//! RTCP: compound packets (RFC 3550 section 6.1) and reduced-size ones (RFC 5506).

mod description;
mod feedback;
mod heartbeat;
mod report;
mod transport;

use segue_model::{SeqNo, Ssrc};

pub use description::{Bye, MAX_CNAME, Sdes, SdesChunk};
pub use feedback::{Fir, FirEntry, MAX_LOST, Remb};
pub use heartbeat::{Heartbeat, HeartbeatEcho};
pub use report::{MAX_REPORTS, ReceiverReport, ReportBlock, SenderReport};
pub use transport::{DELTA_TICK, MAX_STATUSES, REFERENCE_TICK, TransportFeedback};

use super::cursor::Reader;
use super::error::PacketError;

/// Packets taken from one compound packet. Ours hold a handful; a datagram of minimal packets would hold several hundred.
pub const MAX_COMPOUND: usize = 64;

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// One RTCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtcpPacket {
    /// RFC 3550 section 6.4.1.
    SenderReport(SenderReport),
    /// RFC 3550 section 6.4.2.
    ReceiverReport(ReceiverReport),
    /// RFC 3550 section 6.5; only canonical names are kept.
    Sdes(Sdes),
    /// RFC 3550 section 6.6.
    Bye(Bye),
    /// Generic NACK (RFC 4585 section 6.2.1), its bit masks spelled out, in wire order.
    Nack {
        /// Who asks.
        sender: Ssrc,
        /// The stream it is about.
        media: Ssrc,
        /// Hop sequence numbers that are missing.
        lost: Vec<SeqNo>,
    },
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// Who asks.
        sender: Ssrc,
        /// The stream it is about.
        media: Ssrc,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir(Fir),
    /// Transport-wide feedback.
    TransportCc(TransportFeedback),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb),
    /// Segue's path heartbeat.
    Heartbeat(Heartbeat),
    /// Well framed but of a type this house does not read. Never written.
    Unknown {
        /// Packet type.
        packet_type: u8,
        /// Count or feedback message type.
        format: u8,
    },
}

/// Reads all packets of a datagram.
///
/// # Errors
/// [`PacketError`] where any of them is malformed: then none is taken.
pub fn parse_compound(datagram: &[u8]) -> Result<Vec<RtcpPacket>, PacketError> {
    let mut reader = Reader::new(datagram);
    let mut packets = Vec::new();
    if reader.is_empty() {
        return Err(PacketError::Truncated);
    }
    while !reader.is_empty() {
        if packets.len() == MAX_COMPOUND {
            return Err(PacketError::TooMany);
        }
        packets.push(parse_one(&mut reader)?);
    }
    Ok(packets)
}

fn parse_one(reader: &mut Reader<'_>) -> Result<RtcpPacket, PacketError> {
    let first = reader.u8()?;
    let packet_type = reader.u8()?;
    if first >> 6 != 2 {
        return Err(PacketError::Version);
    }
    let format = first & 0x1f;
    let words = reader.u16()?;
    let mut body = reader.take(usize::from(words) * 4)?;
    if first & 0x20 != 0 {
        let &count = body.last().ok_or(PacketError::Padding)?;
        let keep = body.len().checked_sub(usize::from(count)).filter(|_| count != 0).ok_or(PacketError::Padding)?;
        body = body.get(..keep).ok_or(PacketError::Padding)?;
    }
    let mut body = Reader::new(body);
    match (packet_type, format) {
        (SENDER_REPORT, count) => report::parse_sender(&mut body, count).map(RtcpPacket::SenderReport),
        (RECEIVER_REPORT, count) => report::parse_receiver(&mut body, count).map(RtcpPacket::ReceiverReport),
        (SDES, count) => description::parse_sdes(&mut body, count).map(RtcpPacket::Sdes),
        (BYE, count) => description::parse_bye(&mut body, count).map(RtcpPacket::Bye),
        (APP, _) => heartbeat::parse(&mut body, format),
        (TRANSPORT_FEEDBACK, feedback::NACK) => feedback::parse_nack(&mut body),
        (TRANSPORT_FEEDBACK, transport::TRANSPORT_CC) => transport::parse(&mut body).map(RtcpPacket::TransportCc),
        (PAYLOAD_FEEDBACK, feedback::PLI) => feedback::parse_pli(&mut body),
        (PAYLOAD_FEEDBACK, feedback::FIR) => feedback::parse_fir(&mut body).map(RtcpPacket::Fir),
        (PAYLOAD_FEEDBACK, feedback::APPLICATION) => feedback::parse_application(&mut body),
        (packet_type, format) => Ok(RtcpPacket::Unknown { packet_type, format }),
    }
}

/// Appends the packets to `out`, one after the other. Lists longer than the format holds are cut (`MAX_*` constants);
/// [`RtcpPacket::Unknown`] is left out.
pub fn write_compound(packets: &[RtcpPacket], out: &mut Vec<u8>) {
    for packet in packets {
        match packet {
            RtcpPacket::SenderReport(report) => report::write_sender(report, out),
            RtcpPacket::ReceiverReport(report) => report::write_receiver(report, out),
            RtcpPacket::Sdes(sdes) => description::write_sdes(sdes, out),
            RtcpPacket::Bye(bye) => description::write_bye(bye, out),
            RtcpPacket::Nack { sender, media, lost } => feedback::write_nack(*sender, *media, lost, out),
            RtcpPacket::Pli { sender, media } => feedback::write_pli(*sender, *media, out),
            RtcpPacket::Fir(fir) => feedback::write_fir(fir, out),
            RtcpPacket::TransportCc(transport) => transport::write(transport, out),
            RtcpPacket::Remb(remb) => feedback::write_remb(remb, out),
            RtcpPacket::Heartbeat(heartbeat) => heartbeat::write(heartbeat, out),
            RtcpPacket::Unknown { .. } => {}
        }
    }
}

/// Appends a packet whose body `body` writes; fills it up to whole words with padding that says so.
fn framed(packet_type: u8, format: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | (format & 0x1f), packet_type, 0, 0]);
    body(out);
    let short = (4 - (out.len() - start) % 4) % 4;
    if short != 0 {
        out.resize(out.len() + short - 1, 0);
        out.push(short as u8);
    }
    // The length field counts words less one, which is the words of the body.
    let [high, low] = (((out.len() - start) / 4).saturating_sub(1) as u16).to_be_bytes();
    if let Some([first, _, length_high, length_low]) = out.get_mut(start..start + 4) {
        *length_high = high;
        *length_low = low;
        if short != 0 {
            *first |= 0x20;
        }
    }
}

#[cfg(test)]
mod tests;
