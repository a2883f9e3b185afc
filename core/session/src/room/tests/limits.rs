//! What nobody may do to the others, however often it is tried.

use super::*;

#[test]
fn one_speaks_before_a_hundred_without_a_word_in_the_configuration() {
    let mut scene = Scene::with(RoomConfig::default());
    for number in 0..=100 {
        scene.join(person(&format!("person {number}")));
    }
    assert_eq!(scene.room.len(), 101);
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
