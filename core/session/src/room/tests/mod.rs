use std::time::{Duration, Instant};

use segue_model::{EncodingId, ParticipantId, Quality, Topology, TrackId};
use segue_wire::proto::{self, ErrorCode, LeaveReason, client_frame, server_frame};

use super::*;

mod limits;
mod topology;

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
fn closing_says_the_same_to_all() {
    let (mut scene, people) = Scene::mesh(3);
    scene.room.close(&proto::Goodbye { reason: LeaveReason::Shutdown.into(), retry_after_ms: 1000, ..Default::default() });
    scene.drain();
    assert_eq!(scene.ended().len(), 3);
    assert_eq!(scene.sent(people[0]).count(), 0);
    assert!(scene.room.is_empty());
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
