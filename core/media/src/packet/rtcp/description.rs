//! Source descriptions and goodbyes (RFC 3550 sections 6.5 and 6.6).

use segue_model::Ssrc;

use super::super::cursor::Reader;
use super::super::error::PacketError;
use super::{BYE, SDES, framed};

/// Longest canonical name: the item's length field has eight bits.
pub const MAX_CNAME: usize = 255;

/// Chunks or sources one packet holds: the count field has five bits.
const MAX_SOURCES: usize = 31;

const ITEM_END: u8 = 0;
const ITEM_CNAME: u8 = 1;

/// Source description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdes {
    /// At most 31 are written.
    pub chunks: Vec<SdesChunk>,
}

/// One source's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdesChunk {
    /// The source.
    pub ssrc: Ssrc,
    /// Its canonical name, at most [`MAX_CNAME`] bytes; empty where it gives none.
    pub cname: Vec<u8>,
}

/// Goodbye; the reason text is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Sources that end. At most 31 are written.
    pub ssrcs: Vec<Ssrc>,
}

pub(super) fn parse_sdes(body: &mut Reader<'_>, count: u8) -> Result<Sdes, PacketError> {
    let chunks = (0..count).map(|_| parse_chunk(body)).collect::<Result<_, _>>()?;
    Ok(Sdes { chunks })
}

fn parse_chunk(body: &mut Reader<'_>) -> Result<SdesChunk, PacketError> {
    let before = body.len();
    let ssrc = Ssrc(body.u32()?);
    let mut cname = Vec::new();
    loop {
        match body.u8()? {
            ITEM_END => break,
            item => {
                let len = body.u8()?;
                let text = body.take(usize::from(len))?;
                if item == ITEM_CNAME {
                    cname = text.to_vec();
                }
            }
        }
    }
    // Chunks end at a word boundary.
    let used = before - body.len();
    body.take((4 - used % 4) % 4)?;
    Ok(SdesChunk { ssrc, cname })
}

pub(super) fn parse_bye(body: &mut Reader<'_>, count: u8) -> Result<Bye, PacketError> {
    let ssrcs = (0..count).map(|_| body.u32().map(Ssrc)).collect::<Result<_, _>>()?;
    Ok(Bye { ssrcs })
}

pub(super) fn write_sdes(sdes: &Sdes, out: &mut Vec<u8>) {
    let chunks = sdes.chunks.get(..MAX_SOURCES).unwrap_or(&sdes.chunks);
    framed(SDES, chunks.len() as u8, out, |out| {
        for chunk in chunks {
            let start = out.len();
            out.extend_from_slice(&chunk.ssrc.0.to_be_bytes());
            if !chunk.cname.is_empty() {
                let cname = chunk.cname.get(..MAX_CNAME).unwrap_or(&chunk.cname);
                out.extend_from_slice(&[ITEM_CNAME, cname.len() as u8]);
                out.extend_from_slice(cname);
            }
            out.push(ITEM_END);
            out.resize(out.len() + (4 - (out.len() - start) % 4) % 4, 0);
        }
    });
}

pub(super) fn write_bye(bye: &Bye, out: &mut Vec<u8>) {
    let ssrcs = bye.ssrcs.get(..MAX_SOURCES).unwrap_or(&bye.ssrcs);
    framed(BYE, ssrcs.len() as u8, out, |out| {
        for ssrc in ssrcs {
            out.extend_from_slice(&ssrc.0.to_be_bytes());
        }
    });
}
