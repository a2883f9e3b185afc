//! Both forms of the messages say the same.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;
use segue_wire::proto::{self, client_frame, server_frame, signal_body};
use segue_wire::{Encoding, WireError, limits};
use segue_wire::{
    decode_client_frame, decode_server_frame, decode_signal, encode_client_frame, encode_server_frame, encode_signal,
};

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,20}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn mid_tracks() -> impl Strategy<Value = Vec<proto::MidTrack>> {
    vec(("[a-z0-9]{0,8}", any::<u32>()).prop_map(|(mid, track)| proto::MidTrack { mid, track }), 0..4)
}

fn encodings() -> impl Strategy<Value = Vec<proto::Encoding>> {
    let one = ("[fhq]", any::<u32>(), any::<u32>(), any::<u32>());
    vec(one.prop_map(|(rid, width, height, max_kbps)| proto::Encoding { rid, width, height, max_kbps }), 0..4)
}

fn track() -> impl Strategy<Value = proto::Track> {
    (any::<u32>(), 0..3i32, 0..5i32, text(), any::<bool>(), encodings())
        .prop_map(|(id, kind, source, name, muted, encodings)| proto::Track { id, kind, source, name, muted, encodings })
}

fn capabilities() -> impl Strategy<Value = proto::Capabilities> {
    (any::<bool>(), any::<bool>()).prop_map(|(origin, direct)| proto::Capabilities { origin, direct })
}

fn participant() -> impl Strategy<Value = proto::Participant> {
    (any::<u32>(), text(), text(), text(), bytes(), option::of(capabilities()), vec(track(), 0..3), 0..4i32).prop_map(
        |(id, identity, name, metadata, mut peer_id, capabilities, tracks, policy)| {
            peer_id.truncate(32);
            proto::Participant { id, identity, name, metadata, peer_id, capabilities, tracks, policy }
        },
    )
}

fn epoch() -> impl Strategy<Value = Option<proto::Epoch>> {
    option::of((any::<u64>(), any::<u64>()).prop_map(|(incarnation, counter)| proto::Epoch { incarnation, counter }))
}

fn candidate() -> impl Strategy<Value = proto::Candidate> {
    (text(), "[a-z0-9]{0,8}", any::<u32>(), text()).prop_map(|(candidate, mid, mline, ufrag)| proto::Candidate {
        candidate,
        mid,
        mline,
        ufrag,
    })
}

fn description() -> impl Strategy<Value = proto::RelayDescription> {
    (0..3i32, 0..3i32, text(), mid_tracks(), any::<u32>()).prop_map(|(transport, kind, sdp, tracks, generation)| {
        proto::RelayDescription { transport, kind, sdp, tracks, generation }
    })
}

fn body() -> impl Strategy<Value = signal_body::Body> {
    use signal_body::Body;
    prop_oneof![
        (0..3i32, text(), mid_tracks(), any::<u32>(), any::<bool>()).prop_map(|(kind, sdp, tracks, generation, restart)| {
            Body::Description(proto::Description { kind, sdp, tracks, generation, restart })
        }),
        candidate().prop_map(Body::Candidate),
        (epoch(), 0..4i32, vec(any::<u32>(), 0..4), any::<u32>()).prop_map(|(epoch, path, tracks, raise_us)| {
            Body::EdgePrepare(proto::EdgePrepare { epoch, path, tracks, raise_us })
        }),
        (epoch(), 0..4i32).prop_map(|(epoch, path)| Body::EdgeReady(proto::EdgeReady { epoch, path })),
        (epoch(), 0..4i32, text()).prop_map(|(epoch, path, reason)| Body::EdgeCommit(proto::EdgeCommit {
            epoch,
            path,
            reason
        })),
        (any::<u64>(), text(), bytes(), any::<u64>()).prop_map(|(number, topic, payload, first)| Body::Data(proto::Data {
            number,
            topic,
            payload,
            first
        })),
        any::<u64>().prop_map(|up_to| Body::DataAck(proto::DataAck { up_to })),
        (any::<u32>(), any::<bool>(), 0..5i32).prop_map(|(track, enabled, quality)| Body::Subscribe(proto::Subscribe {
            track,
            enabled,
            quality
        })),
    ]
}

fn signal() -> impl Strategy<Value = proto::Signal> {
    (any::<u32>(), any::<u32>(), any::<u64>(), body()).prop_map(|(from, to, number, body)| proto::Signal {
        from,
        to,
        number,
        body: proto::SignalBody { body: Some(body) }.encode_to_vec(),
    })
}

fn client_message() -> impl Strategy<Value = client_frame::Message> {
    use client_frame::Message;
    prop_oneof![
        (any::<u32>(), text(), vec(any::<u8>(), 0..33), option::of(capabilities()), 0..4i32, vec(track(), 0..3)).prop_map(
            |(protocol, token, device_key, capabilities, policy, tracks)| {
                let rejoin = Some(proto::Rejoin { incarnation: u64::MAX, participant: 7, tracks });
                Message::Join(proto::Join { protocol, token, device_key, capabilities, policy, rejoin, ..Default::default() })
            }
        ),
        text().prop_map(|resume_token| Message::Resume(proto::Resume { resume_token })),
        (0..9i32).prop_map(|reason| Message::Leave(proto::Leave { reason })),
        (any::<u32>(), 0..3i32, 0..5i32, text(), any::<bool>(), encodings()).prop_map(
            |(request, kind, source, name, muted, encodings)| {
                Message::Publish(proto::Publish { request, kind, source, name, muted, encodings })
            }
        ),
        description().prop_map(Message::Description),
        signal().prop_map(Message::Signal),
        (epoch(), any::<u32>(), 0..4i32, text(), any::<bool>(), vec(any::<(u32, u32)>(), 0..3)).prop_map(
            |(epoch, subscriber, path, reason, voice_only, direct)| {
                let direct = direct.into_iter().map(|(track, encoding)| proto::TrackEncoding { track, encoding }).collect();
                Message::EdgePath(proto::EdgePath { epoch, subscriber, path, reason, voice_only, direct })
            }
        ),
        (any::<u32>(), any::<u32>())
            .prop_map(|(uplink_kbps, mesh_kbps)| { Message::UplinkReport(proto::UplinkReport { uplink_kbps, mesh_kbps }) }),
        any::<u64>().prop_map(|time_us| Message::Ping(proto::Ping { time_us })),
        any::<u32>().prop_map(|participant| Message::Kick(proto::Kick { participant })),
        any::<u32>().prop_map(|track| Message::MuteTrack(proto::MuteTrack { track })),
    ]
}

fn server_message() -> impl Strategy<Value = server_frame::Message> {
    use server_frame::Message;
    prop_oneof![
        (text(), option::of(participant()), vec(participant(), 0..3), text(), any::<u64>()).prop_map(
            |(room, self_, others, resume_token, incarnation)| {
                Message::Joined(proto::Joined { room, self_, others, resume_token, incarnation, ..Default::default() })
            }
        ),
        Just(Message::Resumed(proto::Resumed {})),
        (0..9i32, 0..23i32, text(), any::<u32>()).prop_map(|(reason, code, message, retry_after_ms)| {
            Message::Goodbye(proto::Goodbye { reason, code, message, retry_after_ms })
        }),
        option::of(participant()).prop_map(|participant| Message::ParticipantJoined(proto::ParticipantJoined { participant })),
        (any::<u32>(), option::of(track()))
            .prop_map(|(request, track)| Message::Published(proto::Published { request, track })),
        description().prop_map(Message::Description),
        signal().prop_map(Message::Signal),
        mid_tracks().prop_map(|slots| Message::Slots(proto::Slots { slots })),
        (epoch(), 0..4i32, text()).prop_map(|(epoch, target, reason)| Message::TopologyPrepare(proto::TopologyPrepare {
            epoch,
            target,
            reason
        })),
        (0..23i32, text(), any::<u32>(), any::<u64>()).prop_map(|(code, message, request, seq)| Message::Error(proto::Error {
            code,
            message,
            request,
            seq
        })),
    ]
}

proptest! {
    #[test]
    fn client_frames_survive_both_forms(seq in any::<u64>(), ack in any::<u64>(), message in client_message()) {
        let frame = proto::ClientFrame { seq, ack, message: Some(message) };
        for form in [Encoding::Proto, Encoding::Json] {
            prop_assert_eq!(&decode_client_frame(form, &encode_client_frame(form, &frame)).expect("reads"), &frame);
        }
    }

    #[test]
    fn server_frames_survive_both_forms(seq in any::<u64>(), ack in any::<u64>(), message in server_message()) {
        let frame = proto::ServerFrame { seq, ack, message: Some(message) };
        for form in [Encoding::Proto, Encoding::Json] {
            prop_assert_eq!(&decode_server_frame(form, &encode_server_frame(form, &frame)).expect("reads"), &frame);
        }
    }

    #[test]
    fn signals_survive_both_forms(signal in signal()) {
        for form in [Encoding::Proto, Encoding::Json] {
            prop_assert_eq!(&decode_signal(form, &encode_signal(form, &signal)).expect("reads").0, &signal);
        }
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        for form in [Encoding::Proto, Encoding::Json] {
            let _ = decode_client_frame(form, &bytes);
            let _ = decode_server_frame(form, &bytes);
            let _ = decode_signal(form, &bytes);
        }
    }
}

#[test]
fn json_reads_as_people_write_it() {
    let text = br#"{"seq":3,"message":{"signal":{"to":2,"number":1,"later":true,
        "body":{"description":{"kind":"OFFER","sdp":"v=0","tracks":[{"mid":"0","track":5}]}}}},"unknown":{"x":[1]}}"#;
    let frame = decode_client_frame(Encoding::Json, text).expect("reads");
    assert_eq!((frame.seq, frame.ack), (3, 0));
    let Some(client_frame::Message::Signal(signal)) = &frame.message else { panic!("a signal") };
    let body = proto::SignalBody::decode(signal.body.as_slice()).expect("a body").body;
    let Some(signal_body::Body::Description(description)) = body else { panic!("a description") };
    assert_eq!(description.kind(), proto::SdpKind::Offer);
    let written = String::from_utf8(encode_client_frame(Encoding::Json, &frame)).expect("utf-8");
    assert!(written.contains(r#""body":{"description":{"kind":"OFFER","sdp":"v=0""#), "{written}");
}

#[test]
fn joined_names_its_fields_as_the_schema_does() {
    let joined = proto::Joined { self_: Some(proto::Participant { id: 4, ..Default::default() }), ..Default::default() };
    let frame = proto::ServerFrame { seq: 1, ack: 2, message: Some(server_frame::Message::Joined(joined)) };
    let written = String::from_utf8(encode_server_frame(Encoding::Json, &frame)).expect("utf-8");
    assert!(written.starts_with(r#"{"seq":1,"ack":2,"message":{"joined":{"#), "{written}");
    assert!(written.contains(r#""self":{"id":4"#) && written.contains(r#""policy":"AUTO""#), "{written}");
}

#[test]
fn enum_values_read_by_short_name_full_name_and_number() {
    for kind in [r#""AUDIO""#, r#""TRACK_KIND_AUDIO""#, "1"] {
        let text = format!(r#"{{"seq":1,"message":{{"publish":{{"request":1,"kind":{kind}}}}}}}"#);
        let frame = decode_client_frame(Encoding::Json, text.as_bytes()).expect("reads");
        let Some(client_frame::Message::Publish(publish)) = frame.message else { panic!("publish") };
        assert_eq!(publish.kind(), proto::TrackKind::Audio);
    }
}

#[test]
fn an_unknown_kind_of_message_reads_as_none() {
    let json = decode_client_frame(Encoding::Json, br#"{"seq":9,"message":{"dance":{"steps":3}}}"#).expect("reads");
    assert_eq!((json.seq, json.message), (9, None));
    // Field 99, length-delimited, of a later version of the schema.
    let proto = decode_client_frame(Encoding::Proto, &[0x08, 9, 0x9a, 0x06, 1, 0]).expect("reads");
    assert_eq!((proto.seq, proto.message), (9, None));
}

#[test]
fn lengths_are_limited() {
    let sdp = "x".repeat(limits::MAX_SDP + 1);
    let description = proto::RelayDescription { sdp, ..Default::default() };
    let frame = proto::ClientFrame { seq: 5, ack: 0, message: Some(client_frame::Message::Description(description)) };
    let error = decode_client_frame(Encoding::Proto, &encode_client_frame(Encoding::Proto, &frame)).expect_err("too long");
    assert_eq!(error, WireError::Limit { field: "sdp", limit: limits::MAX_SDP, seq: 5 });
    let error = decode_client_frame(Encoding::Proto, &vec![0; limits::MAX_CLIENT_FRAME + 1]).expect_err("too large");
    assert!(matches!(error, WireError::Oversize { .. }));
}

#[test]
fn a_body_of_an_unknown_kind_reads_as_none_in_json_and_stays_what_it_is_in_protobuf() {
    let read = |body: &str| {
        let text = format!(r#"{{"seq":4,"message":{{"signal":{{"to":2,"number":1,"body":{body}}}}}}}"#);
        match decode_client_frame(Encoding::Json, text.as_bytes()).map(|frame| frame.message) {
            Ok(Some(client_frame::Message::Signal(signal))) => Some(signal.body),
            _ => None,
        }
    };
    assert_eq!(read(r#"{"future_kind":{"x":[1,[2]]}}"#), Some(Vec::new()));
    assert_eq!(read("{}"), Some(Vec::new()));
    // As base64 of its protobuf form: field 77, which this schema has not.
    assert_eq!(read(r#""6gQCCAE=""#), Some(vec![0xea, 0x04, 2, 8, 1]));
    assert_eq!((read("[0,0]"), read("7")), (None, None));
    let signal = proto::Signal { body: vec![0xea, 0x04, 2, 8, 1], ..Default::default() };
    let written = String::from_utf8(encode_signal(Encoding::Json, &signal)).expect("utf-8");
    assert!(written.contains(r#""body":"6gQCCAE=""#), "{written}");
    assert_eq!(decode_signal(Encoding::Json, written.as_bytes()).expect("reads").0, signal);
}
