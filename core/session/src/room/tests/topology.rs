//! Who decides to move, and when.

use super::*;

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
fn who_lies_about_its_legs_moves_nobody() {
    let (mut scene, people) = Scene::mesh(3);
    let report = |peer: u32, state: proto::LinkState| {
        client_frame::Message::LinkReport(proto::LinkReport { peer, state: state.into(), ..Default::default() })
    };
    for (from, to) in [(1, 0), (1, 2), (2, 0), (2, 1)] {
        scene.tell(people[from], report(people[to].0, proto::LinkState::Up));
    }
    for peer in [people[1].0, people[2].0, 777, 778, people[0].0] {
        scene.tell(people[0], report(peer, proto::LinkState::Failed));
    }
    scene.wait(SECOND * 60);
    assert_eq!(scene.room.ignored(), 3);
    assert_eq!(scene.room.topology(), Topology::Mesh);
    // Where both ends say so it is true.
    for from in [1, 2] {
        scene.tell(people[from], report(people[0].0, proto::LinkState::Failed));
    }
    scene.wait(3 * SECOND);
    assert_eq!(scene.topology_words(people[1]), ["prepare Relayed"]);
}
