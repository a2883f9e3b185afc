//! Losses on either leg, and what comes late.

use super::*;

#[test]
fn a_nack_is_answered_on_the_retransmission_stream() {
    let mut room = Room::new();
    for number in 1..=3 {
        room.camera(frame(0, number, number == 1)).unwrap();
    }
    let bob = room.to(BOB);
    let (_, lost) = &bob[1];
    let nack = [RtcpPacket::Nack { sender: Ssrc(1), media: lost.header.ssrc, lost: vec![lost.header.sequence] }];
    room.forwarder.handle_rtcp(room.now, BOB, Direction::Subscribe, &nack);
    let again = room.to(BOB);
    assert_eq!(again.len(), 1);
    let rtx = &again[0].1;
    assert_eq!(rtx.header.payload_type, 103);
    assert_ne!(rtx.header.ssrc, lost.header.ssrc);
    assert_eq!(rtx.header.timestamp, lost.header.timestamp);
    assert_eq!(rtx.header.extensions.origin, lost.header.extensions.origin);
    assert_eq!(rtx.payload[..2], lost.header.sequence.0.to_be_bytes());
    assert_eq!(rtx.payload[2..], lost.payload[..]);
    // Asked again at once: not sent. Later: a packet of its own, never the same index.
    room.forwarder.handle_rtcp(room.now, BOB, Direction::Subscribe, &nack);
    assert!(room.drain().is_empty());
    room.pass(50);
    room.forwarder.handle_rtcp(room.now, BOB, Direction::Subscribe, &nack);
    assert_eq!(room.to(BOB)[0].0.0, again[0].0.0 + 1);
    room.pass(2_000);
    room.forwarder.handle_rtcp(room.now, BOB, Direction::Subscribe, &nack);
    assert!(room.drain().is_empty());
}

#[test]
fn what_is_asked_for_goes_twice_at_once_as_long_as_little_is_lost() {
    let mut room = Room::new();
    for number in 1..=100 {
        room.camera(frame(0, number, number == 1)).unwrap();
    }
    let bob = room.to(BOB);
    let ask = |room: &mut Room, at: usize| {
        let header = &bob[at].1.header;
        let nack = [RtcpPacket::Nack { sender: Ssrc(1), media: header.ssrc, lost: vec![header.sequence] }];
        room.forwarder.handle_rtcp(room.now, BOB, Direction::Subscribe, &nack);
        let again = room.to(BOB);
        assert!(again.windows(2).all(|pair| pair[0].0.0 + 1 == pair[1].0.0 && pair[0].1.payload == pair[1].1.payload));
        again.len()
    };
    let copies: Vec<_> = (40..50).map(|at| ask(&mut room, at)).collect();
    assert_eq!(copies, [2, 2, 2, 2, 2, 1, 1, 1, 1, 1]);
}

#[test]
fn a_loss_on_the_publishers_leg_is_asked_for_and_repaired() {
    let mut room = Room::new();
    room.camera_at(SeqNo(10), frame(0, 1, true)).unwrap();
    room.camera_at(SeqNo(12), frame(0, 3, false)).unwrap();
    let before = room.drain();
    room.pass(20);
    let asked: Vec<_> = room.rtcp().into_iter().filter(|rtcp| matches!(rtcp.packets[0], RtcpPacket::Nack { .. })).collect();
    assert!(matches!(&asked[0].packets[0], RtcpPacket::Nack { media: Ssrc(100), lost, .. } if lost == &[SeqNo(11)]));
    let lost = camera_header(SeqNo(500), frame(0, 2, false));
    let rtx = RtpHeader { payload_type: 103, ssrc: Ssrc(110), ..lost };
    room.rtp(ALICE, rtx, &[0, 11, 42]).unwrap();
    assert_eq!(room.rtp(ALICE, RtpHeader { sequence: SeqNo(501), ..rtx }, &[0, 11, 42]), Err(DropReason::Duplicate));
    assert_eq!(room.rtp(ALICE, RtpHeader { sequence: SeqNo(502), ..rtx }, &[0]), Err(DropReason::EmptyRetransmission));
    let after = room.drain();
    let numbers = |all: &[(ParticipantId, ExtSeq, RtpPacket)], who| {
        all.iter().filter(|(to, ..)| *to == who).map(|(_, index, _)| index.0).collect::<Vec<_>>()
    };
    // The one that merges gets it as the next packet; the browser in the place kept for it.
    assert_eq!(numbers(&before, BOB)[1] + 1, numbers(&after, BOB)[0]);
    assert_eq!(numbers(&before, BOB)[0] + 1, numbers(&before, BOB)[1]);
    assert_eq!(numbers(&before, WEB)[0] + 1, numbers(&after, WEB)[0]);
    assert_eq!(numbers(&before, WEB)[0] + 2, numbers(&before, WEB)[1]);
    room.pass(200);
    assert!(!room.rtcp().iter().any(|rtcp| rtcp.packets.iter().any(|packet| matches!(packet, RtcpPacket::Nack { .. }))));
}

#[test]
fn a_keyframe_whose_first_packet_comes_late_is_delivered_whole() {
    let mut room = Room::new();
    let part = |number: u32, first: bool| {
        let mut header = camera_header(SeqNo(20 + number as u16), Video { packet: number, ..frame(0, 1, true) });
        if let Some(origin) = &mut header.extensions.origin {
            origin.flags.first = first;
        }
        header
    };
    room.camera_at(SeqNo(19), frame(0, 0, false)).unwrap();
    room.rtp(ALICE, part(1, false), b"b").unwrap();
    room.rtp(ALICE, part(2, false), b"c").unwrap();
    assert!(room.drain().is_empty());
    room.rtp(ALICE, part(0, true), b"a").unwrap();
    let all = room.drain();
    for who in [BOB, WEB] {
        let payloads: Vec<_> = all.iter().filter(|(to, ..)| *to == who).map(|(.., packet)| packet.payload[0]).collect();
        assert_eq!(payloads, b"abc");
    }
}

#[test]
fn the_last_packet_before_a_silence_goes_again_to_those_who_had_it() {
    let mut room = Room::new();
    for number in 1..=2 {
        room.camera_at(SeqNo(10 + number as u16), frame(0, number, number == 1)).unwrap();
    }
    let before = room.drain();
    let again = |room: &mut Room, number: u16, of: u8| {
        let original = camera_header(SeqNo(500 + number), frame(0, u32::from(of) - 10, false));
        let repeated = room.rtp(ALICE, RtpHeader { payload_type: 103, ssrc: Ssrc(110), ..original }, &[0, of, 42]);
        assert_eq!(repeated, Err(DropReason::Duplicate));
        room.drain()
    };
    assert!(again(&mut room, 0, 12).is_empty(), "nothing is silent yet");
    room.pass(50);
    assert!(again(&mut room, 1, 11).is_empty(), "not the last");
    let tail = again(&mut room, 2, 12);
    for who in [BOB, WEB] {
        let of =
            |all: &[(ParticipantId, ExtSeq, RtpPacket)]| all.iter().filter(|(to, ..)| *to == who).cloned().collect::<Vec<_>>();
        let (sent, repeated) = (of(&before), of(&tail));
        assert_eq!(repeated.len(), 1);
        assert_eq!(repeated[0].2.payload[..2], sent[1].2.header.sequence.0.to_be_bytes());
        assert_eq!(repeated[0].2.payload[2..], sent[1].2.payload[..]);
    }
    assert!(again(&mut room, 3, 12).is_empty(), "once");
}
