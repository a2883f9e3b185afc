//! One machine, spoken to by hand.

use std::time::{Duration, Instant};

use segue_model::{EncodingId, LayerId, TopologyPolicy, TrackKind, TrackSource};
use segue_wire::proto::{self, ErrorCode, client_frame, server_frame};

use super::super::*;
use crate::handover::VIDEO_START;

struct Lone {
    machine: PeerMachine,
    now: Instant,
    seq: u64,
}

fn participant(id: u32, origin: bool) -> proto::Participant {
    proto::Participant {
        id,
        identity: format!("i{id}"),
        capabilities: Some(proto::Capabilities { origin, direct: true }),
        ..proto::Participant::default()
    }
}

fn epoch(counter: u64) -> Option<proto::Epoch> {
    Some(proto::Epoch { incarnation: 1, counter })
}

impl Lone {
    fn new(others: Vec<proto::Participant>) -> Self {
        let mut machine = PeerMachine::new(PeerConfig {
            seed: 1,
            token: "token".into(),
            name: "me".into(),
            metadata: String::new(),
            client: "test".into(),
            device_key: Vec::new(),
            policy: TopologyPolicy::Auto,
            origin: true,
            direct: true,
        });
        let now = Instant::now();
        machine.connect(now);
        machine.handle_carrier(now, CarrierState::Open);
        let mut lone = Self { machine, now, seq: 0 };
        lone.hear(server_frame::Message::Joined(proto::Joined {
            room: "r".into(),
            self_: Some(participant(5, true)),
            others,
            resume_token: "resume".into(),
            incarnation: 1,
            topology: Some(proto::TopologyCommit {
                epoch: epoch(5),
                topology: proto::Topology::Mesh.into(),
                reason: String::new(),
            }),
            mesh_max: 4,
            ..proto::Joined::default()
        }));
        lone
    }

    fn hear(&mut self, message: server_frame::Message) {
        self.seq += 1;
        self.machine.handle_server(self.now, proto::ServerFrame { seq: self.seq, ack: 0, message: Some(message) });
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.machine.poll_command()).collect()
    }

    fn events(&mut self) -> Vec<PeerEvent> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    fn publish_camera(&mut self) -> TrackId {
        let encoding = |rid: &str| EncodingInfo { rid: rid.into(), width: 640, height: 360, max_kbps: 800 };
        let request = PublishRequest {
            kind: TrackKind::Video,
            source: TrackSource::Camera,
            name: String::new(),
            muted: false,
            encodings: vec![encoding("f"), encoding("h"), encoding("q")],
        };
        let request = self.machine.publish(self.now, request);
        let wire = |rid: &str| proto::Encoding { rid: rid.into(), ..proto::Encoding::default() };
        self.hear(server_frame::Message::Published(proto::Published {
            request,
            track: Some(proto::Track {
                id: 9,
                kind: proto::TrackKind::Video.into(),
                source: proto::TrackSource::Camera.into(),
                encodings: vec![wire("f"), wire("h"), wire("q")],
                ..proto::Track::default()
            }),
        }));
        TrackId(9)
    }

    fn up(&mut self, leg: LegKey) {
        self.machine.handle_leg(self.now, leg, LegEvent::State(LinkState::Up));
    }
}

fn last_route(commands: &[Command]) -> Vec<RouteLeg> {
    let routes = commands.iter().filter_map(|command| match command {
        Command::Route { legs, .. } => Some(legs.clone()),
        _ => None,
    });
    routes.fold(Vec::new(), |_, legs| legs)
}

#[test]
fn stale_epochs_are_ignored() {
    let mut lone = Lone::new(Vec::new());
    let prepare = |counter| {
        let target = proto::Topology::Relayed.into();
        server_frame::Message::TopologyPrepare(proto::TopologyPrepare { epoch: epoch(counter), target, reason: "old".into() })
    };
    lone.hear(prepare(4));
    lone.up(LegKey::RelayPublisher);
    lone.up(LegKey::RelaySubscriber);
    let ready = |command: &Command| matches!(command, Command::SendServer(frame) if matches!(frame.message, Some(client_frame::Message::TopologyReady(_))));
    assert!(!lone.commands().iter().any(ready));
    lone.hear(prepare(6));
    assert!(lone.commands().iter().any(ready));
    let commit = |counter| {
        let topology = proto::Topology::Relayed.into();
        server_frame::Message::TopologyCommit(proto::TopologyCommit { epoch: epoch(counter), topology, reason: String::new() })
    };
    lone.hear(commit(5));
    assert_eq!(lone.machine.topology(), Topology::Mesh);
    lone.hear(commit(6));
    assert_eq!(lone.machine.topology(), Topology::Relayed);
}

#[test]
fn a_direct_leg_gets_one_encoding_and_the_relay_all_after_the_commit() {
    let mut lone = Lone::new(vec![participant(7, true)]);
    let track = lone.publish_camera();
    let peer = ParticipantId(7);
    for leg in [LegKey::RelayPublisher, LegKey::RelaySubscriber, LegKey::Peer(peer)] {
        lone.up(leg);
    }
    let ladder = || vec![EncodingId(0), EncodingId(1), EncodingId(2)];
    let direct = RouteLeg {
        leg: LegKey::Peer(peer),
        encodings: vec![EncodingId(0)],
        ladder: ladder(),
        max_temporal: None,
        doubled: false,
    };
    let relayed = |encodings: &[u8], max_temporal| RouteLeg {
        leg: LegKey::RelayPublisher,
        encodings: encodings.iter().map(|encoding| EncodingId(*encoding)).collect(),
        ladder: ladder(),
        max_temporal,
        doubled: false,
    };
    assert_eq!(last_route(&lone.commands()), std::slice::from_ref(&direct));
    let target = proto::Topology::Relayed.into();
    lone.hear(server_frame::Message::TopologyPrepare(proto::TopologyPrepare { epoch: epoch(6), target, reason: "big".into() }));
    lone.now += VIDEO_START;
    lone.machine.handle_timeout(lone.now);
    let commands = lone.commands();
    let proof = [relayed(&[0], Some(0)), RouteLeg { doubled: true, ..direct }];
    assert_eq!(last_route(&commands), proof);
    // The base layer comes both ways, and nobody misses a copy of it; the other goes directly only.
    let copies = |temporal| [0, 1].map(|leg| proof[leg].is_copy(&proof, LayerId::new(0, temporal)));
    assert_eq!((copies(0), copies(1)), ([true, true], [true, false]));
    let told = |commands: &[Command]| {
        commands.iter().find_map(|command| match command {
            Command::SendServer(proto::ClientFrame { message: Some(client_frame::Message::EdgePath(word)), .. }) => {
                Some((word.path(), word.direct.clone()))
            }
            _ => None,
        })
    };
    let decoded = || vec![proto::TrackEncoding { track: track.0.into(), encoding: 0 }];
    assert_eq!(told(&commands), Some((proto::Path::Both, decoded())));
    let ready = proto::EdgeReady { epoch: epoch(6), path: proto::Path::Relayed.into() };
    let body = proto::SignalBody { body: Some(proto::signal_body::Body::EdgeReady(ready)) };
    let signal = proto::Signal { from: 7, to: 5, number: 1, body: prost::Message::encode_to_vec(&body) };
    lone.hear(server_frame::Message::Signal(signal));
    let commands = lone.commands();
    assert_eq!(last_route(&commands), [relayed(&[0, 1, 2], None)]);
    assert_eq!(told(&commands), Some((proto::Path::Relayed, decoded())));
    lone.machine.unpublish(lone.now, track);
    assert_eq!(last_route(&lone.commands()), []);
}

#[test]
fn a_leg_that_bears_less_gets_a_smaller_encoding_once_nothing_moves() {
    let mut lone = Lone::new(vec![participant(7, true), participant(8, true)]);
    let track = lone.publish_camera();
    let (one, other) = (LegKey::Peer(ParticipantId(7)), LegKey::Peer(ParticipantId(8)));
    for leg in [LegKey::RelayPublisher, LegKey::RelaySubscriber, one, other] {
        lone.up(leg);
    }
    let carried = |lone: &mut Lone| -> Vec<(LegKey, Vec<u8>)> {
        let route = last_route(&lone.commands()).into_iter();
        route.map(|leg| (leg.leg, leg.encodings.iter().map(|encoding| encoding.0).collect())).collect()
    };
    assert_eq!(carried(&mut lone), [(one, vec![0]), (other, vec![0])]);
    lone.machine.set_largest(lone.now, other, track, EncodingId(1));
    assert_eq!(carried(&mut lone), [(one, vec![0]), (other, vec![1])]);
    lone.machine.set_largest(lone.now, other, track, EncodingId(9));
    assert_eq!(carried(&mut lone), [(one, vec![0]), (other, vec![2])]);
    // In an overlap everything stays as it is, and the relay gets what is in use.
    let target = proto::Topology::Relayed.into();
    lone.hear(server_frame::Message::TopologyPrepare(proto::TopologyPrepare { epoch: epoch(6), target, reason: "big".into() }));
    lone.machine.set_largest(lone.now, other, track, EncodingId(0));
    lone.now += VIDEO_START;
    lone.machine.handle_timeout(lone.now);
    assert_eq!(carried(&mut lone), [(LegKey::RelayPublisher, vec![0, 2]), (one, vec![0]), (other, vec![2])]);
}

#[test]
fn when_the_relay_gets_a_largest_encoding_no_more_the_next_begins_with_a_keyframe() {
    let mut lone = Lone::new(vec![participant(7, true)]);
    let track = lone.publish_camera();
    let target = proto::Topology::Relayed.into();
    lone.hear(server_frame::Message::TopologyCommit(proto::TopologyCommit {
        epoch: epoch(6),
        topology: target,
        reason: String::new(),
    }));
    for leg in [LegKey::RelayPublisher, LegKey::RelaySubscriber] {
        lone.up(leg);
    }
    let relayed =
        |lone: &mut Lone| last_route(&lone.commands())[0].encodings.iter().map(|encoding| encoding.0).collect::<Vec<_>>();
    assert_eq!(relayed(&mut lone), [0, 1, 2]);
    lone.events();
    lone.machine.set_largest(lone.now, LegKey::RelayPublisher, track, EncodingId(1));
    assert_eq!(relayed(&mut lone), [1, 2]);
    assert_eq!(lone.events(), [PeerEvent::KeyframeRequested { track, encoding: EncodingId(1) }]);
    lone.machine.set_largest(lone.now, LegKey::RelayPublisher, track, EncodingId(0));
    assert_eq!(relayed(&mut lone), [0, 1, 2]);
    assert!(lone.events().is_empty(), "one that begins does so with a keyframe anyway");
}

#[test]
fn keyframe_requests_are_coalesced_and_none_is_lost() {
    let mut lone = Lone::new(vec![participant(7, true)]);
    let track = lone.publish_camera();
    lone.events();
    let ask = LegEvent::KeyframeRequested { track, encoding: EncodingId(0) };
    for _ in 0..5 {
        lone.machine.handle_leg(lone.now, LegKey::RelayPublisher, ask.clone());
    }
    let wanted = PeerEvent::KeyframeRequested { track, encoding: EncodingId(0) };
    assert_eq!(lone.events(), std::slice::from_ref(&wanted));
    lone.now += Duration::from_millis(500);
    lone.machine.handle_timeout(lone.now);
    assert_eq!(lone.events(), [wanted]);
    lone.now += Duration::from_millis(500);
    lone.machine.handle_timeout(lone.now);
    assert!(lone.events().is_empty());
}

#[test]
fn a_last_word_ends_it_with_the_code() {
    use proto::LeaveReason::{Refused, Replaced};
    for (reason, code) in [(Replaced, ErrorCode::Replaced), (Refused, ErrorCode::RoomFull), (Refused, ErrorCode::TooLarge)] {
        let mut machine = Lone::new(Vec::new()).machine;
        let now = Instant::now();
        let _ = std::iter::from_fn(|| machine.poll_event()).count();
        let goodbye =
            proto::Goodbye { reason: reason.into(), code: code.into(), message: "elsewhere".into(), retry_after_ms: 0 };
        machine
            .handle_server(now, proto::ServerFrame { seq: 2, ack: 0, message: Some(server_frame::Message::Goodbye(goodbye)) });
        let ConnectionState::Disconnected { code: told, .. } = machine.state() else { panic!("not over") };
        assert_eq!(*told, code);
        assert!(std::iter::from_fn(|| machine.poll_command()).any(|command| command == Command::DisconnectServer));
        // It does not come back by itself.
        assert_eq!(machine.poll_timeout(), None);
    }
}

#[test]
fn a_browser_gets_a_section_for_each_track() {
    let mut lone = Lone::new(vec![participant(7, false)]);
    let opened = lone.commands().into_iter().find_map(|command| match command {
        Command::OpenLeg { leg: LegKey::Peer(_), plan } => Some(plan),
        _ => None,
    });
    assert!(opened.is_some_and(|plan| !plan.merge && plan.sections.is_empty()));
    lone.publish_camera();
    let sections = lone.commands().into_iter().find_map(|command| match command {
        Command::SetSections { sections, .. } => Some(sections),
        _ => None,
    });
    assert_eq!(sections.unwrap()[0].encodings.len(), 3);
}

#[test]
fn an_id_that_a_new_relay_gave_to_somebody_else_is_theirs() {
    let mut lone = Lone::new(vec![participant(6, true), participant(7, true)]);
    let published = |participant| {
        let track = proto::Track { id: 40, kind: 1, source: 1, ..Default::default() };
        server_frame::Message::TrackPublished(proto::TrackPublished { participant, track: Some(track) })
    };
    lone.hear(published(6));
    assert_eq!(lone.machine.publisher(TrackId(40)), Some(ParticipantId(6)));
    lone.events();
    // 6 has yet to find the relay that gave its track's id to 7.
    lone.hear(published(7));
    assert_eq!(lone.machine.publisher(TrackId(40)), Some(ParticipantId(7)));
    let events = lone.events();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            PeerEvent::TrackUnpublished { participant, .. } => Some((participant.0, false)),
            PeerEvent::TrackPublished { participant, .. } => Some((participant.0, true)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(6, false), (7, true)]);
    // What 6 says under it before it knows is not played.
    let origin = Origin {
        source: TrackId(40),
        layer: segue_model::LayerId::new(0, 0),
        flags: segue_media::packet::OriginFlags::default(),
        packet: 1,
        frame: 1,
        refers_back: 0,
    };
    assert!(!lone.machine.handle_media(lone.now, LegKey::Peer(ParticipantId(6)), &origin));
}

#[test]
fn a_packet_of_somebody_elses_track_is_not_accepted() {
    let mut lone = Lone::new(vec![participant(7, true), participant(8, true)]);
    let track = proto::Track { id: 3, kind: proto::TrackKind::Audio.into(), ..proto::Track::default() };
    lone.hear(server_frame::Message::TrackPublished(proto::TrackPublished { participant: 8, track: Some(track) }));
    let origin = Origin {
        source: TrackId(3),
        layer: segue_model::LayerId::new(0, 0),
        flags: segue_media::packet::OriginFlags::default(),
        packet: 1,
        frame: 1,
        refers_back: 0,
    };
    assert!(!lone.machine.handle_media(lone.now, LegKey::Peer(ParticipantId(7)), &origin));
    assert!(lone.machine.handle_media(lone.now, LegKey::Peer(ParticipantId(8)), &origin));
    assert!(lone.machine.handle_media(lone.now, LegKey::RelaySubscriber, &origin));
    assert!(!lone.machine.handle_media(lone.now, LegKey::RelayPublisher, &origin));
}

#[test]
fn a_new_transport_of_the_relay_gets_a_new_one_of_ours() {
    let mut lone = Lone::new(Vec::new());
    lone.commands();
    let offer = |session: u32, generation| {
        let sdp = format!("v=0\r\no=- {session} 1 IN IP4 0.0.0.0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:u\r\n");
        server_frame::Message::Description(proto::RelayDescription {
            transport: proto::RelayTransport::Subscriber.into(),
            kind: proto::SdpKind::Offer.into(),
            sdp,
            tracks: Vec::new(),
            generation,
        })
    };
    let opens = |commands: &[Command]| commands.iter().filter(|command| matches!(command, Command::OpenLeg { .. })).count();
    let sets = |commands: &[Command]| commands.iter().filter(|command| matches!(command, Command::SetRemote { .. })).count();
    for (session, generation, opened) in [(100, 1, 0), (100, 2, 0), (200, 1, 1), (200, 2, 0)] {
        lone.hear(offer(session, generation));
        let commands = lone.commands();
        assert_eq!((opens(&commands), sets(&commands)), (opened, 1), "{session} {generation}");
    }
}
