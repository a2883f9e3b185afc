//! SRTP and SRTCP in place, with AES-GCM on `ring` (RFC 3711, RFC 7714).
//!
//! One [`SrtpSender`] and one [`SrtpReceiver`] serve one direction of one transport each; both are keyed from the DTLS exporter
//! ([`KeyingMaterial`], RFC 5764). Packets are sealed and opened in the caller's buffer, nothing is allocated per packet. The crate
//! knows the fixed RTP header and nothing of what a packet means.
//!
//! The invariant everything here serves: **no (key, SSRC, rollover counter, sequence number) is ever sealed twice**, because
//! AES-GCM gives up its authentication key where a nonce repeats. The sender keeps a window of what it sealed for every SSRC and
//! refuses a repetition, whoever asks for it; the index of SRTCP packets is its own and only counts up.
//!
//! Not here: AES-CM with HMAC-SHA1. Peers that have nothing better are served by another implementation, off the fast path.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod header;
mod key;
mod receiver;
mod sender;
mod stream;
mod window;

pub use header::rtp_header_len;
pub use key::{KeyError, KeyingMaterial, MAX_KEY_LEN, MasterKey, Profile, SALT_LEN};
pub use receiver::{OpenError, SrtpReceiver};
pub use sender::{SealError, SealGuard, SrtpSender};
pub use stream::MAX_STREAMS;
pub use window::WINDOW;

/// Bytes of the authentication tag at the end of every packet (RFC 7714 section 13.1).
pub const TAG_LEN: usize = 16;

/// Bytes a sealed RTP packet has more than the packet: the tag.
pub const RTP_OVERHEAD: usize = TAG_LEN;

/// Bytes a sealed RTCP packet has more than the packet: the tag, and the word of E bit and index (RFC 7714 section 9.3).
pub const RTCP_OVERHEAD: usize = TAG_LEN + RTCP_INDEX_LEN;

/// Bytes of the SRTCP word: E bit and 31-bit index (RFC 3711 section 3.4).
const RTCP_INDEX_LEN: usize = 4;

/// The E bit of the SRTCP word: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Bytes of an RTCP packet that are never encrypted: the first header with the sender's SSRC (RFC 7714 section 9.2).
const RTCP_CLEAR_LEN: usize = 8;
