//! The header of an outgoing stream: written once when what was negotiated is known, and only filled in for each packet.
//!
//! Its extensions have the same layout in every packet of a stream, so packets with payloads of one length have one length, too, and leave
//! in one call.

use segue_media::packet::{AudioLevel, Extensions, Label, ORIGIN_LEN, Origin, RtpHeader, RtpView};
use segue_model::{SeqNo, Ssrc};

use crate::leg::LegParameters;

/// Bytes of the longest header: fixed part, extension block, and every element the relay writes in its two-byte form, the label
/// at its longest.
pub(crate) const MAX_HEADER: usize = 12 + 4 + (2 + 1) + (2 + 2) + (2 + 13) + (2 + 16) + 3;

/// Bit of the first byte (RFC 3550 section 5.1).
const PADDED: u8 = 0x20;

/// Bytes of the fixed header (RFC 3550 section 5.1).
const FIXED: usize = 12;

/// What is the same in all packets of one stream to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// What its packets name themselves by.
    pub(crate) mid: Option<Label>,
    /// They carry audio levels.
    pub(crate) level: bool,
    /// They carry origins.
    pub(crate) origin: bool,
}

/// What differs from packet to packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) ssrc: Ssrc,
    pub(crate) payload_type: u8,
    pub(crate) sequence: SeqNo,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Padding follows the payload.
    pub(crate) padded: bool,
    pub(crate) level: Option<AudioLevel>,
    pub(crate) transport_cc: u16,
    /// As it is written.
    pub(crate) origin: Option<[u8; ORIGIN_LEN]>,
}

/// A written header with the places of what changes; zero: not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template {
    bytes: [u8; MAX_HEADER],
    len: u8,
    level_at: u8,
    transport_cc_at: u8,
    origin_at: u8,
    layout: Layout,
}

impl Template {
    /// The header of a stream on a leg.
    pub(crate) fn new(leg: &LegParameters, layout: Layout) -> Self {
        let mut written = Vec::with_capacity(MAX_HEADER);
        example(layout).write(&leg.extensions, false, &mut written);
        let mut template = Self { bytes: [0; MAX_HEADER], len: 0, level_at: 0, transport_cc_at: 0, origin_at: 0, layout };
        let Some(bytes) = template.bytes.get_mut(..written.len()) else { return template };
        bytes.copy_from_slice(&written);
        template.len = written.len() as u8;
        let Ok(view) = RtpView::parse(&written) else { return template };
        // The one-byte form has its length beside its id.
        let head = if written.get(FIXED) == Some(&0xbe) { 1 } else { 2 };
        let mut at = FIXED + 4;
        for (id, data) in view.extensions() {
            let place = (at + head) as u8;
            let id = Some(id);
            if id == leg.extensions.audio_level && layout.level {
                template.level_at = place;
            } else if id == leg.extensions.transport_cc {
                template.transport_cc_at = place;
            } else if id == leg.extensions.origin && layout.origin {
                template.origin_at = place;
            }
            at += head + data.len();
        }
        template
    }

    /// Whether it is that of such packets.
    pub(crate) fn is_for(&self, layout: &Layout) -> bool {
        self.layout == *layout
    }

    /// Writes a packet's header to the beginning of `out` and gives its length; `None` where it does not fit.
    pub(crate) fn write(&self, fields: &Fields, out: &mut [u8]) -> Option<usize> {
        let len = usize::from(self.len);
        let out = out.get_mut(..len).filter(|_| len >= FIXED)?;
        out.copy_from_slice(self.bytes.get(..len)?);
        if let Some(first) = out.first_mut().filter(|_| fields.padded) {
            *first |= PADDED;
        }
        put(out, 1, [(fields.payload_type & 0x7f) | if fields.marker { 0x80 } else { 0 }]);
        put(out, 2, fields.sequence.0.to_be_bytes());
        put(out, 4, fields.timestamp.to_be_bytes());
        put(out, 8, fields.ssrc.0.to_be_bytes());
        if let Some(level) = fields.level.filter(|_| self.level_at != 0) {
            put(out, usize::from(self.level_at), [(level.level & 0x7f) | if level.voice { 0x80 } else { 0 }]);
        }
        if self.transport_cc_at != 0 {
            put(out, usize::from(self.transport_cc_at), fields.transport_cc.to_be_bytes());
        }
        if let Some(origin) = fields.origin.filter(|_| self.origin_at != 0) {
            put(out, usize::from(self.origin_at), origin);
        }
        Some(len)
    }
}

/// A packet of the layout, to be written over.
fn example(layout: Layout) -> RtpHeader {
    let origin = || Origin::from_bytes(&[0; ORIGIN_LEN]);
    let extensions = Extensions {
        audio_level: layout.level.then_some(AudioLevel { level: 0, voice: false }),
        transport_cc: Some(0),
        mid: layout.mid,
        origin: if layout.origin { origin() } else { None },
        ..Extensions::default()
    };
    RtpHeader { marker: false, payload_type: 0, sequence: SeqNo(0), timestamp: 0, ssrc: Ssrc(0), extensions }
}

fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use segue_media::packet::{ExtensionMap, OriginFlags};
    use segue_model::{LayerId, TrackId};

    use super::*;

    fn id() -> impl Strategy<Value = Option<u8>> {
        prop_oneof![Just(None), (1u8..=14).prop_map(Some), (16u8..=30).prop_map(Some)]
    }

    proptest! {
        /// Whatever was negotiated and whatever a packet carries: what is filled in is what would be written.
        #[test]
        fn a_filled_in_header_is_the_header(
            ids in (id(), id(), id(), id()),
            named in any::<bool>(),
            (level, stamped, marker) in any::<(Option<u8>, bool, bool)>(),
            (sequence, timestamp, ssrc, transport_cc, number) in any::<(u16, u32, u32, u16, u32)>(),
        ) {
            let (audio_level, transport_cc_id, mid, origin_id) = ids;
            let mut used = std::collections::BTreeSet::new();
            prop_assume!([audio_level, transport_cc_id, mid, origin_id].into_iter().flatten().all(|id| used.insert(id)));
            let extensions = ExtensionMap { audio_level, transport_cc: transport_cc_id, mid, origin: origin_id, ..ExtensionMap::default() };
            let leg = LegParameters { extensions, ..LegParameters::default() };
            let mid = if named { Label::new("sixteen-letters-") } else { None };
            let layout = Layout { mid, level: level.is_some(), origin: stamped };
            let origin = Origin {
                source: TrackId(7),
                layer: LayerId::new(1, 1),
                flags: OriginFlags::default(),
                packet: number,
                frame: number / 3,
                refers_back: 1,
            };
            let fields = Fields {
                ssrc: Ssrc(ssrc),
                payload_type: 96,
                sequence: SeqNo(sequence),
                timestamp,
                marker,
                padded: false,
                level: level.map(|level| AudioLevel { level: level & 0x7f, voice: level & 0x80 != 0 }),
                transport_cc,
                origin: stamped.then(|| origin.to_bytes()),
            };
            let mut expected = Vec::new();
            let extensions =
                Extensions { audio_level: fields.level, transport_cc: Some(transport_cc), mid, origin: stamped.then_some(origin), ..Extensions::default() };
            let &Fields { marker, payload_type, sequence, timestamp, ssrc, .. } = &fields;
            RtpHeader { marker, payload_type, sequence, timestamp, ssrc, extensions }.write(&leg.extensions, false, &mut expected);
            prop_assert!(expected.len() <= MAX_HEADER);
            let template = Template::new(&leg, layout);
            prop_assert!(template.is_for(&layout));
            let mut out = [0xaa; MAX_HEADER];
            let len = template.write(&fields, &mut out).unwrap();
            prop_assert_eq!(&out[..len], &expected[..]);
            prop_assert_eq!(template.write(&fields, &mut out[..len - 1]), None);
        }
    }
}
