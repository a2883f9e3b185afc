//! What a stream without an origin belongs to: told by SDP, by payload type, by MID and RID.

use std::collections::BTreeMap;

use segue_model::{EncodingId, Ssrc, TrackId, TrackKind};

use crate::packet::rtp::{Extensions, Label};

/// Bindings of one leg: a browser room's tracks with three encodings, and a source and its repair for each.
pub const MAX_BINDINGS: usize = 1_024;

/// What a payload type of a leg stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Opus or H.264.
    Media(TrackKind),
    /// Retransmission (RFC 4588), its original of this kind and payload type.
    Repair {
        /// Audio or video.
        kind: TrackKind,
        /// Payload type of what it repeats (`apt`).
        of: u8,
    },
}

/// The payload types negotiated for a leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadMap(BTreeMap<u8, PayloadKind>);

impl PayloadMap {
    /// Those of our own offers: Opus 111, H.264 102, its RTX 103.
    #[must_use]
    pub fn ours() -> Self {
        let mut map = Self::default();
        map.insert(111, PayloadKind::Media(TrackKind::Audio));
        map.insert(102, PayloadKind::Media(TrackKind::Video));
        map.insert(103, PayloadKind::Repair { kind: TrackKind::Video, of: 102 });
        map
    }

    /// Adds one; types above 127 do not exist and are ignored.
    pub fn insert(&mut self, payload_type: u8, kind: PayloadKind) {
        if payload_type < 128 {
            self.0.insert(payload_type, kind);
        }
    }

    /// What a payload type stands for.
    #[must_use]
    pub fn get(&self, payload_type: u8) -> Option<PayloadKind> {
        self.0.get(&payload_type).copied()
    }
}

/// By what a stream is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKey {
    /// Its source, as SDP declares it.
    Ssrc(Ssrc),
    /// The source of its retransmissions (`ssrc-group:FID`).
    Repair(Ssrc),
    /// Its media section, where that has one encoding.
    Mid(Label),
    /// Its media section and encoding.
    MidRid {
        /// Section.
        mid: Label,
        /// Encoding.
        rid: Label,
    },
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// Its track.
    pub track: TrackId,
    /// Its encoding.
    pub encoding: EncodingId,
}

/// All bindings of a leg, and the sections its sources named.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    by_key: BTreeMap<StreamKey, Binding>,
    /// Browsers name section and encoding in the first packets of a source only.
    named: BTreeMap<Ssrc, (Label, Option<Label>)>,
}

impl Bindings {
    pub(super) fn bind(&mut self, key: StreamKey, binding: Binding) -> bool {
        if self.by_key.len() >= MAX_BINDINGS && !self.by_key.contains_key(&key) {
            return false;
        }
        self.by_key.insert(key, binding);
        true
    }

    pub(super) fn unbind(&mut self, track: TrackId) {
        self.by_key.retain(|_, binding| binding.track != track);
    }

    /// What the packet's source belongs to; `repair` where it retransmits.
    pub(super) fn resolve(&mut self, ssrc: Ssrc, repair: bool, extensions: &Extensions) -> Option<Binding> {
        let declared = if repair { StreamKey::Repair(ssrc) } else { StreamKey::Ssrc(ssrc) };
        if let Some(binding) = self.by_key.get(&declared) {
            return Some(*binding);
        }
        if let Some(mid) = extensions.mid {
            let rid = if repair { extensions.repaired_rid } else { extensions.rid };
            if self.named.len() < MAX_BINDINGS || self.named.contains_key(&ssrc) {
                let before = self.named.get(&ssrc).filter(|(known, _)| *known == mid).and_then(|(_, rid)| *rid);
                self.named.insert(ssrc, (mid, rid.or(before)));
            }
        }
        let (mid, rid) = *self.named.get(&ssrc)?;
        let by_rid = rid.and_then(|rid| self.by_key.get(&StreamKey::MidRid { mid, rid }));
        by_rid.or_else(|| self.by_key.get(&StreamKey::Mid(mid))).copied()
    }

    pub(super) fn forget(&mut self, ssrc: Ssrc) {
        self.named.remove(&ssrc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(mid: &str, rid: Option<&str>, repaired: Option<&str>) -> Extensions {
        let label = |text: &str| Label::new(text).unwrap();
        Extensions { mid: Some(label(mid)), rid: rid.map(label), repaired_rid: repaired.map(label), ..Extensions::default() }
    }

    #[test]
    fn a_source_stays_known_after_it_stopped_naming_its_section() {
        let mut bindings = Bindings::default();
        let rid = Label::new("h").unwrap();
        let mid = Label::new("2").unwrap();
        let half = Binding { track: TrackId(7), encoding: EncodingId(1) };
        bindings.bind(StreamKey::MidRid { mid, rid }, half);
        assert_eq!(bindings.resolve(Ssrc(1), false, &Extensions::default()), None);
        assert_eq!(bindings.resolve(Ssrc(1), false, &named("2", Some("h"), None)), Some(half));
        assert_eq!(bindings.resolve(Ssrc(1), false, &Extensions::default()), Some(half));
        assert_eq!(bindings.resolve(Ssrc(2), true, &named("2", None, Some("h"))), Some(half));
        assert_eq!(bindings.resolve(Ssrc(3), false, &named("3", Some("h"), None)), None);
    }

    #[test]
    fn a_section_can_be_given_to_another_track() {
        let mut bindings = Bindings::default();
        let key = StreamKey::Mid(Label::new("0").unwrap());
        let binding = |track| Binding { track: TrackId(track), encoding: EncodingId(0) };
        bindings.bind(key, binding(1));
        assert_eq!(bindings.resolve(Ssrc(1), false, &named("0", None, None)), Some(binding(1)));
        bindings.unbind(TrackId(1));
        assert_eq!(bindings.resolve(Ssrc(1), false, &Extensions::default()), None);
        bindings.bind(key, binding(2));
        assert_eq!(bindings.resolve(Ssrc(1), false, &Extensions::default()), Some(binding(2)));
    }
}
