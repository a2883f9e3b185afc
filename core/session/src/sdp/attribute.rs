//! Values of single attributes.

use segue_media::packet::ExtensionMap;
use segue_model::Ssrc;

use super::{Codec, Direction, Fingerprint, Msid, Rid, SectionKind, Setup};

pub(super) fn section_kind(media: &str) -> SectionKind {
    match media {
        "audio" => SectionKind::Audio,
        "video" => SectionKind::Video,
        "application" => SectionKind::Data,
        _ => SectionKind::Other,
    }
}

pub(super) fn direction(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

pub(super) fn setup(value: &str) -> Option<Setup> {
    match value {
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        "actpass" => Some(Setup::ActPass),
        _ => None,
    }
}

/// `rtpmap:111 opus/48000/2` (RFC 8866 section 6.6).
pub(super) fn rtpmap(value: &str) -> Option<Codec> {
    let (payload_type, rest) = value.split_once(' ')?;
    let mut parts = rest.trim().split('/');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_rate = parts.next()?.parse().ok()?;
    let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
    Some(Codec { payload_type: payload_type_of(payload_type)?, name, clock_rate, channels, ..Codec::default() })
}

/// A payload type: seven bits (RFC 3550 section 5.1).
pub(super) fn payload_type_of(text: &str) -> Option<u8> {
    text.parse().ok().filter(|&number: &u8| number < 128)
}

/// `fmtp:111 minptime=10;useinbandfec=1`.
pub(super) fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.split_once(' ')?;
    Some((payload_type_of(number)?, rest.trim()))
}

/// `extmap:3/sendrecv <uri> <attributes>` (RFC 8285 section 5). `None` for an id out of range.
pub(super) fn extmap(value: &str, ids: &mut ExtensionMap) -> Option<()> {
    let mut words = value.split_ascii_whitespace();
    let id = words.next()?.split('/').next()?.parse::<u16>().ok()?;
    let uri = words.next()?;
    let slot = match uri {
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => &mut ids.audio_level,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => &mut ids.abs_send_time,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => &mut ids.transport_cc,
        "urn:ietf:params:rtp-hdrext:sdes:mid" => &mut ids.mid,
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" => &mut ids.rid,
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id" => &mut ids.repaired_rid,
        segue_media::packet::ORIGIN_URI => &mut ids.origin,
        _ => return Some(()),
    };
    // 4096 to 4351 are provisional ids of offers (RFC 8285 section 5); they are no use before they are mapped.
    if (1..=255).contains(&id) {
        *slot = u8::try_from(id).ok();
    }
    Some(())
}

/// `rid:h send ...` (RFC 8851 section 4).
pub(super) fn rid(value: &str) -> Option<Rid> {
    let mut words = value.split_ascii_whitespace();
    let id = words.next()?.to_owned();
    match words.next()? {
        "send" => Some(Rid { id, send: true }),
        "recv" => Some(Rid { id, send: false }),
        _ => None,
    }
}

/// `simulcast:send f;h;~q recv x` (RFC 8853 section 5.1): lists of alternatives, of which the first counts; `~` marks a paused one.
pub(super) fn simulcast(value: &str) -> Option<(Vec<String>, Vec<String>)> {
    let (mut send, mut receive) = (Vec::new(), Vec::new());
    let mut words = value.split_ascii_whitespace();
    while let Some(way) = words.next() {
        let list = words.next()?;
        let rids = list.split(';').filter_map(|alternatives| alternatives.split(',').next());
        let rids = rids.map(|rid| rid.trim_start_matches('~').to_owned()).filter(|rid| !rid.is_empty());
        match way {
            "send" => send.extend(rids),
            "recv" => receive.extend(rids),
            _ => return None,
        }
    }
    Some((send, receive))
}

/// `ssrc:1234 cname:x` (RFC 5576 section 4.1).
pub(super) fn ssrc(value: &str) -> Option<Ssrc> {
    value.split_ascii_whitespace().next()?.parse().ok().map(Ssrc)
}

/// `ssrc-group:FID 1 2` (RFC 5576 section 4.2); `Some(None)` for other groups.
pub(super) fn fid_group(value: &str) -> Option<Option<(Ssrc, Ssrc)>> {
    let mut words = value.split_ascii_whitespace();
    if words.next()? != "FID" {
        return Some(None);
    }
    let (media, repair) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Some((Ssrc(media), Ssrc(repair))))
}

/// `msid:stream track` (RFC 8830 section 2).
pub(super) fn msid(value: &str) -> Option<Msid> {
    let mut words = value.split_ascii_whitespace();
    Some(Msid { stream: words.next()?.to_owned(), track: words.next().unwrap_or_default().to_owned() })
}

/// `fingerprint:sha-256 AB:CD:..` (RFC 8122 section 5).
pub(super) fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (algorithm, digest) = value.trim().split_once(' ')?;
    let digest = digest.trim().split(':').map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok()).flatten());
    let digest = digest.collect::<Option<Vec<u8>>>().filter(|digest| !digest.is_empty())?;
    Some(Fingerprint { algorithm: algorithm.to_ascii_lowercase(), digest })
}
