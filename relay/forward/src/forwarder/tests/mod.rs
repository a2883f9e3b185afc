mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use segue_media::packet::rtcp::SenderReport;
use segue_media::packet::{AudioLevel, ExtensionMap, Extensions, Origin, OriginFlags, RtpHeader, RtpPacket};
use segue_model::{EncodingId, LayerId, NtpTime, SeqNo};

use super::*;
use crate::drops::DropReason;
use crate::keyframe::KEYFRAME_INTERVAL;
use crate::leg::PayloadTypes;
use crate::subscriber::{MAX_SLOTS, Slot};

const ALICE: ParticipantId = ParticipantId(1);
const BOB: ParticipantId = ParticipantId(2);
const WEB: ParticipantId = ParticipantId(3);
const CAMERA: TrackId = TrackId(10);
const VOICE: TrackId = TrackId(11);
const WEBCAM: TrackId = TrackId(12);

fn sdk_leg() -> LegParameters {
    LegParameters {
        extensions: ExtensionMap::ours(),
        payload_types: PayloadTypes { audio: Some(111), video: Some(102), video_rtx: Some(103) },
    }
}

fn web_leg() -> LegParameters {
    LegParameters {
        extensions: ExtensionMap { origin: None, transport_cc: Some(7), mid: Some(9), ..ExtensionMap::ours() },
        payload_types: PayloadTypes { audio: Some(96), video: Some(100), video_rtx: Some(101) },
    }
}

/// Alice (SDK) publishes camera and voice, the browser a simulcast camera; everybody gets everything relayed.
struct Room {
    forwarder: RoomForwarder,
    now: Instant,
    sent: BTreeMap<Ssrc, u16>,
    wire: Vec<u8>,
}

/// One video packet of a publisher, by what matters in a test.
#[derive(Clone, Copy)]
struct Video {
    encoding: u8,
    temporal: u8,
    frame: u32,
    packet: u32,
    keyframe: bool,
}

impl Room {
    fn new() -> Self {
        let mut forwarder = RoomForwarder::new(ForwarderConfig { seed: 7, n_loudest: 2 });
        for (participant, origin) in [(ALICE, true), (BOB, true), (WEB, false)] {
            forwarder.add_participant(participant, origin).unwrap();
            let leg = if origin { sdk_leg() } else { web_leg() };
            forwarder.set_publisher_leg(participant, leg, Vec::new());
            forwarder.set_subscriber_leg(participant, Some(leg));
        }
        let mut room = Self { forwarder, now: Instant::now(), sent: BTreeMap::new(), wire: Vec::new() };
        for publisher in [ALICE, BOB, WEB] {
            for subscriber in [ALICE, BOB, WEB] {
                if publisher != subscriber {
                    room.forwarder.set_edge(publisher, subscriber, true, false);
                }
            }
        }
        room.forwarder.add_track(CAMERA, ALICE, TrackKind::Video, 3, false).unwrap();
        room.forwarder.add_track(VOICE, ALICE, TrackKind::Audio, 3, false).unwrap();
        room.forwarder.add_track(WEBCAM, WEB, TrackKind::Video, 3, false).unwrap();
        let bindings = ["f", "h"].iter().enumerate().map(|(encoding, rid)| Binding {
            track: WEBCAM,
            encoding: EncodingId(encoding as u8),
            mid: Label::new("1"),
            rid: Label::new(rid),
            ssrc: None,
            rtx_ssrc: None,
        });
        room.forwarder.set_publisher_leg(WEB, web_leg(), bindings.collect());
        room.accept_sections();
        room
    }

    fn accept_sections(&mut self) {
        let mids: Vec<_> = self.forwarder.slots(WEB).iter().filter_map(|slot| slot.mid).collect();
        self.forwarder.confirm_slots(WEB, &mids);
    }

    fn next(&mut self, ssrc: Ssrc) -> SeqNo {
        let next = self.sent.entry(ssrc).or_insert(65_000);
        *next = next.wrapping_add(1);
        SeqNo(*next)
    }

    fn rtp(&mut self, from: ParticipantId, header: RtpHeader, payload: &[u8]) -> Result<(), DropReason> {
        let leg = if from == WEB { web_leg() } else { sdk_leg() };
        let packet = RtpPacket { header, payload: Bytes::copy_from_slice(payload), padding: 0 };
        self.wire.clear();
        packet.write(&leg.extensions, &mut self.wire);
        let now = self.now;
        self.forwarder.handle_rtp(now, from, &self.wire.clone())
    }

    /// A packet of Alice's camera with its own SSRC per encoding.
    fn camera_at(&mut self, sequence: SeqNo, video: Video) -> Result<(), DropReason> {
        let header = camera_header(sequence, video);
        self.rtp(ALICE, header, &video.packet.to_be_bytes())
    }

    fn camera(&mut self, video: Video) -> Result<(), DropReason> {
        let sequence = self.next(Ssrc(100 + u32::from(video.encoding)));
        self.camera_at(sequence, video)
    }

    /// A packet of the browser's camera: H.264, `payload` decides whether it is a keyframe.
    fn webcam(&mut self, rid: &str, timestamp: u32, payload: &[u8]) -> Result<(), DropReason> {
        let ssrc = Ssrc(match rid {
            "f" => 200,
            "h" => 201,
            _ => 202,
        });
        let sequence = self.next(ssrc);
        let extensions = Extensions { mid: Label::new("1"), rid: Label::new(rid), ..Extensions::default() };
        let header = RtpHeader { marker: true, payload_type: 100, sequence, timestamp, ssrc, extensions };
        self.rtp(WEB, header, payload)
    }

    /// Everything that leaves, parsed as its receiver would.
    fn drain(&mut self) -> Vec<(ParticipantId, ExtSeq, RtpPacket)> {
        let mut all = Vec::new();
        let mut out = vec![0xee; MAX_PACKET];
        for kind in [TrackKind::Audio, TrackKind::Video] {
            while let Some(leg) = self.forwarder.poll_leg(kind) {
                while let Some(transmit) = self.forwarder.poll_transmit(self.now, leg, kind, &mut out) {
                    let parameters = if transmit.to == WEB { web_leg() } else { sdk_leg() };
                    let bytes = Bytes::copy_from_slice(&out[..transmit.len]);
                    let packet = RtpPacket::parse(bytes, &parameters.extensions).unwrap();
                    assert_eq!(self.forwarder.leg_index(transmit.to), Some(leg));
                    assert_eq!(transmit.index.wire(), packet.header.sequence);
                    assert_eq!(transmit.ssrc, packet.header.ssrc);
                    assert_eq!(transmit.len - transmit.header_len, packet.payload.len() + usize::from(packet.padding));
                    all.push((transmit.to, transmit.index, packet));
                }
            }
        }
        all
    }

    fn to(&mut self, subscriber: ParticipantId) -> Vec<(ExtSeq, RtpPacket)> {
        self.drain().into_iter().filter(|(to, ..)| *to == subscriber).map(|(_, index, packet)| (index, packet)).collect()
    }

    fn rtcp(&mut self) -> Vec<RtcpOut> {
        std::iter::from_fn(|| self.forwarder.poll_rtcp()).collect()
    }

    fn requests(&mut self) -> Vec<Ssrc> {
        let packets = self.rtcp().into_iter().flat_map(|rtcp| rtcp.packets);
        packets.filter_map(|packet| if let RtcpPacket::Pli { media, .. } = packet { Some(media) } else { None }).collect()
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        let now = self.now;
        self.forwarder.handle_timeout(now);
        assert!(self.forwarder.poll_timeout().is_none_or(|due| due > now), "a timeout is in the past");
    }
}

fn camera_header(sequence: SeqNo, video: Video) -> RtpHeader {
    let origin = Origin {
        source: CAMERA,
        layer: LayerId::new(video.encoding, video.temporal),
        flags: OriginFlags { first: true, last: true, keyframe: video.keyframe, ..OriginFlags::default() },
        packet: video.packet,
        frame: video.frame,
        refers_back: 0,
    };
    let extensions = Extensions { origin: Some(origin), transport_cc: Some(sequence.0), ..Extensions::default() };
    RtpHeader {
        marker: true,
        payload_type: 102,
        sequence,
        timestamp: 5_000 + video.frame * 3_000,
        ssrc: Ssrc(100 + u32::from(video.encoding)),
        extensions,
    }
}

fn frame(encoding: u8, frame: u32, keyframe: bool) -> Video {
    Video { encoding, temporal: 0, frame, packet: frame, keyframe }
}

fn voice(source: TrackId, level: u8, packet: u32, sequence: SeqNo) -> RtpHeader {
    let origin = Origin {
        source,
        layer: LayerId::default(),
        flags: OriginFlags { first: true, last: true, ..OriginFlags::default() },
        packet,
        frame: packet,
        refers_back: 0,
    };
    let audio_level = Some(AudioLevel { level, voice: true });
    let extensions = Extensions { origin: Some(origin), audio_level, ..Extensions::default() };
    let ssrc = Ssrc(300 + u32::from(source.0));
    RtpHeader { marker: false, payload_type: 111, sequence, timestamp: packet * 960, ssrc, extensions }
}

#[test]
fn a_packet_goes_on_with_the_numbers_of_its_subscribers_leg() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    let all = room.drain();
    let (_, _, sdk) = all.iter().find(|(to, ..)| *to == BOB).unwrap();
    let (_, _, web) = all.iter().find(|(to, ..)| *to == WEB).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((sdk.header.payload_type, web.header.payload_type), (102, 100));
    assert_eq!(sdk.header.extensions.origin.unwrap().source, CAMERA);
    assert_eq!(sdk.header.timestamp, 8_000);
    assert_eq!(web.header.extensions.origin, None);
    let slots = room.forwarder.slots(WEB);
    let slot = slots.iter().find(|slot| slot.track == Some(CAMERA)).unwrap();
    assert_eq!(web.header.extensions.mid, slot.mid);
    assert_eq!(web.header.ssrc, slot.ssrc);
    assert_eq!((sdk.header.extensions.transport_cc, web.header.extensions.transport_cc), (Some(0), Some(0)));
    assert_ne!(sdk.header.ssrc, Ssrc(100));
}

#[test]
fn packets_of_a_frame_that_differ_by_a_few_bytes_leave_as_long_as_each_other() {
    let sizes = |room: &mut Room, lens: &[usize]| {
        for &len in lens {
            let sequence = room.next(Ssrc(100));
            let number = u32::from(sequence.0.wrapping_sub(64_999));
            room.rtp(ALICE, camera_header(sequence, frame(0, number, number <= 2)), &vec![7; len]).unwrap();
        }
        let sent = room.to(BOB);
        assert!(
            sent.iter()
                .zip(lens)
                .all(|((_, packet), &len)| packet.payload.len() == len && packet.payload.iter().all(|&byte| byte == 7))
        );
        sent.iter().map(|(_, packet)| packet.payload.len() + usize::from(packet.padding)).collect::<Vec<_>>()
    };
    let mut room = Room::new();
    assert_eq!(sizes(&mut room, &[900, 900, 901, 901]), [901, 901, 901, 901]);
    assert_eq!(sizes(&mut room, &[901, 900, 900, 900]), [901, 901, 901, 900]);
    // What is much shorter is left alone, and so is what leaves by itself.
    assert_eq!(sizes(&mut room, &[900, 500, 900]), [900, 500, 900]);
    assert_eq!(sizes(&mut room, &[899]), [899]);
}

#[test]
fn an_injected_origin_is_refused() {
    let mut room = Room::new();
    room.forwarder.add_track(TrackId(20), BOB, TrackKind::Video, 3, false).unwrap();
    let header = camera_header(SeqNo(1), frame(0, 1, true));
    assert_eq!(room.rtp(BOB, RtpHeader { ssrc: Ssrc(1), ..header }, b"x"), Err(DropReason::OriginNotOwned));
    // Not even on a stream that was accepted before.
    let own = header.extensions.origin.map(|origin| Origin { source: TrackId(20), ..origin });
    let own = RtpHeader { extensions: Extensions { origin: own, ..header.extensions }, ssrc: Ssrc(2), ..header };
    room.rtp(BOB, own, b"x").unwrap();
    let stolen = RtpHeader { ssrc: Ssrc(2), sequence: SeqNo(2), ..header };
    assert_eq!(room.rtp(BOB, stolen, b"x"), Err(DropReason::OriginNotOwned));
    assert_eq!(room.forwarder.drops().get(DropReason::OriginNotOwned), 2);
    // Nor without an origin, nor of the wrong kind, nor with another encoding on the same stream.
    let bare = RtpHeader { extensions: Extensions::default(), ssrc: Ssrc(3), ..header };
    assert_eq!(room.rtp(BOB, bare, b"x"), Err(DropReason::UnknownStream));
    let sound = RtpHeader { payload_type: 111, ssrc: Ssrc(4), ..own };
    assert_eq!(room.rtp(BOB, sound, b"x"), Err(DropReason::OriginNotOwned));
    let other = own.extensions.origin.map(|origin| Origin { layer: LayerId::new(1, 0), ..origin });
    let other = RtpHeader { extensions: Extensions { origin: other, ..own.extensions }, sequence: SeqNo(9), ..own };
    assert_eq!(room.rtp(BOB, other, b"x"), Err(DropReason::OriginMismatch));
    let jump = own.extensions.origin.map(|origin| Origin { packet: 100_000, ..origin });
    let jump = RtpHeader { extensions: Extensions { origin: jump, ..own.extensions }, sequence: SeqNo(10), ..own };
    assert_eq!(room.rtp(BOB, jump, b"x"), Err(DropReason::OriginJump));
    assert_eq!(room.rtp(BOB, RtpHeader { payload_type: 99, ..own }, b"x"), Err(DropReason::UnknownPayloadType));
    assert_eq!(room.forwarder.handle_rtp(room.now, BOB, &[0x80, 1]), Err(DropReason::Malformed));
    assert_eq!(room.forwarder.handle_rtp(room.now, ParticipantId(9), &room.wire), Err(DropReason::UnknownParticipant));
}

#[test]
fn streams_of_one_publisher_are_bounded() {
    let mut room = Room::new();
    for ssrc in 0..crate::publisher::MAX_STREAMS as u32 {
        room.rtp(ALICE, RtpHeader { ssrc: Ssrc(ssrc), ..camera_header(SeqNo(1), frame(0, 1, true)) }, b"x").unwrap();
    }
    let next = RtpHeader { ssrc: Ssrc(1000), ..camera_header(SeqNo(1), frame(0, 1, true)) };
    assert_eq!(room.rtp(ALICE, next, b"x"), Err(DropReason::TooManyStreams));
    room.pass(6_000);
    room.rtp(ALICE, next, b"x").unwrap();
}

#[test]
fn an_encoding_begins_and_changes_at_a_keyframe_that_is_asked_for_once() {
    let mut room = Room::new();
    room.camera(frame(0, 1, false)).unwrap();
    assert!(room.drain().is_empty());
    assert_eq!(room.requests(), [Ssrc(100)]);
    room.pass(100);
    room.camera(frame(0, 2, false)).unwrap();
    assert!(room.requests().is_empty());
    room.camera(frame(0, 3, true)).unwrap();
    assert_eq!(room.to(BOB).len(), 1);

    room.camera(frame(1, 1, false)).unwrap();
    assert!(room.drain().is_empty());
    assert!(room.requests().is_empty());
    room.forwarder.set_subscription(CAMERA, BOB, Quality::Medium);
    room.camera(frame(1, 2, false)).unwrap();
    room.camera(frame(0, 4, false)).unwrap();
    let bob = room.to(BOB);
    assert_eq!(
        bob.iter().map(|(_, packet)| packet.header.extensions.origin.unwrap().layer.encoding.0).collect::<Vec<_>>(),
        [0]
    );
    assert_eq!(room.requests(), [Ssrc(101)]);
    room.camera(frame(1, 5, true)).unwrap();
    room.camera(frame(0, 5, false)).unwrap();
    let next = room.to(BOB);
    assert_eq!(
        next.iter().map(|(_, packet)| packet.header.extensions.origin.unwrap().layer.encoding.0).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(next[0].0.0, bob[0].0.0 + 1);
}

#[test]
fn a_publisher_that_stops_its_largest_encoding_moves_everybody_to_the_next_at_its_keyframe() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    room.camera(frame(1, 1, true)).unwrap();
    room.drain();
    let takes_over = |room: &mut Room, largest| {
        let sequence = room.next(Ssrc(101));
        let mut header = camera_header(sequence, frame(1, 2 + u32::from(largest), true));
        if let Some(origin) = &mut header.extensions.origin {
            origin.flags.largest = largest;
        }
        room.rtp(ALICE, header, b"x").unwrap();
        room.drain().len()
    };
    assert_eq!(takes_over(&mut room, false), 0);
    assert_eq!(takes_over(&mut room, true), 2, "to the peer and to the browser");
    // What of the former was on its way changes nothing; when it begins anew, it does so with a keyframe.
    room.camera(frame(1, 4, false)).unwrap();
    assert_eq!(room.drain().len(), 2);
    room.camera(frame(0, 5, true)).unwrap();
    assert_eq!(room.drain().len(), 2);
    room.camera(frame(1, 5, false)).unwrap();
    assert!(room.drain().is_empty());
    assert!(room.requests().is_empty());
}

#[test]
fn requests_of_subscribers_are_merged() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    let all = room.drain();
    let media = |to: ParticipantId| all.iter().find(|(found, ..)| *found == to).unwrap().2.header.ssrc;
    let pli = |media| [RtcpPacket::Pli { sender: Ssrc(1), media }];
    for to in [BOB, WEB] {
        room.forwarder.handle_rtcp(room.now, to, Direction::Subscribe, &pli(media(to)));
    }
    assert_eq!(room.requests(), [Ssrc(100)]);
    assert_eq!(room.forwarder.tracks.get(CAMERA).unwrap().encodings[0].keyframes.due(), Some(room.now + KEYFRAME_INTERVAL));
    room.pass(400);
    assert!(room.requests().is_empty());
    room.pass(100);
    assert_eq!(room.requests(), [Ssrc(100)]);
    // Somebody else's SSRC asks for nothing.
    room.pass(1000);
    room.forwarder.handle_rtcp(room.now, ALICE, Direction::Subscribe, &pli(media(BOB)));
    assert!(room.requests().is_empty());
}

#[test]
fn overlap_begins_at_once_and_holds_the_encoding() {
    let mut room = Room::new();
    room.forwarder.set_edge(ALICE, BOB, false, false);
    room.camera(frame(0, 1, true)).unwrap();
    assert!(room.to(BOB).is_empty());
    room.forwarder.set_edge(ALICE, BOB, true, true);
    room.camera(frame(0, 2, false)).unwrap();
    assert_eq!(room.to(BOB).len(), 1);
    room.forwarder.set_subscription(CAMERA, BOB, Quality::Low);
    room.camera(frame(2, 2, true)).unwrap();
    room.camera(frame(0, 3, false)).unwrap();
    let bob = room.to(BOB);
    assert_eq!(bob.len(), 1);
    assert_eq!(bob[0].1.header.extensions.origin.unwrap().layer.encoding.0, 0);
    room.forwarder.set_edge(ALICE, BOB, true, false);
    room.camera(frame(0, 4, false)).unwrap();
    assert_eq!(room.to(BOB).len(), 1);
    room.forwarder.set_edge(ALICE, BOB, false, false);
    room.camera(frame(0, 5, false)).unwrap();
    assert!(room.to(BOB).is_empty());
}

#[test]
fn a_browser_begins_at_a_keyframe_in_overlap_too() {
    let mut room = Room::new();
    room.forwarder.set_edge(ALICE, WEB, true, true);
    room.camera(frame(0, 1, false)).unwrap();
    assert!(room.to(WEB).is_empty());
    room.camera(frame(0, 2, true)).unwrap();
    assert_eq!(room.to(WEB).len(), 1);
}

#[test]
fn whoever_merges_goes_on_with_what_it_decodes_and_a_browser_does_not() {
    let mut room = Room::new();
    for who in [BOB, WEB] {
        room.forwarder.set_edge(ALICE, who, false, false);
        room.forwarder.set_edge_voice(ALICE, who);
        room.forwarder.set_edge(ALICE, who, true, false);
        room.forwarder.set_direct_encoding(CAMERA, who, EncodingId(0));
    }
    room.camera(frame(0, 1, false)).unwrap();
    let first = room.drain();
    assert_eq!(first.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [BOB]);
    // What came before the word of the change may be missing.
    assert_eq!(room.requests(), [Ssrc(100)]);
    room.camera(frame(0, 2, true)).unwrap();
    assert_eq!(room.drain().len(), 2);
}

#[test]
fn overlap_begins_with_the_encoding_of_the_direct_path() {
    let mut room = Room::new();
    room.forwarder.set_subscription(CAMERA, BOB, Quality::Low);
    room.forwarder.set_edge(ALICE, BOB, false, false);
    for encoding in 0..3 {
        room.camera(frame(encoding, 1, true)).unwrap();
    }
    room.drain();
    room.forwarder.set_edge(ALICE, BOB, true, true);
    for encoding in 0..3 {
        room.camera(frame(encoding, 2, false)).unwrap();
    }
    // Bob alone has a direct edge, so the smallest is what it carries.
    let encodings = |room: &mut Room| {
        let packets = room.to(BOB);
        packets.iter().map(|(_, packet)| packet.header.extensions.origin.unwrap().layer.encoding.0).collect::<Vec<_>>()
    };
    assert_eq!(encodings(&mut room), [2]);
    // With another direct edge that wishes more, it would have been that.
    room.forwarder.set_edge(ALICE, BOB, false, false);
    room.forwarder.set_edge(ALICE, WEB, false, false);
    room.forwarder.set_edge(ALICE, BOB, true, true);
    for encoding in 0..3 {
        room.camera(frame(encoding, 3, false)).unwrap();
    }
    assert_eq!(encodings(&mut room), [0]);
}

#[test]
fn a_section_is_used_again_and_its_time_goes_on() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    let first = room.to(WEB).remove(0).1;
    room.forwarder.remove_track(CAMERA);
    while room.forwarder.poll_event().is_some() {}
    room.forwarder.add_track(TrackId(20), BOB, TrackKind::Video, 3, false).unwrap();
    assert_eq!(room.forwarder.poll_event(), Some(ForwardEvent::SlotsChanged { subscriber: WEB }));
    assert_eq!(room.forwarder.poll_event(), None);
    room.now += Duration::from_millis(500);
    let mut header = camera_header(SeqNo(77), frame(0, 1, true));
    header.timestamp = 3_999_999_999;
    if let Some(origin) = &mut header.extensions.origin {
        origin.source = TrackId(20);
    }
    room.rtp(BOB, header, b"x").unwrap();
    let next = room.to(WEB).remove(0).1;
    assert_eq!(next.header.ssrc, first.header.ssrc);
    assert_eq!(next.header.extensions.mid, first.header.extensions.mid);
    assert_eq!(next.header.sequence.0, first.header.sequence.0.wrapping_add(1));
    assert_eq!(next.header.timestamp, first.header.timestamp.wrapping_add(45_000));
}

#[test]
fn a_new_section_waits_until_it_is_negotiated() {
    let mut room = Room::new();
    while room.forwarder.poll_event().is_some() {}
    room.camera(frame(0, 1, true)).unwrap();
    room.drain();
    room.forwarder.add_track(TrackId(20), BOB, TrackKind::Audio, 3, false).unwrap();
    assert_eq!(room.forwarder.poll_event(), Some(ForwardEvent::SlotsAdded { subscriber: WEB }));
    room.rtp(BOB, voice(TrackId(20), 10, 1, SeqNo(1)), b"x").unwrap();
    assert!(room.to(WEB).is_empty());
    room.accept_sections();
    room.rtp(BOB, voice(TrackId(20), 10, 2, SeqNo(2)), b"x").unwrap();
    assert_eq!(room.to(WEB).len(), 1);
}

#[test]
fn a_browsers_encodings_are_told_apart_by_rid_and_aligned_by_reports() {
    let mut room = Room::new();
    let (key, delta) = (&[0x67, 1, 2][..], &[0x41, 1][..]);
    room.webcam("f", 9_000, key).unwrap();
    room.webcam("h", 700_000, delta).unwrap();
    let bob = room.to(BOB);
    assert_eq!(bob.len(), 1);
    assert_eq!(bob[0].1.header.timestamp, 9_000);
    for (ssrc, rtp_timestamp) in [(Ssrc(200), 9_000), (Ssrc(201), 700_000)] {
        let ntp = NtpTime(77 << 32);
        let report = SenderReport { ssrc, ntp, rtp_timestamp, packets: 1, octets: 1, reports: Vec::new() };
        room.forwarder.handle_rtcp(room.now, WEB, Direction::Publish, &[RtcpPacket::SenderReport(report)]);
    }
    let reports = room.rtcp();
    let translated = reports.iter().find_map(|rtcp| match &rtcp.packets[..] {
        [RtcpPacket::SenderReport(report)] if rtcp.to == BOB => Some(report),
        _ => None,
    });
    let translated = translated.unwrap();
    assert_eq!((translated.ntp, translated.rtp_timestamp, translated.packets), (NtpTime(77 << 32), 9_000, 1));
    assert_eq!(translated.ssrc, bob[0].1.header.ssrc);
    assert_eq!(room.webcam("x", 1, key), Err(DropReason::UnknownStream));

    // Another browser gets continuous time over a change of encoding.
    let other = ParticipantId(4);
    room.forwarder.add_participant(other, false).unwrap();
    room.forwarder.set_subscriber_leg(other, Some(web_leg()));
    room.forwarder.set_edge(WEB, other, true, false);
    let mids: Vec<_> = room.forwarder.slots(other).iter().filter_map(|slot| slot.mid).collect();
    room.forwarder.confirm_slots(other, &mids);
    room.webcam("f", 12_000, key).unwrap();
    room.forwarder.set_subscription(WEBCAM, other, Quality::Medium);
    room.webcam("h", 706_000, key).unwrap();
    room.webcam("h", 709_000, delta).unwrap();
    let all = room.drain();
    let times: Vec<_> = all.iter().filter(|(to, ..)| *to == other).map(|(.., packet)| packet.header.timestamp).collect();
    assert_eq!(times, [12_000, 15_000, 18_000]);
}

#[test]
fn an_sdk_peer_gets_a_browsers_track_by_name_and_in_its_order() {
    let mut room = Room::new();
    let name = Label::new("t12");
    let named: Vec<_> = room.forwarder.slots(BOB).iter().filter(|slot| slot.mid.is_some()).map(|slot| slot.track).collect();
    assert_eq!(named, [Some(WEBCAM)]);
    let mut events = std::iter::from_fn(|| room.forwarder.poll_event());
    assert!(events.any(|event| event == ForwardEvent::SlotsChanged { subscriber: BOB }));
    room.webcam("f", 9_000, &[0x67, 1, 2]).unwrap();
    let lost = room.next(Ssrc(200));
    room.webcam("f", 15_000, &[0x41, 1]).unwrap();
    let bob: Vec<_> = room.to(BOB).into_iter().map(|(index, packet)| (index.0, packet.header.extensions)).collect();
    assert!(bob.iter().all(|(_, extensions)| extensions.mid == name && extensions.origin.is_none()));
    assert_eq!(bob[1].0 - bob[0].0, 2, "{lost:?} keeps its place");
}

#[test]
fn only_the_loudest_voices_go_on_unless_their_edge_is_in_hand() {
    let mut room = Room::new();
    for track in [21, 22] {
        room.forwarder.add_track(TrackId(track), ALICE, TrackKind::Audio, 3, false).unwrap();
    }
    let mut heard = BTreeSet::new();
    for number in 1..=60u32 {
        for (source, level) in [(VOICE, 100), (TrackId(21), 30), (TrackId(22), 40)] {
            let sequence = SeqNo(number as u16);
            room.rtp(ALICE, voice(source, level, number, sequence), b"x").unwrap();
        }
        room.pass(20);
        heard = room.to(BOB).iter().map(|(_, packet)| packet.header.extensions.origin.unwrap().source).collect();
    }
    assert_eq!(heard, BTreeSet::from([TrackId(21), TrackId(22)]));
    let speakers = std::iter::from_fn(|| room.forwarder.poll_event()).find(|event| matches!(event, ForwardEvent::Speakers(_)));
    assert!(matches!(speakers, Some(ForwardEvent::Speakers(speakers)) if speakers[0].0 == ALICE));
    room.forwarder.set_edge(ALICE, BOB, true, true);
    room.rtp(ALICE, voice(VOICE, 100, 61, SeqNo(61)), b"x").unwrap();
    assert_eq!(room.to(BOB).len(), 1);
}

#[test]
fn publishers_get_reports_and_arrival_times() {
    let mut room = Room::new();
    for number in 1..=5 {
        room.camera_at(SeqNo(number), frame(0, u32::from(number), number == 1)).unwrap();
    }
    room.pass(1);
    assert!(room.rtcp().iter().any(|rtcp| matches!(&rtcp.packets[..], [RtcpPacket::ReceiverReport(report)]
        if rtcp.to == ALICE && report.reports[0].ssrc == Ssrc(100) && report.reports[0].lost == 0)));
    room.pass(100);
    assert!(room.rtcp().iter().any(|rtcp| matches!(&rtcp.packets[..], [RtcpPacket::TransportCc(feedback)]
        if rtcp.direction == Direction::Publish && feedback.deltas.len() == 5)));
}

#[test]
fn who_leaves_takes_everything_along() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    room.forwarder.remove_participant(BOB);
    assert!(room.to(BOB).is_empty());
    room.forwarder.remove_participant(ALICE);
    assert_eq!(room.camera(frame(0, 2, false)), Err(DropReason::UnknownParticipant));
    assert!(room.forwarder.slots(WEB).iter().all(|slot| slot.track != Some(CAMERA)));
    assert!(room.forwarder.edges.is_empty());
    assert_eq!(room.forwarder.tracks.len(), 1);
}

#[test]
fn a_track_without_a_slot_begins_when_one_is_freed() {
    let mut room = Room::new();
    let first = 1000;
    // Bob has Alice's camera and voice and the browser's camera already.
    for track in first..first + MAX_SLOTS as u16 - 2 {
        room.forwarder.add_track(TrackId(track), ALICE, TrackKind::Audio, 0, false).unwrap();
    }
    let exhausted = ForwardEvent::SlotsExhausted { subscriber: BOB };
    assert!(std::iter::from_fn(|| room.forwarder.poll_event()).any(|event| event == exhausted));
    assert!(room.forwarder.counters().slots_refused > 0);
    let last = TrackId(first + MAX_SLOTS as u16 - 3);
    let has = |room: &Room| room.forwarder.slots(BOB).iter().filter(|slot| slot.track == Some(last)).count();
    assert_eq!(has(&room), 0);
    room.forwarder.remove_track(CAMERA);
    assert_eq!(has(&room), 1);
}

#[test]
fn probes_go_to_those_who_merge_and_to_nobody_else() {
    let mut room = Room::new();
    let mut header = camera_header(SeqNo(1), frame(0, 0, false));
    if let Some(origin) = &mut header.extensions.origin {
        origin.flags.probe = true;
    }
    room.rtp(ALICE, header, b"x").unwrap();
    let all = room.drain();
    assert_eq!(all.iter().map(|(to, ..)| *to).collect::<Vec<_>>(), [BOB]);
}

#[test]
fn a_room_without_pictures_still_has_its_voices_and_begins_again_at_a_keyframe() {
    let mut room = Room::new();
    room.camera(frame(0, 1, true)).unwrap();
    assert_eq!(room.to(BOB).len(), 1);
    room.forwarder.set_shed(Shed::Video);
    room.camera(frame(0, 2, true)).unwrap();
    assert!(room.drain().is_empty());
    room.rtp(ALICE, voice(VOICE, 10, 1, SeqNo(1)), b"x").unwrap();
    assert_eq!(room.to(BOB).len(), 1);
    room.forwarder.set_shed(Shed::Nothing);
    room.camera(frame(0, 3, false)).unwrap();
    assert!(room.drain().is_empty());
    assert_eq!(room.requests(), [Ssrc(100)]);
    room.camera(frame(0, 4, true)).unwrap();
    assert_eq!(room.to(BOB).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    /// Encoding, temporal layer, keyframe.
    Packet(u8, u8, bool),
    /// The publisher's leg loses one.
    Lose(u8),
    /// And the last lost one is repaired.
    Repair,
    Quality(Quality),
    Temporal(u8),
    Edge(bool, bool),
    Shed(Shed),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0u8..3, 0u8..2, prop::bool::weighted(0.1)).prop_map(|(encoding, temporal, key)| Step::Packet(encoding, if key { 0 } else { temporal }, key)),
        3 => (0u8..3).prop_map(Step::Lose),
        3 => Just(Step::Repair),
        2 => prop_oneof![Just(Quality::High), Just(Quality::Medium), Just(Quality::Low)].prop_map(Step::Quality),
        2 => (0u8..2).prop_map(Step::Temporal),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(on, overlap)| Step::Edge(on, on && overlap)),
        1 => prop_oneof![Just(Shed::Nothing), Just(Shed::TemporalLayers), Just(Shed::LargeEncodings), Just(Shed::Video)].prop_map(Step::Shed),
        2 => (1u64..300).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the publisher, the subscriber and the authority do: numbers are given once, those of a merging subscriber in a row,
    /// those of a browser with holes only where its publisher's leg has them.
    #[test]
    fn numbers_are_given_once_and_in_a_row(steps in proptest::collection::vec(step(), 1..400)) {
        let mut room = Room::new();
        let mut frames = [0u32; 3];
        let mut lost: Option<(SeqNo, Video)> = None;
        let mut losses = 0u64;
        let mut rtx = 0u16;
        let mut given: BTreeMap<(ParticipantId, Ssrc), Vec<u64>> = BTreeMap::new();
        let mut origins = BTreeSet::new();
        for step in steps {
            match step {
                Step::Packet(encoding, temporal, keyframe) => {
                    frames[usize::from(encoding)] += 1;
                    let number = frames[usize::from(encoding)];
                    room.camera(Video { encoding, temporal, frame: number, packet: number, keyframe }).unwrap();
                }
                Step::Lose(encoding) => {
                    frames[usize::from(encoding)] += 1;
                    let number = frames[usize::from(encoding)];
                    let sequence = room.next(Ssrc(100 + u32::from(encoding)));
                    lost = Some((sequence, Video { encoding, temporal: 1, frame: number, packet: number, keyframe: false }));
                    losses += 1;
                }
                Step::Repair => if let Some((sequence, video)) = lost.take() {
                    rtx += 1;
                    let header = camera_header(SeqNo(rtx), video);
                    let header = RtpHeader { payload_type: 103, ssrc: Ssrc(110 + u32::from(video.encoding)), ..header };
                    let _ = room.rtp(ALICE, header, &[sequence.0.to_be_bytes().as_slice(), &[1]].concat());
                },
                Step::Quality(quality) => for who in [BOB, WEB] { room.forwarder.set_subscription(CAMERA, who, quality) },
                Step::Temporal(temporal) => for who in [BOB, WEB] {
                    room.forwarder.set_max_temporal(CAMERA, who, TemporalId(temporal));
                },
                Step::Edge(on, overlap) => {
                    if !on {
                        // An edge that begins anew may begin with what it ended with: the merge knows it.
                        origins.clear();
                    }
                    for who in [BOB, WEB] { room.forwarder.set_edge(ALICE, who, on, overlap) }
                }
                Step::Shed(shed) => {
                    if shed == Shed::Video {
                        // Nor does it hurt what begins anew after that.
                        origins.clear();
                    }
                    room.forwarder.set_shed(shed);
                }
                Step::Wait(millis) => room.pass(millis),
            }
            for (to, index, packet) in room.drain() {
                let stream = given.entry((to, packet.header.ssrc)).or_default();
                if to == BOB {
                    prop_assert!(stream.last().is_none_or(|&last| last + 1 == index.0), "not in a row");
                    prop_assert!(origins.insert((packet.header.extensions.origin.unwrap().layer, packet.header.extensions.origin.unwrap().packet)), "same packet twice");
                }
                stream.push(index.0);
            }
        }
        for ((to, _), mut numbers) in given {
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), count, "a number was given twice");
            let holes = numbers[numbers.len() - 1] - numbers[0] + 1 - count as u64;
            prop_assert!(holes <= if to == BOB { 0 } else { losses }, "{} holes, {} losses", holes, losses);
        }
    }
}

/// What somebody with valid keys and ill will may send.
#[derive(Clone, Debug)]
enum Hostile {
    /// Anything that looks like RTP, on a stream of the given number.
    Rtp { ssrc: u32, payload_type: u8, rest: Vec<u8> },
    /// A well-formed packet that claims a track.
    Claim { ssrc: u32, source: u16, packet: u32, rtx: bool },
    /// Asks for packets of any stream, sent or not.
    Nack { media: u32, lost: Vec<u16> },
    /// Asks for keyframes.
    Pli { media: u32 },
    /// A sender report of any stream.
    Report { ssrc: u32, ntp: u64, rtp_timestamp: u32 },
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let payload_type = prop_oneof![Just(102u8), Just(103), Just(111), any::<u8>()];
    prop_oneof![
        (any::<u32>(), payload_type, proptest::collection::vec(any::<u8>(), 0..120))
            .prop_map(|(ssrc, payload_type, rest)| Hostile::Rtp { ssrc, payload_type, rest }),
        (any::<u32>(), prop_oneof![Just(10u16), Just(20), any::<u16>()], any::<u32>(), any::<bool>())
            .prop_map(|(ssrc, source, packet, rtx)| Hostile::Claim { ssrc, source, packet, rtx }),
        (any::<u32>(), proptest::collection::vec(any::<u16>(), 0..300)).prop_map(|(media, lost)| Hostile::Nack { media, lost }),
        any::<u32>().prop_map(|media| Hostile::Pli { media }),
        any::<(u32, u64, u32)>().prop_map(|(ssrc, ntp, rtp_timestamp)| Hostile::Report { ssrc, ntp, rtp_timestamp }),
    ]
}

impl Room {
    /// Bob, who has a track of his own, does what he should not.
    fn suffer(&mut self, hostile: Hostile) {
        let now = self.now;
        let own: Vec<_> = self.forwarder.slots(BOB).iter().map(|slot| slot.ssrc).collect();
        // Every other request names a stream that Bob really gets.
        let known = |media: u32| own.get(media as usize % (2 * own.len().max(1))).copied().unwrap_or(Ssrc(media));
        let rtcp = |room: &mut Self, direction, packet| room.forwarder.handle_rtcp(now, BOB, direction, &[packet]);
        match hostile {
            Hostile::Rtp { ssrc, payload_type, rest } => {
                let mut packet = vec![0x90, payload_type, 0, 1, 0, 0, 0, 2];
                packet.extend(ssrc.to_be_bytes());
                packet.extend(rest);
                let _ = self.forwarder.handle_rtp(now, BOB, &packet);
            }
            Hostile::Claim { ssrc, source, packet, rtx } => {
                let mut header = camera_header(SeqNo(packet as u16), frame(0, 1, true));
                if let Some(origin) = &mut header.extensions.origin {
                    (origin.source, origin.packet) = (TrackId(source), packet);
                }
                let payload_type = if rtx { 103 } else { 102 };
                let _ = self.rtp(BOB, RtpHeader { ssrc: Ssrc(ssrc), payload_type, ..header }, &packet.to_be_bytes());
            }
            Hostile::Nack { media, lost } => {
                let lost = lost.into_iter().map(SeqNo).collect();
                rtcp(self, Direction::Subscribe, RtcpPacket::Nack { sender: Ssrc(1), media: known(media), lost });
            }
            Hostile::Pli { media } => {
                rtcp(self, Direction::Subscribe, RtcpPacket::Pli { sender: Ssrc(1), media: known(media) })
            }
            Hostile::Report { ssrc, ntp, rtp_timestamp } => {
                let (ssrc, ntp) = (Ssrc(ssrc), NtpTime(ntp));
                let report = SenderReport { ssrc, ntp, rtp_timestamp, packets: 1, octets: 1, reports: Vec::new() };
                rtcp(self, Direction::Publish, RtcpPacket::SenderReport(report));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one participant sends: it is counted, what it makes the room hold is bounded, its own retransmissions stay within its rate, and
    /// others get all they got before.
    #[test]
    fn whatever_one_sends_the_others_get_what_they_should(steps in proptest::collection::vec(hostile(), 1..150)) {
        let mut room = Room::new();
        room.forwarder.add_track(TrackId(20), BOB, TrackKind::Video, 3, false).unwrap();
        room.accept_sections();
        for (number, step) in (1..).zip(steps) {
            room.suffer(step);
            room.camera(frame(0, number, number == 1)).unwrap();
            let camera = |slot: &SlotInfo| slot.track == Some(CAMERA);
            let ssrc = room.forwarder.slots(WEB).iter().find(|slot| camera(slot)).unwrap().ssrc;
            let web = room.to(WEB);
            prop_assert_eq!(web.iter().filter(|(_, packet)| packet.header.ssrc == ssrc).count(), 1);
            room.pass(5);
        }
        let bob = room.forwarder.participants.get(BOB).unwrap();
        prop_assert!(bob.publisher.streams().count() <= crate::publisher::MAX_STREAMS);
    }
}

/// The size of a slot decides what a subscriber costs.
#[test]
fn a_subscriber_leg_is_small() {
    let mut seed = Seed::new(1);
    let mut subscriber = Subscriber::new(false, &mut seed);
    let (index, _) = subscriber.assign(CAMERA, TrackKind::Video, true, &mut seed).unwrap();
    let slot = subscriber.slot_mut(index).unwrap();
    for number in 0..5_000 {
        slot.remember(ExtSeq(number), number, EncodingId(0), 0);
    }
    assert!(std::mem::size_of::<Slot>() + slot.remembered_bytes() <= 64 * 1024);
}
