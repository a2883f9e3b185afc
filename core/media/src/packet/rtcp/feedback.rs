//! Feedback about streams: NACK and PLI (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb-03).

use segue_model::{DataRate, SeqNo, Ssrc};

use super::super::cursor::{Reader, u24_bytes};
use super::super::error::PacketError;
use super::{PAYLOAD_FEEDBACK, RtcpPacket, TRANSPORT_FEEDBACK, framed};

/// Numbers taken from one NACK. A datagram of full masks would ask for six thousand; nobody's cache is that deep.
pub const MAX_LOST: usize = 1024;

/// Sources of one REMB: its count field has eight bits.
const MAX_REMB_SSRCS: usize = 255;

/// Feedback message types.
pub(super) const NACK: u8 = 1;
pub(super) const PLI: u8 = 1;
pub(super) const FIR: u8 = 4;
pub(super) const APPLICATION: u8 = 15;

const REMB_NAME: [u8; 4] = *b"REMB";

/// Full intra request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fir {
    /// Who asks.
    pub sender: Ssrc,
    /// Of whom.
    pub entries: Vec<FirEntry>,
}

/// One stream asked for a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream.
    pub ssrc: Ssrc,
    /// Number of the command: a repetition has the same.
    pub sequence: u8,
}

/// Receiver estimated maximum bitrate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remb {
    /// Who estimates.
    pub sender: Ssrc,
    /// The estimate; written with 18 significant bits.
    pub bitrate: DataRate,
    /// The streams it is about.
    pub ssrcs: Vec<Ssrc>,
}

pub(super) fn parse_nack(body: &mut Reader<'_>) -> Result<RtcpPacket, PacketError> {
    let sender = Ssrc(body.u32()?);
    let media = Ssrc(body.u32()?);
    let mut lost = Vec::new();
    while !body.is_empty() {
        let (id, mask) = (body.u16()?, body.u16()?);
        let masked = (0..16u16).filter(|bit| mask & (1 << bit) != 0).map(|bit| id.wrapping_add(bit + 1));
        lost.extend(std::iter::once(id).chain(masked).map(SeqNo));
        if lost.len() > MAX_LOST {
            return Err(PacketError::TooMany);
        }
    }
    Ok(RtcpPacket::Nack { sender, media, lost })
}

pub(super) fn write_nack(sender: Ssrc, media: Ssrc, lost: &[SeqNo], out: &mut Vec<u8>) {
    framed(TRANSPORT_FEEDBACK, NACK, out, |out| {
        out.extend_from_slice(&sender.0.to_be_bytes());
        out.extend_from_slice(&media.0.to_be_bytes());
        let mut rest = lost.get(..MAX_LOST).unwrap_or(lost);
        while let Some((first, mut tail)) = rest.split_first() {
            let mut mask = 0u16;
            while let Some((next, after)) = tail.split_first() {
                let ahead = next.0.wrapping_sub(first.0);
                if !(1..=16).contains(&ahead) {
                    break;
                }
                mask |= 1 << (ahead - 1);
                tail = after;
            }
            rest = tail;
            out.extend_from_slice(&first.0.to_be_bytes());
            out.extend_from_slice(&mask.to_be_bytes());
        }
    });
}

pub(super) fn parse_pli(body: &mut Reader<'_>) -> Result<RtcpPacket, PacketError> {
    Ok(RtcpPacket::Pli { sender: Ssrc(body.u32()?), media: Ssrc(body.u32()?) })
}

pub(super) fn write_pli(sender: Ssrc, media: Ssrc, out: &mut Vec<u8>) {
    framed(PAYLOAD_FEEDBACK, PLI, out, |out| {
        out.extend_from_slice(&sender.0.to_be_bytes());
        out.extend_from_slice(&media.0.to_be_bytes());
    });
}

pub(super) fn parse_fir(body: &mut Reader<'_>) -> Result<Fir, PacketError> {
    let sender = Ssrc(body.u32()?);
    // The media source of the header is unused (RFC 5104 section 4.3.1.2).
    body.u32()?;
    let mut entries = Vec::new();
    while !body.is_empty() {
        let (ssrc, sequence) = (Ssrc(body.u32()?), body.u8()?);
        body.u24()?;
        entries.push(FirEntry { ssrc, sequence });
    }
    Ok(Fir { sender, entries })
}

pub(super) fn write_fir(fir: &Fir, out: &mut Vec<u8>) {
    framed(PAYLOAD_FEEDBACK, FIR, out, |out| {
        out.extend_from_slice(&fir.sender.0.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        for entry in &fir.entries {
            out.extend_from_slice(&entry.ssrc.0.to_be_bytes());
            out.extend_from_slice(&[entry.sequence, 0, 0, 0]);
        }
    });
}

/// Application layer feedback: REMB or something unknown.
pub(super) fn parse_application(body: &mut Reader<'_>) -> Result<RtcpPacket, PacketError> {
    let sender = Ssrc(body.u32()?);
    body.u32()?;
    if !body.rest().starts_with(&REMB_NAME) {
        return Ok(RtcpPacket::Unknown { packet_type: PAYLOAD_FEEDBACK, format: APPLICATION });
    }
    body.take(REMB_NAME.len())?;
    let count = body.u8()?;
    let packed = body.u24()?;
    let (exponent, mantissa) = (packed >> 18, u64::from(packed & 0x3_ffff));
    // 18 bits of mantissa leave room for a shift by 45 in 63 bits: what does not fit is no rate of this world.
    let bits = if exponent <= 45 { mantissa << exponent } else { return Err(PacketError::Malformed) };
    let ssrcs = (0..count).map(|_| body.u32().map(Ssrc)).collect::<Result<_, _>>()?;
    Ok(RtcpPacket::Remb(Remb { sender, bitrate: DataRate::bps(bits), ssrcs }))
}

pub(super) fn write_remb(remb: &Remb, out: &mut Vec<u8>) {
    let ssrcs = remb.ssrcs.get(..MAX_REMB_SSRCS).unwrap_or(&remb.ssrcs);
    let bits = remb.bitrate.as_bps().min(u64::MAX >> 1);
    let exponent = (64 - bits.leading_zeros()).saturating_sub(18);
    let packed = (exponent << 18) | ((bits >> exponent) as u32 & 0x3_ffff);
    framed(PAYLOAD_FEEDBACK, APPLICATION, out, |out| {
        out.extend_from_slice(&remb.sender.0.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&REMB_NAME);
        out.push(ssrcs.len() as u8);
        out.extend_from_slice(&u24_bytes(packed));
        for ssrc in ssrcs {
            out.extend_from_slice(&ssrc.0.to_be_bytes());
        }
    });
}
