use std::time::{Duration, Instant};

use segue_model::{EncodingId, ParticipantId, Quality, Topology, TrackId};
use segue_wire::proto::{self, ErrorCode, LeaveReason, client_frame, server_frame};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A room in virtual time, with what it said last.
struct Scene {
    room: RoomAuthority,
    now: Instant,
    outputs: Vec<RoomOutput>,
}

fn person(identity: &str) -> JoinRequest {
    JoinRequest {
        identity: identity.to_owned(),
        grants: proto::Grants { publish: true, subscribe: true, admin: false },
        capabilities: proto::Capabilities { origin: true, direct: true },
        ..JoinRequest::default()
    }
}

impl Scene {
    fn new() -> Self {
        Self::with(RoomConfig { name: "lobby".to_owned(), incarnation: 7, ..RoomConfig::default() })
    }

    fn with(config: RoomConfig) -> Self {
        Self { room: RoomAuthority::new(config), now: Instant::now(), outputs: Vec::new() }
    }

    fn drain(&mut self) {
        self.outputs.clear();
        while let Some(output) = self.room.poll_output() {
            self.outputs.push(output);
        }
    }

    fn join(&mut self, request: JoinRequest) -> ParticipantId {
        let id = self.room.join(self.now, request).expect("let in");
        self.drain();
        id
    }

    fn tell(&mut self, from: ParticipantId, message: client_frame::Message) {
        self.room.handle_message(self.now, from, 9, Some(message));
        self.drain();
    }

    fn publish(&mut self, from: ParticipantId, kind: proto::TrackKind, source: proto::TrackSource) -> TrackId {
        let publish = proto::Publish { request: 5, kind: kind.into(), source: source.into(), ..Default::default() };
        self.tell(from, client_frame::Message::Publish(publish));
        self.sent(from)
            .find_map(|message| match message {
                server_frame::Message::Published(published) => published.track.as_ref().map(|track| TrackId(track.id as u16)),
                _ => None,
            })
            .expect("published")
    }

    fn camera(&mut self, from: ParticipantId) -> TrackId {
        self.publish(from, proto::TrackKind::Video, proto::TrackSource::Camera)
    }

    fn edge(&mut self, from: ParticipantId, to: ParticipantId, path: proto::Path) {
        let reason = "moved".to_owned();
        let word =
            proto::EdgePath { epoch: None, subscriber: to.0, path: path.into(), reason, voice_only: false, direct: Vec::new() };
        self.tell(from, client_frame::Message::EdgePath(word));
    }

    /// What the forwarder is told to hold subscribers to.
    fn held(&self) -> Vec<(TrackId, ParticipantId, EncodingId)> {
        let of = |output: &RoomOutput| match output {
            RoomOutput::Forward(ForwardCommand::DirectEncoding { track, subscriber, encoding }) => {
                Some((*track, *subscriber, *encoding))
            }
            _ => None,
        };
        self.outputs.iter().filter_map(of).collect()
    }

    fn all_edges(&mut self, people: &[ParticipantId], path: proto::Path) {
        for &from in people {
            for &to in people.iter().filter(|&&to| to != from) {
                self.edge(from, to, path);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.room.poll_timeout().filter(|&at| at <= end) {
            assert!(at >= self.now, "a timeout in the past");
            self.now = at;
            self.room.handle_timeout(at);
        }
        self.now = end;
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.clear();
        while let Some(output) = self.room.poll_output() {
            outputs.push(output);
        }
        self.outputs = outputs;
    }

    fn sent(&self, to: ParticipantId) -> impl Iterator<Item = &server_frame::Message> {
        self.outputs.iter().filter_map(move |output| match output {
            RoomOutput::Send { to: receiver, message } if *receiver == to => Some(message),
            _ => None,
        })
    }

    fn error(&self, to: ParticipantId) -> Option<(ErrorCode, u32)> {
        self.sent(to).find_map(|message| match message {
            server_frame::Message::Error(error) => {
                assert!(!error.message.is_empty() && error.seq == 9);
                Some((error.code(), error.request))
            }
            _ => None,
        })
    }

    fn topology_words(&self, to: ParticipantId) -> Vec<String> {
        self.sent(to)
            .filter_map(|message| match message {
                server_frame::Message::TopologyPrepare(word) => Some(format!("prepare {:?}", word.target())),
                server_frame::Message::TopologyCommit(word) => Some(format!("commit {:?}", word.topology())),
                server_frame::Message::TopologyAbort(word) => Some(format!("abort {:?}", word.topology())),
                _ => None,
            })
            .collect()
    }

    fn ended(&self) -> Vec<(ParticipantId, LeaveReason)> {
        self.outputs
            .iter()
            .filter_map(|output| match output {
                RoomOutput::Ended { participant, goodbye } => Some((*participant, goodbye.reason())),
                _ => None,
            })
            .collect()
    }

    fn forwarded(&self, publisher: ParticipantId, subscriber: ParticipantId) -> Option<bool> {
        self.outputs.iter().rev().find_map(|output| match output {
            RoomOutput::Forward(ForwardCommand::Edge { publisher: from, subscriber: to, on, .. })
                if (*from, *to) == (publisher, subscriber) =>
            {
                Some(*on)
            }
            _ => None,
        })
    }

    /// `count` people with cameras, in a settled mesh.
    fn mesh(count: usize) -> (Self, Vec<ParticipantId>) {
        let mut scene = Self::new();
        let people: Vec<_> = (0..count).map(|at| scene.join(person(&format!("p{at}")))).collect();
        for &id in &people {
            scene.camera(id);
        }
        (scene, people)
    }
}

#[test]
fn the_forwarder_hears_in_which_encoding_somebody_gets_a_track_directly() {
    let mut room = Scene::new();
    let (ann, bob) = (room.join(person("ann")), room.join(person("bob")));
    let (camera, foreign) = (room.camera(ann), room.camera(bob));
    let told = |track: TrackId, encoding| proto::TrackEncoding { track: track.0.into(), encoding };
    let word = proto::EdgePath {
        subscriber: bob.0,
        path: proto::Path::Both.into(),
        // The second is not hers, the third has no such encoding.
        direct: vec![told(camera, 1), told(foreign, 0), told(camera, 9)],
        ..proto::EdgePath::default()
    };
    room.tell(ann, client_frame::Message::EdgePath(word));
    assert_eq!(room.held(), [(camera, bob, EncodingId(1))]);
    assert_eq!(room.error(ann), None);
}

#[test]
fn a_newcomer_sees_the_room_and_the_room_sees_it() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let camera = scene.camera(ann);
    let bob = scene.join(person("bob"));
    let Some(server_frame::Message::Joined(joined)) = scene.sent(bob).next() else { panic!("joined first") };
    assert_eq!((joined.room.as_str(), joined.incarnation, joined.mesh_max), ("lobby", 7, 4));
    assert_eq!(joined.self_.as_ref().map(|me| me.id), Some(bob.0));
    assert_eq!(joined.others[0].tracks[0].id, u32::from(camera.0));
    let seen = scene.sent(ann).any(|message| {
        matches!(message, server_frame::Message::ParticipantJoined(joined)
        if joined.participant.as_ref().is_some_and(|participant| participant.identity == "bob"))
    });
    assert!(seen);
}

#[test]
fn one_speaks_before_a_hundred_without_a_word_in_the_configuration() {
    let mut scene = Scene::with(RoomConfig::default());
    for number in 0..=100 {
        scene.join(person(&format!("person {number}")));
    }
    assert_eq!(scene.room.len(), 101);
}

#[test]
fn the_same_identity_replaces_its_former_session() {
    let mut scene = Scene::with(RoomConfig { max_participants: 2, ..RoomConfig::default() });
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    assert_eq!(scene.room.join(scene.now, person("eve")), Err(RoomError::Full(2)));
    let again = scene.join(person("ann"));
    assert_ne!(again, ann);
    assert_eq!(scene.ended(), [(ann, LeaveReason::Replaced)]);
    let left = scene.sent(bob).any(|message| {
        matches!(message, server_frame::Message::ParticipantLeft(left) if left.participant == ann.0 && left.reason() == LeaveReason::Replaced)
    });
    assert!(left);
}

#[test]
fn a_lost_connection_is_held_for_the_resume_window() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    scene.room.handle_disconnected(scene.now, ann);
    scene.wait(29 * SECOND);
    scene.room.handle_resumed(ann);
    scene.wait(29 * SECOND);
    assert!(scene.ended().is_empty());
    scene.room.handle_disconnected(scene.now, ann);
    scene.wait(30 * SECOND);
    assert_eq!(scene.ended(), [(ann, LeaveReason::Timeout)]);
    assert!(scene.sent(bob).any(|message| matches!(message, server_frame::Message::ParticipantLeft(_))));
}

#[test]
fn rejoining_gives_the_old_ids_where_they_are_free() {
    let mut scene = Scene::new();
    let track = proto::Track { id: 12, kind: 1, source: 1, ..Default::default() };
    let rejoin = proto::Rejoin { incarnation: 6, participant: 3, tracks: vec![track] };
    let ann = scene.join(JoinRequest { rejoin: Some(rejoin.clone()), ..person("ann") });
    assert_eq!(ann, ParticipantId(3));
    let Some(server_frame::Message::Joined(joined)) = scene.sent(ann).next() else { panic!("joined") };
    assert_eq!(joined.self_.as_ref().map(|me| me.tracks[0].id), Some(12));
    let eve = scene.join(JoinRequest { rejoin: Some(rejoin), ..person("eve") });
    // Whoever had the next number may be on their way back, too.
    assert_eq!(eve, ParticipantId(68));
    let Some(server_frame::Message::Joined(joined)) = scene.sent(eve).next() else { panic!("joined") };
    assert_eq!(joined.self_.as_ref().map(|me| me.tracks[0].id), Some(77));
}

#[test]
fn what_may_not_be_done_is_answered_with_a_code() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let viewer =
        scene.join(JoinRequest { grants: proto::Grants { subscribe: true, ..Default::default() }, ..person("viewer") });
    let camera = u32::from(scene.camera(ann).0);
    let publish =
        |kind, source| client_frame::Message::Publish(proto::Publish { request: 3, kind, source, ..Default::default() });
    scene.tell(viewer, publish(1, 1));
    assert_eq!(scene.error(viewer), Some((ErrorCode::NotPermitted, 3)));
    scene.tell(ann, publish(0, 1));
    assert_eq!(scene.error(ann), Some((ErrorCode::Malformed, 3)));
    scene.tell(ann, publish(1, 3));
    assert_eq!(scene.error(ann), Some((ErrorCode::Malformed, 3)));
    scene.tell(viewer, client_frame::Message::Unpublish(proto::Unpublish { track: camera }));
    assert_eq!(scene.error(viewer), Some((ErrorCode::UnknownTrack, 0)));
    scene.tell(ann, client_frame::Message::Subscribe(proto::Subscribe { track: camera, enabled: true, quality: 0 }));
    assert_eq!(scene.error(ann), Some((ErrorCode::UnknownTrack, 0)));
    scene.tell(ann, client_frame::Message::Signal(proto::Signal { to: 99, ..Default::default() }));
    assert_eq!(scene.error(ann), Some((ErrorCode::UnknownParticipant, 0)));
    scene.tell(ann, client_frame::Message::Join(proto::Join::default()));
    assert_eq!(scene.error(ann), Some((ErrorCode::AlreadyJoined, 0)));
    scene.room.handle_message(scene.now, ann, 9, None);
    scene.drain();
    assert_eq!(scene.error(ann), Some((ErrorCode::UnknownMessage, 0)));
    let offer = proto::RelayDescription { transport: 2, kind: 1, ..Default::default() };
    scene.tell(ann, client_frame::Message::Description(offer));
    assert_eq!(scene.error(ann), Some((ErrorCode::Malformed, 0)));
    for _ in 1..16 {
        scene.camera(ann);
    }
    scene.tell(ann, publish(2, 2));
    assert_eq!(scene.error(ann), Some((ErrorCode::Limit, 3)));
}

#[test]
fn offers_may_name_own_tracks_only() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    let track = u32::from(scene.camera(ann).0);
    let offer = proto::RelayDescription {
        transport: 1,
        kind: 1,
        sdp: "v=0".to_owned(),
        tracks: vec![proto::MidTrack { mid: "0".to_owned(), track }],
        generation: 2,
    };
    scene.tell(bob, client_frame::Message::Description(offer.clone()));
    assert_eq!(scene.error(bob), Some((ErrorCode::UnknownTrack, 0)));
    scene.tell(ann, client_frame::Message::Description(offer));
    assert!(matches!(&scene.outputs[..], [RoomOutput::PublisherOffer { generation: 2, tracks, .. }] if tracks.len() == 1));
}

#[test]
fn subscriptions_and_mutes_reach_the_forwarder() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    let track = scene.camera(ann);
    let number = u32::from(track.0);
    scene.tell(bob, client_frame::Message::Subscribe(proto::Subscribe { track: number, enabled: true, quality: 1 }));
    let wish = ForwardCommand::Subscription { track, subscriber: bob, quality: Quality::Low };
    assert_eq!(scene.outputs, [RoomOutput::Forward(wish)]);
    scene.tell(ann, client_frame::Message::SetMuted(proto::SetMuted { track: number, muted: true }));
    assert_eq!(scene.outputs[0], RoomOutput::Forward(ForwardCommand::TrackMuted { track, muted: true }));
    assert!(matches!(scene.sent(bob).next(), Some(server_frame::Message::TrackMuted(muted)) if muted.muted));
    scene.tell(ann, client_frame::Message::Unpublish(proto::Unpublish { track: number }));
    assert_eq!(scene.outputs[0], RoomOutput::Forward(ForwardCommand::TrackRemoved { track }));
}

#[test]
fn a_player_gets_one_participant_whenever_it_is_there() {
    let mut scene = Scene::new();
    let player = || JoinRequest {
        plays: Some("ann".to_owned()),
        grants: proto::Grants { subscribe: true, ..Default::default() },
        capabilities: proto::Capabilities::default(),
        ..person("player")
    };
    let error = scene.room.join(scene.now, player()).unwrap_err();
    assert_eq!((error.clone(), error.code()), (RoomError::NotHere("ann".to_owned()), ErrorCode::UnknownParticipant));
    scene.join(person("bob"));
    let ann = scene.join(person("ann"));
    let player = scene.join(player());
    let edges = |scene: &Scene| {
        let edge = |output: &RoomOutput| match output {
            RoomOutput::Forward(ForwardCommand::Edge { publisher, subscriber, on: true, .. }) => {
                (*subscriber == player).then_some(*publisher)
            }
            _ => None,
        };
        scene.outputs.iter().filter_map(edge).collect::<Vec<_>>()
    };
    let offers =
        |output: &RoomOutput| matches!(output, RoomOutput::Forward(ForwardCommand::ParticipantAdded { offers: true, .. }));
    assert!(scene.outputs.iter().any(offers));
    assert_eq!(edges(&scene), [ann]);
    scene.tell(ann, client_frame::Message::Leave(proto::Leave::default()));
    let ann = scene.join(person("ann"));
    assert_eq!(edges(&scene), [ann]);
}

#[test]
fn a_signal_comes_from_whom_it_really_is() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    let signal = proto::Signal { from: bob.0, to: bob.0, number: 4, body: vec![1, 2, 3] };
    scene.tell(ann, client_frame::Message::Signal(signal));
    let expected = proto::Signal { from: ann.0, to: bob.0, number: 4, body: vec![1, 2, 3] };
    assert_eq!(scene.sent(bob).collect::<Vec<_>>(), [&server_frame::Message::Signal(expected)]);
}

#[test]
fn a_flood_is_dropped_and_then_ended() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    let signal = || client_frame::Message::Signal(proto::Signal { to: bob.0, body: vec![1], ..Default::default() });
    for _ in 0..2000 {
        scene.tell(ann, signal());
        assert_eq!(scene.error(ann), None);
    }
    scene.tell(ann, signal());
    assert_eq!(scene.error(ann), Some((ErrorCode::Rate, 0)));
    (0..999).for_each(|_| scene.tell(ann, signal()));
    assert!(scene.ended().is_empty());
    scene.tell(ann, signal());
    assert_eq!(scene.ended(), [(ann, LeaveReason::Refused)]);
}

#[test]
fn what_is_sent_to_everybody_counts_for_each() {
    let (mut scene, people) = Scene::mesh(3);
    let signal = || client_frame::Message::Signal(proto::Signal { to: 0, body: vec![0; 90 * 1024], ..Default::default() });
    let sent = (0..100).take_while(|_| {
        scene.tell(people[0], signal());
        scene.error(people[0]).is_none()
    });
    assert_eq!(sent.count(), 4 * 1024 / 180);
}

#[test]
fn the_fifth_participant_moves_the_room_to_the_relay() {
    let (mut scene, mut people) = Scene::mesh(4);
    assert_eq!(scene.room.topology(), Topology::Mesh);
    people.push(scene.join(person("fifth")));
    assert_eq!(scene.topology_words(people[0]), ["prepare Relayed"]);
    assert_eq!(scene.topology_words(people[4]), ["prepare Relayed"]);
    // A second newcomer meanwhile is part of the same handover, and on the relay from the start.
    people.push(scene.join(person("sixth")));
    assert_eq!(scene.topology_words(people[0]), Vec::<String>::new());
    assert_eq!(scene.topology_words(people[5]), ["prepare Relayed"]);
    assert_eq!(scene.forwarded(people[0], people[5]), Some(true));

    scene.edge(people[0], people[1], proto::Path::Both);
    assert_eq!(scene.forwarded(people[0], people[1]), Some(true));
    scene.all_edges(&people, proto::Path::Relayed);
    assert_eq!(scene.room.topology(), Topology::Relayed);
}

#[test]
fn the_room_goes_back_when_it_has_been_small_for_a_while() {
    let (mut scene, people) = Scene::mesh(5);
    scene.all_edges(&people, proto::Path::Relayed);
    assert_eq!(scene.room.topology(), Topology::Relayed);
    scene.wait(60 * SECOND);
    for &id in &people[3..] {
        scene.tell(id, client_frame::Message::Leave(proto::Leave::default()));
    }
    scene.wait(9 * SECOND);
    assert_eq!(scene.topology_words(people[0]), Vec::<String>::new());
    scene.wait(SECOND);
    assert_eq!(scene.topology_words(people[0]), ["prepare Mesh"]);
    let rest = &people[..3];
    scene.all_edges(rest, proto::Path::Both);
    assert_eq!(scene.room.topology(), Topology::Relayed);
    scene.all_edges(rest, proto::Path::Direct);
    assert_eq!(scene.room.topology(), Topology::Mesh);
    assert_eq!(scene.forwarded(people[2], people[1]), Some(false));
}

#[test]
fn four_is_between_the_thresholds() {
    let (mut scene, people) = Scene::mesh(5);
    scene.all_edges(&people, proto::Path::Relayed);
    scene.tell(people[4], client_frame::Message::Leave(proto::Leave::default()));
    scene.wait(600 * SECOND);
    assert_eq!(scene.room.topology(), Topology::Relayed);
}

#[test]
fn handovers_keep_their_distance() {
    let (mut scene, people) = Scene::mesh(5);
    scene.all_edges(&people, proto::Path::Relayed);
    for &id in &people[1..] {
        scene.tell(id, client_frame::Message::Leave(proto::Leave::default()));
    }
    // One is left: there is nothing to move and nobody to notice.
    scene.wait(11 * SECOND);
    assert_eq!(scene.room.topology(), Topology::Mesh);
    let mut people = vec![people[0]];
    for at in 0..4 {
        let id = scene.join(person(&format!("again{at}")));
        scene.camera(id);
        people.push(id);
    }
    assert_eq!(scene.topology_words(people[0]), Vec::<String>::new());
    scene.wait(20 * SECOND);
    assert_eq!(scene.topology_words(people[0]), ["prepare Relayed"]);
}

#[test]
fn laggards_stay_behind_and_may_come_later() {
    let (mut scene, people) = Scene::mesh(5);
    scene.all_edges(&people[..4], proto::Path::Relayed);
    scene.wait(8 * SECOND);
    assert_eq!(scene.topology_words(people[0]), ["commit Mixed"]);
    let late = scene.join(person("late"));
    assert_eq!(scene.topology_words(late), ["prepare Relayed"]);
    scene.camera(late);
    scene.all_edges(&[&people[..], &[late]].concat(), proto::Path::Relayed);
    scene.wait(SECOND);
    assert_eq!(scene.room.topology(), Topology::Relayed);
}

#[test]
fn a_handover_that_moves_nobody_is_taken_back_and_tried_later() {
    let (mut scene, people) = Scene::mesh(5);
    scene.wait(8 * SECOND);
    assert_eq!(scene.topology_words(people[0]), ["abort Mesh"]);
    scene.wait(29 * SECOND);
    assert_eq!(scene.topology_words(people[0]), Vec::<String>::new());
    scene.wait(SECOND);
    assert_eq!(scene.topology_words(people[0]), ["prepare Relayed"]);
    scene.wait(8 * SECOND);
    scene.wait(59 * SECOND);
    assert_eq!(scene.topology_words(people[0]), Vec::<String>::new());
}

#[test]
fn one_pair_that_cannot_connect_makes_a_mixed_room() {
    let (mut scene, people) = Scene::mesh(3);
    scene.edge(people[0], people[1], proto::Path::Relayed);
    scene.wait(2 * SECOND);
    assert_eq!(scene.room.topology(), Topology::Mixed);
    scene.edge(people[1], people[0], proto::Path::Relayed);
    scene.wait(120 * SECOND);
    assert_eq!(scene.topology_words(people[2]), Vec::<String>::new());
    // A second failure at the same participant that lasts moves all of them.
    scene.edge(people[0], people[2], proto::Path::Relayed);
    scene.wait(2 * SECOND);
    scene.edge(people[0], people[2], proto::Path::Direct);
    scene.wait(10 * SECOND);
    assert_eq!(scene.topology_words(people[1]), Vec::<String>::new());
    scene.edge(people[0], people[2], proto::Path::Relayed);
    scene.wait(3 * SECOND);
    assert_eq!(scene.topology_words(people[1]), ["prepare Relayed"]);
}

#[test]
fn those_who_cannot_or_will_not_be_direct_ask_for_the_relay() {
    let hidden = JoinRequest { policy: proto::TopologyPolicy::HideAddress, ..person("hidden") };
    let plain = JoinRequest { capabilities: proto::Capabilities::default(), ..person("plain") };
    let viewer = JoinRequest { grants: proto::Grants { subscribe: true, ..Default::default() }, ..person("viewer") };
    for request in [hidden, plain] {
        let (mut scene, people) = Scene::mesh(2);
        let third = scene.join(request);
        assert_eq!(scene.topology_words(people[0]), ["prepare Relayed"]);
        assert_eq!(scene.forwarded(people[0], third), Some(true));
    }
    let (mut scene, people) = Scene::mesh(2);
    scene.join(viewer);
    assert_eq!(scene.topology_words(people[0]), ["prepare Relayed"]);
}

#[test]
fn who_may_not_receive_gets_no_direct_leg() {
    let (mut scene, people) = Scene::mesh(2);
    let deaf = JoinRequest { grants: proto::Grants { publish: true, ..Default::default() }, ..person("deaf") };
    let deaf = scene.join(deaf);
    let Some(server_frame::Message::Joined(joined)) = scene.sent(deaf).next() else { panic!("joined") };
    assert_eq!(joined.self_.as_ref().and_then(|me| me.capabilities).map(|can| can.direct), Some(false));
    assert_eq!(scene.forwarded(deaf, people[0]), Some(true));
    assert_eq!(scene.forwarded(people[0], deaf), None);
}

#[test]
fn a_screen_among_three_asks_for_the_relay() {
    let (mut scene, people) = Scene::mesh(3);
    scene.publish(people[0], proto::TrackKind::Video, proto::TrackSource::Screen);
    assert_eq!(scene.topology_words(people[1]), ["prepare Relayed"]);
}

#[test]
fn audio_alone_bears_a_larger_mesh() {
    let mut scene = Scene::new();
    let people: Vec<_> = (0..8).map(|at| scene.join(person(&format!("p{at}")))).collect();
    for &id in &people {
        scene.publish(id, proto::TrackKind::Audio, proto::TrackSource::Microphone);
    }
    assert_eq!(scene.room.topology(), Topology::Mesh);
    scene.camera(people[0]);
    assert_eq!(scene.topology_words(people[1]), ["prepare Relayed"]);
}

#[test]
fn closing_says_the_same_to_all() {
    let (mut scene, people) = Scene::mesh(3);
    scene.room.close(&proto::Goodbye { reason: LeaveReason::Shutdown.into(), retry_after_ms: 1000, ..Default::default() });
    scene.drain();
    assert_eq!(scene.ended().len(), 3);
    assert_eq!(scene.sent(people[0]).count(), 0);
    assert!(scene.room.is_empty());
}

#[test]
fn garbage_is_answered_as_often_as_messages_may_come() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let error = proto::Error { code: ErrorCode::Malformed.into(), message: "no".to_owned(), request: 0, seq: 0 };
    let (mut malformed, mut rate) = (0, 0);
    for _ in 0..3100 {
        scene.room.handle_undecodable(scene.now, ann, error.clone());
        scene.drain();
        for output in &scene.outputs {
            match output {
                RoomOutput::Send { message: server_frame::Message::Error(error), .. } => match error.code() {
                    ErrorCode::Rate => rate += 1,
                    _ => malformed += 1,
                },
                RoomOutput::Ended { goodbye, .. } => assert_eq!(goodbye.code(), ErrorCode::Rate),
                _ => {}
            }
        }
    }
    assert_eq!((malformed, rate, scene.room.len()), (2000, 1, 0));
}

#[test]
fn numbers_of_tracks_are_not_spent_in_a_rush() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let publish = || client_frame::Message::Publish(proto::Publish { request: 5, kind: 1, source: 1, ..Default::default() });
    let mut published = 0;
    for _ in 0..100 {
        scene.tell(ann, publish());
        let track = scene.sent(ann).find_map(|message| match message {
            server_frame::Message::Published(published) => published.track.as_ref().map(|track| track.id),
            _ => None,
        });
        let Some(track) = track else { break };
        published += 1;
        scene.tell(ann, client_frame::Message::Unpublish(proto::Unpublish { track }));
    }
    assert_eq!(published, 2 * RoomConfig::default().max_tracks);
    scene.tell(ann, publish());
    let refused = scene.sent(ann).find_map(|message| match message {
        server_frame::Message::Error(error) => Some(error.code()),
        _ => None,
    });
    assert_eq!(refused, Some(ErrorCode::Rate));
    scene.now += SECOND;
    scene.publish(ann, proto::TrackKind::Audio, proto::TrackSource::Microphone);
}

#[test]
fn a_room_never_runs_out_of_track_numbers() {
    let mut scene = Scene::new();
    scene.room.track_ids = super::ids::IdPool::new(100);
    let ann = scene.join(person("ann"));
    let camera = scene.camera(ann);
    let mut given = std::collections::BTreeMap::new();
    for second in 0..1_000u32 {
        scene.now += SECOND;
        let track = scene.publish(ann, proto::TrackKind::Audio, proto::TrackSource::Microphone);
        assert_ne!(track, camera, "in use");
        let before = given.insert(track, second);
        assert!(before.is_none_or(|before| second - before > 60), "given again too soon");
        scene.tell(ann, client_frame::Message::Unpublish(proto::Unpublish { track: track.0.into() }));
    }
}

#[test]
fn what_makes_the_relay_tell_everybody_is_charged_for_each() {
    let mut scene = Scene::with(RoomConfig { max_participants: 512, ..RoomConfig::default() });
    let people: Vec<_> = (0..101).map(|index| scene.join(person(&format!("p{index}")))).collect();
    let ann = people[0];
    let track = u32::from(scene.camera(ann).0);
    let mute = |muted| client_frame::Message::SetMuted(proto::SetMuted { track, muted });
    let word = |to: u32| client_frame::Message::Signal(proto::Signal { to, body: vec![1], ..Default::default() });
    // Saying the same again tells nobody anything.
    (0..100).for_each(|_| scene.tell(ann, mute(false)));
    assert_eq!(scene.outputs, []);
    let mut told = 0;
    while scene.error(ann).is_none() {
        assert!(told < 1_000, "a flood");
        scene.tell(ann, if told % 4 == 0 { word(0) } else { mute(told % 4 != 2) });
        told += 1;
    }
    assert_eq!(scene.error(ann), Some((ErrorCode::Rate, 0)));
    assert_eq!(scene.sent(people[1]).count(), 0);
    // What was published can be taken back, and a word to one costs what one costs.
    scene.tell(ann, client_frame::Message::Unpublish(proto::Unpublish { track }));
    assert_eq!(scene.sent(people[1]).count(), 1);
    scene.tell(ann, word(people[1].0));
    assert_eq!(scene.sent(people[1]).count(), 1);
    // Others have budgets of their own, and this one fills again.
    scene.tell(people[2], word(0));
    assert_eq!(scene.error(people[2]), None);
    scene.now += SECOND;
    scene.tell(ann, word(0));
    assert_eq!(scene.error(ann), None);
}

#[test]
fn mistakes_are_named_as_they_were_made() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let words = |scene: &Scene| {
        let error = scene.sent(ann).find_map(|message| match message {
            server_frame::Message::Error(error) => Some(error.message.clone()),
            _ => None,
        });
        error.expect("an error")
    };
    scene.tell(ann, client_frame::Message::Unpublish(proto::Unpublish { track: 70_000 }));
    assert!(words(&scene).starts_with("t70000 is not a track of yours"), "{}", words(&scene));
    scene.edge(ann, ann, proto::Path::Direct);
    assert!(words(&scene).contains("yourself"), "{}", words(&scene));
    scene.tell(ann, client_frame::Message::Signal(proto::Signal { to: ann.0, ..Default::default() }));
    assert!(words(&scene).contains("yourself"), "{}", words(&scene));
}

#[test]
fn an_uplink_that_does_not_bear_the_mesh_moves_the_room_once_that_has_lasted() {
    let mut scene = Scene::new();
    let people: Vec<_> = ["a", "b", "c"].map(|name| scene.join(person(name))).to_vec();
    for &id in &people {
        scene.camera(id);
    }
    let report = |uplink_kbps| client_frame::Message::UplinkReport(proto::UplinkReport { uplink_kbps, mesh_kbps: 2_000 });
    // One that is still being found out is no reason.
    for (second, uplink) in [600, 800, 1_000, 1_200, 1_300].into_iter().enumerate() {
        scene.tell(people[0], report(uplink));
        scene.wait(SECOND * (1 + second as u32 % 2));
    }
    scene.wait(SECOND * 3);
    assert!(scene.topology_words(people[1]).is_empty());
    scene.wait(SECOND * 2);
    assert_eq!(scene.topology_words(people[1]), ["prepare Relayed"]);
    scene.all_edges(&people, proto::Path::Relayed);
    // Between the two bounds it stays where it is, however long.
    scene.tell(people[0], report(1_700));
    scene.wait(SECOND * 60);
    assert!(scene.topology_words(people[1]).is_empty());
    scene.tell(people[0], report(1_900));
    scene.wait(SECOND * 11);
    assert_eq!(scene.topology_words(people[1]), ["prepare Mesh"]);
}

#[test]
fn moderators_mute_and_put_out_others_and_nobody_else_does() {
    let mut scene = Scene::new();
    let mut moderator = person("mod");
    moderator.grants.admin = true;
    let (ann, bob, moderator) = (scene.join(person("ann")), scene.join(person("bob")), scene.join(moderator));
    let track = scene.camera(ann);
    let mute = client_frame::Message::MuteTrack(proto::MuteTrack { track: track.0.into() });
    let kick = |whom: ParticipantId| client_frame::Message::Kick(proto::Kick { participant: whom.0 });
    for refused in [mute.clone(), kick(ann)] {
        scene.tell(bob, refused);
        assert_eq!((scene.error(bob), scene.outputs.len()), (Some((ErrorCode::NotPermitted, 0)), 1));
    }
    scene.tell(moderator, mute.clone());
    assert_eq!(scene.outputs[0], RoomOutput::Forward(ForwardCommand::TrackMuted { track, muted: true }));
    for told in [ann, bob, moderator] {
        assert!(
            matches!(scene.sent(told).next(), Some(server_frame::Message::TrackMuted(muted)) if muted.participant == ann.0)
        );
    }
    scene.tell(moderator, mute);
    assert!(scene.outputs.is_empty(), "it is muted already");
    // Its publisher takes it back: the room knew that it was muted.
    scene.tell(ann, client_frame::Message::SetMuted(proto::SetMuted { track: track.0.into(), muted: false }));
    assert!(matches!(scene.sent(bob).next(), Some(server_frame::Message::TrackMuted(muted)) if !muted.muted));

    scene.tell(moderator, kick(moderator));
    assert_eq!(scene.error(moderator), Some((ErrorCode::Malformed, 0)));
    scene.tell(moderator, kick(ParticipantId(77)));
    assert_eq!(scene.error(moderator), Some((ErrorCode::UnknownParticipant, 0)));
    scene.tell(moderator, kick(ann));
    assert_eq!(scene.ended(), [(ann, LeaveReason::Kicked)]);
    let left = server_frame::Message::ParticipantLeft(proto::ParticipantLeft {
        participant: ann.0,
        reason: LeaveReason::Kicked.into(),
    });
    assert!(scene.sent(bob).any(|message| *message == left));
}

#[test]
fn a_signal_of_a_kind_unknown_here_goes_to_nobody() {
    let mut scene = Scene::new();
    let (ann, bob) = (scene.join(person("ann")), scene.join(person("bob")));
    scene.tell(ann, client_frame::Message::Signal(proto::Signal { to: bob.0, number: 1, ..Default::default() }));
    assert_eq!((scene.error(ann), scene.outputs.len()), (Some((ErrorCode::UnknownMessage, 0)), 1));
}

#[test]
fn a_flood_of_descriptions_stays_with_whoever_sends_it() {
    let mut scene = Scene::new();
    let ann = scene.join(person("ann"));
    let offer = proto::RelayDescription { transport: 1, kind: 1, sdp: "v=0".to_owned(), generation: 1, ..Default::default() };
    let passed = |scene: &mut Scene, times: usize| {
        let mut passed = 0;
        for _ in 0..times {
            scene.tell(ann, client_frame::Message::Description(offer.clone()));
            passed += scene.outputs.iter().filter(|output| matches!(output, RoomOutput::PublisherOffer { .. })).count();
        }
        passed
    };
    assert_eq!(passed(&mut scene, 300), 128);
    assert_eq!(scene.error(ann), Some((ErrorCode::Rate, 0)));
    scene.wait(SECOND);
    assert_eq!(passed(&mut scene, 20), 8);
}
