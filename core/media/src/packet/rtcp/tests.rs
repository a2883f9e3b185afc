use bytes::Bytes;
use proptest::prelude::*;
use rtc_rtcp::packet::unmarshal;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport as TheirReceiverReport;
use rtc_rtcp::sender_report::SenderReport as TheirSenderReport;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use segue_model::{DataRate, NtpTime};

use super::*;

fn any_ssrc() -> impl Strategy<Value = Ssrc> {
    any::<u32>().prop_map(Ssrc)
}

fn any_block() -> impl Strategy<Value = ReportBlock> {
    (any_ssrc(), any::<u8>(), 0i32..0x80_0000, any::<[u32; 4]>()).prop_map(
        |(ssrc, fraction_lost, lost, [highest, jitter, last_sender_report, delay])| ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest,
            jitter,
            last_sender_report,
            delay,
        },
    )
}

fn any_blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    proptest::collection::vec(any_block(), 0..=MAX_REPORTS)
}

fn any_sender_report() -> impl Strategy<Value = RtcpPacket> {
    (any_ssrc(), any::<u64>(), any::<[u32; 3]>(), any_blocks()).prop_map(
        |(ssrc, ntp, [rtp_timestamp, packets, octets], reports)| {
            RtcpPacket::SenderReport(SenderReport { ssrc, ntp: NtpTime(ntp), rtp_timestamp, packets, octets, reports })
        },
    )
}

/// Runs of losses, of small deltas and of large ones, so that every chunk type occurs.
fn any_deltas() -> impl Strategy<Value = Vec<Option<i16>>> {
    let one = prop_oneof![Just(None), (0i16..=255).prop_map(Some), prop_oneof![-3000i16..0, 256i16..3000].prop_map(Some)];
    proptest::collection::vec((one, prop_oneof![4 => 1usize..4, 1 => 1usize..60]), 1..60)
        .prop_map(|runs| runs.into_iter().flat_map(|(delta, run)| std::iter::repeat_n(delta, run)).collect())
}

fn any_transport() -> impl Strategy<Value = TransportFeedback> {
    (any_ssrc(), any_ssrc(), any::<u16>(), 0i32..0x80_0000, any::<u8>(), any_deltas()).prop_map(
        |(sender, media, base, reference, count, deltas)| TransportFeedback {
            sender,
            media,
            base: SeqNo(base),
            reference,
            count,
            deltas,
        },
    )
}

fn any_lost() -> impl Strategy<Value = Vec<SeqNo>> {
    (any::<u16>(), proptest::collection::vec(1u16..40, 1..100)).prop_map(|(first, steps)| {
        let step = |at: &mut u16, step: &u16| {
            *at = at.wrapping_add(*step);
            Some(SeqNo(*at))
        };
        steps.iter().scan(first, step).collect()
    })
}

fn any_packet() -> impl Strategy<Value = RtcpPacket> {
    let report = (any_ssrc(), any_blocks());
    let chunk = (any_ssrc(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(ssrc, cname)| SdesChunk { ssrc, cname });
    let echo = (1u32.., any::<u64>(), any::<u32>());
    prop_oneof![
        any_sender_report(),
        report.prop_map(|(ssrc, reports)| RtcpPacket::ReceiverReport(ReceiverReport { ssrc, reports })),
        proptest::collection::vec(chunk, 0..5).prop_map(|chunks| RtcpPacket::Sdes(Sdes { chunks })),
        proptest::collection::vec(any_ssrc(), 0..5).prop_map(|ssrcs| RtcpPacket::Bye(Bye { ssrcs })),
        (any_ssrc(), any_ssrc(), any_lost()).prop_map(|(sender, media, lost)| RtcpPacket::Nack { sender, media, lost }),
        (any_ssrc(), any_ssrc()).prop_map(|(sender, media)| RtcpPacket::Pli { sender, media }),
        (any_ssrc(), any_ssrc(), any::<u8>())
            .prop_map(|(sender, ssrc, sequence)| RtcpPacket::Fir(Fir { sender, entries: vec![FirEntry { ssrc, sequence }] })),
        any_transport().prop_map(RtcpPacket::TransportCc),
        (any_ssrc(), 0u64..0x3_ffff, 0u32..40, any_ssrc()).prop_map(|(sender, mantissa, exponent, ssrc)| {
            RtcpPacket::Remb(Remb { sender, bitrate: DataRate::bps(mantissa << exponent), ssrcs: vec![ssrc] })
        }),
        (any_ssrc(), any::<u32>(), any::<u64>(), proptest::option::of(echo)).prop_map(|(sender, sequence, sent_us, echo)| {
            let echo = echo.map(|(sequence, sent_us, hold_us)| HeartbeatEcho { sequence, sent_us, hold_us });
            RtcpPacket::Heartbeat(Heartbeat { sender, sequence, sent_us, echo })
        }),
    ]
}

fn written(packets: &[RtcpPacket]) -> Vec<u8> {
    let mut out = Vec::new();
    write_compound(packets, &mut out);
    out
}

/// What the reference makes of what we write: its packet of type `T`, if it takes it at all.
fn theirs<T: Clone + 'static>(packet: &RtcpPacket) -> T {
    let mut bytes = Bytes::from(written(std::slice::from_ref(packet)));
    let packets = unmarshal(&mut bytes).unwrap();
    packets.first().unwrap().as_any().downcast_ref::<T>().unwrap().clone()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(packets in proptest::collection::vec(any_packet(), 1..8)) {
        let bytes = written(&packets);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(parse_compound(&bytes), Ok(packets));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_compound(&bytes);
    }

    #[test]
    fn no_damage_makes_the_parser_panic(packet in any_packet(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = written(&[packet]);
        *at.get_mut(&mut bytes[..]) = byte;
        let _ = parse_compound(&bytes);
        let len = cut.index(bytes.len());
        let _ = parse_compound(&bytes[..len]);
    }

    #[test]
    fn the_reference_reads_our_reports(packet in any_sender_report()) {
        let RtcpPacket::SenderReport(ours) = &packet else { unreachable!() };
        let report: TheirSenderReport = theirs(&packet);
        prop_assert_eq!((report.ssrc, report.ntp_time, report.rtp_time), (ours.ssrc.0, ours.ntp.0, ours.rtp_timestamp));
        prop_assert_eq!((report.packet_count, report.octet_count), (ours.packets, ours.octets));
        let receiver = RtcpPacket::ReceiverReport(ReceiverReport { ssrc: ours.ssrc, reports: ours.reports.clone() });
        let blocks = theirs::<TheirReceiverReport>(&receiver).reports;
        prop_assert_eq!(&blocks, &report.reports);
        prop_assert_eq!(blocks.len(), ours.reports.len());
        for (theirs, ours) in blocks.iter().zip(&ours.reports) {
            prop_assert_eq!((theirs.ssrc, theirs.fraction_lost, theirs.total_lost), (ours.ssrc.0, ours.fraction_lost, ours.lost as u32));
            prop_assert_eq!((theirs.last_sequence_number, theirs.jitter), (ours.highest, ours.jitter));
            prop_assert_eq!((theirs.last_sender_report, theirs.delay), (ours.last_sender_report, ours.delay));
        }
    }

    #[test]
    fn the_reference_reads_our_nacks(lost in any_lost()) {
        let nack: TransportLayerNack = theirs(&RtcpPacket::Nack { sender: Ssrc(1), media: Ssrc(2), lost: lost.clone() });
        let numbers: Vec<u16> = lost.iter().map(|seq| seq.0).collect();
        prop_assert_eq!(nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect::<Vec<_>>(), numbers.clone());
        // Theirs starts a new pair where the numbers wrap.
        prop_assert!(nack.nacks.len() <= nack_pairs_from_sequence_numbers(&numbers).len());
    }

    #[test]
    fn the_reference_reads_our_transport_feedback(ours in any_transport()) {
        let feedback: TransportLayerCc = theirs(&RtcpPacket::TransportCc(ours.clone()));
        prop_assert_eq!((feedback.base_sequence_number, usize::from(feedback.packet_status_count)), (ours.base.0, ours.deltas.len()));
        prop_assert_eq!((feedback.reference_time, feedback.fb_pkt_count), (ours.reference as u32, ours.count));
        let deltas: Vec<i64> = ours.deltas.iter().flatten().map(|delta| i64::from(*delta) * 250).collect();
        prop_assert_eq!(feedback.recv_deltas.iter().map(|delta| delta.delta).collect::<Vec<_>>(), deltas);
    }
}

#[test]
fn the_reference_reads_our_requests_and_names() {
    let pli: PictureLossIndication = theirs(&RtcpPacket::Pli { sender: Ssrc(1), media: Ssrc(2) });
    assert_eq!((pli.sender_ssrc, pli.media_ssrc), (1, 2));
    let entries = vec![FirEntry { ssrc: Ssrc(9), sequence: 7 }];
    let fir: FullIntraRequest = theirs(&RtcpPacket::Fir(Fir { sender: Ssrc(1), entries }));
    assert_eq!(fir.fir.iter().map(|entry| (entry.ssrc, entry.sequence_number)).collect::<Vec<_>>(), [(9, 7)]);
    let remb = Remb { sender: Ssrc(1), bitrate: DataRate::kbps(2048), ssrcs: vec![Ssrc(3)] };
    let remb: ReceiverEstimatedMaximumBitrate = theirs(&RtcpPacket::Remb(remb));
    assert_eq!((remb.bitrate as u64, remb.ssrcs), (2_048_000, vec![3]));
    let chunks = vec![SdesChunk { ssrc: Ssrc(5), cname: b"name".to_vec() }];
    let sdes: SourceDescription = theirs(&RtcpPacket::Sdes(Sdes { chunks }));
    assert_eq!(sdes.chunks[0].items[0].text, Bytes::from_static(b"name"));
}

#[test]
fn arrivals_add_up_from_the_reference_time() {
    let deltas = vec![Some(4), None, Some(-2), Some(300)];
    let feedback = TransportFeedback { sender: Ssrc(0), media: Ssrc(0), base: SeqNo(65_535), reference: 2, count: 0, deltas };
    let arrivals: Vec<_> = feedback.arrivals().collect();
    assert_eq!(arrivals, [(SeqNo(65_535), Some(516)), (SeqNo(0), None), (SeqNo(1), Some(514)), (SeqNo(2), Some(814))]);
}

#[test]
fn claims_beyond_the_limits_are_refused() {
    // A feedback of one run length chunk that claims sixty thousand packets.
    let mut bytes = vec![0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xea, 0x60, 0, 0, 0, 0, 0x1f, 0xff, 0, 0];
    assert_eq!(parse_compound(&bytes), Err(PacketError::TooMany));
    bytes.truncate(10);
    assert_eq!(parse_compound(&bytes), Err(PacketError::Truncated));
    assert_eq!(parse_compound(&[]), Err(PacketError::Truncated));
    let byes: Vec<u8> = std::iter::repeat_n([0x80, 203, 0, 0], MAX_COMPOUND + 1).flatten().collect();
    assert_eq!(parse_compound(&byes), Err(PacketError::TooMany));
}
