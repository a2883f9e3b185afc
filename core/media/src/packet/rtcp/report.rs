//! Sender and receiver reports (RFC 3550 section 6.4).

use segue_model::{NtpTime, Ssrc};

use super::super::cursor::{Reader, u24_bytes};
use super::super::error::PacketError;
use super::{RECEIVER_REPORT, SENDER_REPORT, framed};

/// Report blocks one packet holds: the count field has five bits.
pub const MAX_REPORTS: usize = 31;

/// What a sender says about one of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The stream.
    pub ssrc: Ssrc,
    /// Wallclock of the report.
    pub ntp: NtpTime,
    /// The same instant on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent so far, modulo 2^32.
    pub octets: u32,
    /// What it receives; at most [`MAX_REPORTS`] are written.
    pub reports: Vec<ReportBlock>,
}

/// What a receiver says about the streams it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverReport {
    /// Who reports.
    pub ssrc: Ssrc,
    /// At most [`MAX_REPORTS`] are written.
    pub reports: Vec<ReportBlock>,
}

/// One received stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost so far less duplicates: 24 bits, signed.
    pub lost: i32,
    /// Highest sequence number received, roll-overs in the upper half.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 for none.
    pub last_sender_report: u32,
    /// Time since that report came, in 1/65536 s.
    pub delay: u32,
}

pub(super) fn parse_sender(body: &mut Reader<'_>, count: u8) -> Result<SenderReport, PacketError> {
    Ok(SenderReport {
        ssrc: Ssrc(body.u32()?),
        ntp: NtpTime(body.u64()?),
        rtp_timestamp: body.u32()?,
        packets: body.u32()?,
        octets: body.u32()?,
        reports: parse_blocks(body, count)?,
    })
}

pub(super) fn parse_receiver(body: &mut Reader<'_>, count: u8) -> Result<ReceiverReport, PacketError> {
    Ok(ReceiverReport { ssrc: Ssrc(body.u32()?), reports: parse_blocks(body, count)? })
}

/// Whatever follows the blocks are profile-specific extensions: not read.
fn parse_blocks(body: &mut Reader<'_>, count: u8) -> Result<Vec<ReportBlock>, PacketError> {
    (0..count).map(|_| parse_block(body)).collect()
}

fn parse_block(body: &mut Reader<'_>) -> Result<ReportBlock, PacketError> {
    Ok(ReportBlock {
        ssrc: Ssrc(body.u32()?),
        fraction_lost: body.u8()?,
        lost: body.i24()?,
        highest: body.u32()?,
        jitter: body.u32()?,
        last_sender_report: body.u32()?,
        delay: body.u32()?,
    })
}

pub(super) fn write_sender(report: &SenderReport, out: &mut Vec<u8>) {
    let blocks = first_blocks(&report.reports);
    framed(SENDER_REPORT, blocks.len() as u8, out, |out| {
        out.extend_from_slice(&report.ssrc.0.to_be_bytes());
        out.extend_from_slice(&report.ntp.0.to_be_bytes());
        out.extend_from_slice(&report.rtp_timestamp.to_be_bytes());
        out.extend_from_slice(&report.packets.to_be_bytes());
        out.extend_from_slice(&report.octets.to_be_bytes());
        write_blocks(blocks, out);
    });
}

pub(super) fn write_receiver(report: &ReceiverReport, out: &mut Vec<u8>) {
    let blocks = first_blocks(&report.reports);
    framed(RECEIVER_REPORT, blocks.len() as u8, out, |out| {
        out.extend_from_slice(&report.ssrc.0.to_be_bytes());
        write_blocks(blocks, out);
    });
}

fn first_blocks(blocks: &[ReportBlock]) -> &[ReportBlock] {
    blocks.get(..MAX_REPORTS).unwrap_or(blocks)
}

fn write_blocks(blocks: &[ReportBlock], out: &mut Vec<u8>) {
    for block in blocks {
        out.extend_from_slice(&block.ssrc.0.to_be_bytes());
        out.push(block.fraction_lost);
        out.extend_from_slice(&u24_bytes(block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32));
        out.extend_from_slice(&block.highest.to_be_bytes());
        out.extend_from_slice(&block.jitter.to_be_bytes());
        out.extend_from_slice(&block.last_sender_report.to_be_bytes());
        out.extend_from_slice(&block.delay.to_be_bytes());
    }
}
