use proptest::prelude::*;
use rtc_shared::marshal::{Marshal as _, Unmarshal as _};
use segue_model::{LayerId, TrackId};

use super::super::media::AudioLevel;
use super::super::origin::{Origin, OriginFlags};
use super::*;

fn any_label() -> impl Strategy<Value = Label> {
    "[a-zA-Z0-9_-]{1,16}".prop_map(|text| Label::new(&text).unwrap())
}

fn any_origin() -> impl Strategy<Value = Origin> {
    (any::<u16>(), 0u8..3, 0u8..4, any::<[bool; 6]>(), any::<u32>(), any::<u32>(), any::<u8>()).prop_map(
        |(source, encoding, temporal, [first, last, keyframe, discardable, probe, largest], packet, frame, refers_back)| {
            Origin {
                source: TrackId(source),
                layer: LayerId::new(encoding, temporal),
                flags: OriginFlags { first, last, keyframe, discardable, probe, largest },
                packet,
                frame,
                refers_back,
            }
        },
    )
}

prop_compose! {
    fn any_extensions()(
        level in proptest::option::of((0u8..128, any::<bool>())),
        abs_send_time in proptest::option::of(0u32..1 << 24),
        transport_cc in any::<Option<u16>>(),
        origin in proptest::option::of(any_origin()),
        labels in proptest::array::uniform3(proptest::option::of(any_label())),
    ) -> Extensions {
        let [mid, rid, repaired_rid] = labels;
        let audio_level = level.map(|(level, voice)| AudioLevel { level, voice });
        Extensions { audio_level, abs_send_time, transport_cc, mid, origin, rid, repaired_rid }
    }
}

prop_compose! {
    fn any_packet()(
        marker in any::<bool>(),
        payload_type in 0u8..128,
        (sequence, timestamp, ssrc) in any::<(u16, u32, u32)>(),
        extensions in any_extensions(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        padding in any::<u8>(),
    ) -> RtpPacket {
        let header = RtpHeader { marker, payload_type, sequence: SeqNo(sequence), timestamp, ssrc: Ssrc(ssrc), extensions };
        RtpPacket { header, payload: payload.into(), padding }
    }
}

/// Ids that force the two-byte form.
fn wide() -> ExtensionMap {
    ExtensionMap { origin: Some(200), mid: Some(15), ..ExtensionMap::ours() }
}

fn written(packet: &RtpPacket, map: &ExtensionMap) -> Bytes {
    let mut out = Vec::new();
    packet.write(map, &mut out);
    assert_eq!(out.len(), packet.wire_len(map));
    out.into()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(packet in any_packet()) {
        for map in [ExtensionMap::ours(), wide()] {
            prop_assert_eq!(RtpPacket::parse(written(&packet, &map), &map), Ok(packet.clone()));
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), valid in any::<bool>()) {
        if let (true, Some(first)) = (valid, bytes.first_mut()) {
            *first = 0x90 | (*first & 0x2f);
        }
        if let (true, Some(profile)) = (valid, bytes.get_mut(12..14)) {
            profile.copy_from_slice(&ONE_BYTE_PROFILE.to_be_bytes());
        }
        let _ = RtpView::parse_protected(&bytes).map(|view| view.extensions().count());
        let _ = RtpPacket::parse(bytes.into(), &ExtensionMap::ours());
    }

    #[test]
    fn the_reference_reads_what_is_written(packet in any_packet()) {
        for map in [ExtensionMap::ours(), wide()] {
            let mut bytes = written(&packet, &map);
            let theirs = rtc_rtp::packet::Packet::unmarshal(&mut bytes).unwrap();
            prop_assert_eq!(theirs.header.version, 2);
            prop_assert_eq!(theirs.header.marker, packet.header.marker);
            prop_assert_eq!(theirs.header.payload_type, packet.header.payload_type);
            prop_assert_eq!(theirs.header.sequence_number, packet.header.sequence.0);
            prop_assert_eq!(theirs.header.timestamp, packet.header.timestamp);
            prop_assert_eq!(theirs.header.ssrc, packet.header.ssrc.0);
            prop_assert_eq!(&theirs.payload, &packet.payload);
            let origin = map.origin.and_then(|id| theirs.header.get_extension(id));
            prop_assert_eq!(origin.map(|data| data.to_vec()), packet.header.extensions.origin.map(|origin| origin.to_bytes().to_vec()));
            let mid = map.mid.and_then(|id| theirs.header.get_extension(id));
            prop_assert_eq!(mid.as_deref(), packet.header.extensions.mid.as_ref().map(Label::as_bytes));
        }
    }

    #[test]
    fn what_the_reference_writes_is_read(sequence in any::<u16>(), csrc in proptest::collection::vec(any::<u32>(), 0..15), number in any::<u16>()) {
        let mut theirs = rtc_rtp::packet::Packet::default();
        theirs.header.version = 2;
        theirs.header.sequence_number = sequence;
        theirs.header.csrc = csrc;
        theirs.header.set_extension(3, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
        theirs.payload = Bytes::from_static(b"payload");
        let ours = RtpPacket::parse(theirs.marshal().unwrap().freeze(), &ExtensionMap::ours()).unwrap();
        prop_assert_eq!(ours.header.sequence, SeqNo(sequence));
        prop_assert_eq!(ours.header.extensions.transport_cc, Some(number));
        prop_assert_eq!(&ours.payload[..], b"payload");
    }
}

#[test]
fn bad_padding_is_refused() {
    let mut bytes = vec![0xa0, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 9];
    assert_eq!(RtpView::parse(&bytes).unwrap_err().to_string(), "padding is longer than the packet".to_owned());
    *bytes.last_mut().unwrap() = 0;
    assert_eq!(RtpView::parse(&bytes).map(|_| ()), Err(PacketError::Padding));
    *bytes.last_mut().unwrap() = 2;
    assert_eq!(RtpView::parse(&bytes).unwrap().payload(), &[1]);
    // Where the payload is still sealed its last byte says nothing.
    assert_eq!(RtpView::parse_protected(&bytes).unwrap().payload(), &[1, 2, 2]);
}
