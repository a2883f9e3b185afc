use std::time::Duration;

use segue_model::{Path, Topology, TopologyPolicy};

use super::super::*;
use super::world::World;

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// So many participants, a third of a second apart, and time for their legs.
    fn call(seed: u64, count: usize) -> Self {
        let mut world = Self::new(seed);
        for at in 0..count {
            world.join(&format!("n{at}"));
            world.run(Duration::from_millis(333));
        }
        world.run(SECOND * 2);
        world
    }

    fn paths(&self) -> Vec<(Edge, Path, bool, bool)> {
        let infos = self.nodes.iter().flat_map(|node| node.machine.path_info());
        infos.map(|info| (info.edge, info.path, info.active, info.moving)).collect()
    }

    /// Every edge in the eyes of both its ends.
    fn assert_all(&self, path: Path) {
        let wrong: Vec<_> =
            self.paths().into_iter().filter(|(_, is, active, moving)| *is != path || !active || *moving).collect();
        assert!(wrong.is_empty(), "not settled on {path:?}: {wrong:?}");
        let count = self.nodes.iter().filter(|node| node.machine.local().is_some()).count();
        assert_eq!(self.paths().len(), 2 * count * (count - 1));
    }

    /// Numbers missing between the first and the last packet heard of any track.
    fn assert_nothing_missing(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            for (track, numbers) in &node.heard {
                let span = numbers.last().unwrap() - numbers.first().unwrap() + 1;
                let missing: Vec<_> =
                    (*numbers.first().unwrap()..*numbers.last().unwrap()).filter(|n| !numbers.contains(n)).collect();
                assert_eq!(span as usize, numbers.len(), "node {at} misses of {track}: {missing:?}");
            }
        }
    }

    fn assert_everybody_hears_everybody(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(local) = node.machine.local() else { continue };
            for other in node.machine.participants() {
                for track in node.machine.tracks(other.id) {
                    let last = node.last_heard.get(&track.id);
                    let silence = last.map(|last| self.now - *last);
                    assert!(
                        silence.is_some_and(|silence| silence < SECOND / 10),
                        "{local} (node {at}) does not hear {}: {silence:?}",
                        track.id
                    );
                }
            }
        }
    }

    fn longest_silence(&self) -> Duration {
        self.nodes.iter().flat_map(|node| node.silence.values().copied()).max().unwrap_or_default()
    }

    fn forget_silence(&mut self) {
        for node in &mut self.nodes {
            node.silence.clear();
        }
    }

    fn topologies(&self, node: usize) -> Vec<(Topology, Topology)> {
        let change = |event: &PeerEvent| match event {
            PeerEvent::TopologyChanged { from, to, .. } => Some((*from, *to)),
            _ => None,
        };
        self.nodes[node].events.iter().filter_map(change).collect()
    }
}

#[test]
fn three_form_a_mesh() {
    for seed in 0..8 {
        let world = World::call(seed, 3);
        world.assert_all(Path::Direct);
        world.assert_everybody_hears_everybody();
        world.assert_nothing_missing();
        assert!(world.nodes.iter().all(|node| node.machine.topology() == Topology::Mesh));
    }
}

#[test]
fn the_fifth_moves_the_room_to_the_relay_and_back_without_a_missing_packet() {
    for seed in 0..4 {
        let mut world = World::call(seed, 4);
        world.assert_all(Path::Direct);
        world.join("fifth");
        world.run(SECOND * 3);
        world.assert_all(Path::Relayed);
        world.assert_everybody_hears_everybody();
        world.assert_nothing_missing();
        assert_eq!(world.topologies(0), [(Topology::Mesh, Topology::Relayed)]);
        world.run(SECOND * 30);
        world.with(4, |machine, now| machine.leave(now));
        // Three are below the threshold by one for ten seconds.
        world.with(3, |machine, now| machine.leave(now));
        world.run(SECOND * 13);
        world.assert_all(Path::Direct);
        world.assert_everybody_hears_everybody();
        world.assert_nothing_missing();
        assert_eq!(world.topologies(0).last(), Some(&(Topology::Relayed, Topology::Mesh)));
    }
}

#[test]
fn a_relay_that_dies_is_replaced_by_direct_paths_within_a_second() {
    for seed in 0..4 {
        let mut world = World::call(seed, 5);
        world.run(SECOND * 2);
        world.assert_all(Path::Relayed);
        world.forget_silence();
        world.kill_relay();
        world.run(SECOND * 3);
        world.assert_all(Path::Direct);
        world.assert_everybody_hears_everybody();
        assert!(world.longest_silence() < SECOND, "silent for {:?}", world.longest_silence());
        assert_eq!(world.nodes[0].machine.topology(), Topology::Mesh);
        assert_eq!(world.nodes[0].machine.state(), &ConnectionState::Reconnecting);
        // Data goes on.
        world.with(0, |machine, now| machine.send_data(now, "chat", "hello".into())).unwrap();
        world.run(SECOND);
        let got = |event: &PeerEvent| matches!(event, PeerEvent::DataReceived { topic, .. } if topic == "chat");
        assert!((1..5).all(|node| world.nodes[node].events.iter().filter(|event| got(event)).count() == 1));
        // It comes back and knows nobody: the same ids, the same tracks, and the room goes where it belongs.
        let ids: Vec<_> = (0..5).map(|node| world.id(node)).collect();
        world.restart_relay();
        world.run(SECOND * 15);
        assert_eq!(ids, (0..5).map(|node| world.id(node)).collect::<Vec<_>>());
        world.assert_all(Path::Relayed);
        world.assert_everybody_hears_everybody();
        let lost = |event: &PeerEvent| matches!(event, PeerEvent::ParticipantLeft { .. } | PeerEvent::TrackUnpublished { .. });
        assert!(world.nodes.iter().all(|node| !node.events.iter().any(lost)));
    }
}

#[test]
fn a_pair_that_cannot_connect_goes_by_the_relay_alone() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.cut.insert((0, 1));
        for name in ["a", "b", "c"] {
            world.join(name);
        }
        world.run(SECOND * 6);
        world.assert_everybody_hears_everybody();
        let (a, b) = (world.id(0), world.id(1));
        for (edge, path, active, _) in world.paths() {
            let cut = [edge.publisher, edge.subscriber] == [a, b] || [edge.publisher, edge.subscriber] == [b, a];
            assert_eq!(path, if cut { Path::Relayed } else { Path::Direct }, "{edge:?}");
            assert!(active);
        }
        assert_eq!(world.nodes[2].machine.topology(), Topology::Mixed);
    }
}

#[test]
fn an_edge_that_dies_is_on_the_relay_within_a_second_and_comes_back() {
    for seed in 0..4 {
        let mut world = World::call(seed, 3);
        world.forget_silence();
        world.cut.insert((0, 2));
        world.run(SECOND * 2);
        world.assert_everybody_hears_everybody();
        assert!(world.longest_silence() < SECOND, "silent for {:?}", world.longest_silence());
        let moved = world.paths().into_iter().filter(|(_, path, ..)| *path == Path::Relayed).count();
        assert_eq!(moved, 4, "two edges in the eyes of two");
        world.cut.clear();
        world.run(SECOND * 90);
        world.assert_all(Path::Direct);
    }
}

#[test]
fn one_who_cannot_reach_the_relay_stays_direct_and_the_others_move() {
    let mut world = World::new(3);
    world.cut_from_relay.insert(1);
    for name in ["a", "b", "c", "d"] {
        world.join(name);
    }
    world.run(SECOND * 3);
    world.assert_all_direct_but_inactive_relay();
    world.join("e");
    world.run(SECOND * 20);
    let b = world.id(1);
    for (edge, path, _, _) in world.paths() {
        let with_b = edge.publisher == b || edge.subscriber == b;
        assert_eq!(path, if with_b { Path::Direct } else { Path::Relayed }, "{edge:?}");
    }
    world.assert_everybody_hears_everybody();
    world.assert_nothing_missing();
}

impl World {
    fn assert_all_direct_but_inactive_relay(&self) {
        assert!(self.paths().iter().all(|(_, path, active, _)| *path == Path::Direct && *active));
    }
}

#[test]
fn a_dropped_socket_resumes_and_misses_nothing() {
    for seed in 0..4 {
        let mut world = World::call(seed, 3);
        world.drop_socket(1);
        world.cut_signalling.insert(1);
        world.run(SECOND * 3);
        assert_eq!(world.nodes[1].machine.state(), &ConnectionState::Reconnecting);
        // Somebody joins and leaves meanwhile; muting reaches the others over data channels.
        world.join("late");
        let audio = world.nodes[1].machine.tracks(world.id(1))[0].id;
        world.with(1, |machine, now| machine.set_muted(now, audio, true));
        world.run(SECOND);
        let muted = |event: &PeerEvent| matches!(event, PeerEvent::TrackMuted { track, muted: true, .. } if *track == audio);
        assert!(world.nodes[0].events.iter().any(muted));
        world.cut_signalling.clear();
        world.run(SECOND * 8);
        assert_eq!(world.nodes[1].machine.state(), &ConnectionState::Connected);
        assert_eq!(world.nodes[1].machine.participants().len(), 3);
        world.assert_all(Path::Direct);
        assert!(world.longest_silence() < SECOND / 5);
        let joined = |event: &PeerEvent| matches!(event, PeerEvent::Joined { .. });
        assert_eq!(world.nodes[1].events.iter().filter(|event| joined(event)).count(), 1, "resumed, not joined anew");
    }
}

#[test]
fn signals_that_come_twice_are_handled_once() {
    let mut world = World::new(5);
    world.double_signals = true;
    for at in 0..4 {
        world.join(&format!("n{at}"));
        world.run(SECOND / 3);
    }
    world.run(SECOND * 2);
    for number in 0..50u8 {
        world.with(0, |machine, now| machine.send_data(now, "n", vec![number].into())).unwrap();
        world.run(Duration::from_millis(7));
    }
    world.join("fifth");
    world.run(SECOND * 3);
    world.assert_all(Path::Relayed);
    world.assert_nothing_missing();
    for node in 1..4 {
        let payloads: Vec<u8> = world.nodes[node]
            .events
            .iter()
            .filter_map(|event| match event {
                PeerEvent::DataReceived { payload, .. } => Some(payload[0]),
                _ => None,
            })
            .collect();
        assert_eq!(payloads, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn who_hides_its_address_has_no_direct_leg() {
    let mut world = World::new(7);
    world.join("a");
    world.join_with("hidden", TopologyPolicy::HideAddress);
    world.join("c");
    world.run(SECOND * 4);
    world.assert_everybody_hears_everybody();
    let hidden = world.id(1);
    for (edge, path, ..) in world.paths() {
        if edge.publisher == hidden || edge.subscriber == hidden {
            assert_eq!(path, Path::Relayed);
        }
    }
    assert_eq!(world.direct_legs(1), 0);
}

#[test]
fn everybody_away_from_the_relay_for_long_keeps_the_call() {
    let mut world = World::call(11, 3);
    world.kill_relay();
    world.run(SECOND * 120);
    world.assert_everybody_hears_everybody();
    assert!(world.nodes.iter().all(|node| node.machine.participants().len() == 2));
    // One that dies now is noticed by its silence alone.
    world.with(2, |machine, now| machine.leave(now));
    world.run(SECOND);
    assert!((0..2).all(|node| world.nodes[node].machine.participants().len() == 1));
}

#[test]
fn joins_and_leaves_in_every_state_lose_nobody() {
    for seed in 0..12u64 {
        let mut world = World::call(seed, 4);
        world.join("fifth");
        world.run(Duration::from_millis(20 * seed));
        world.with((seed % 4) as usize, |machine, now| machine.leave(now));
        world.run(Duration::from_millis(15 * seed));
        world.join("sixth");
        world.run(SECOND * 45);
        world.assert_everybody_hears_everybody();
        let expected = world.nodes.iter().filter(|node| node.machine.local().is_some()).count();
        assert_eq!(expected, 5);
    }
}

#[test]
fn loss_neither_stops_a_move_nor_causes_one() {
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.loss_permille = 50;
        for at in 0..4 {
            world.join(&format!("n{at}"));
        }
        world.run(SECOND * 20);
        world.assert_all(Path::Direct);
        world.join("fifth");
        world.run(SECOND * 4);
        world.assert_all(Path::Relayed);
        assert_eq!(world.topologies(0), [(Topology::Mesh, Topology::Relayed)]);
    }
}

#[test]
fn a_relay_that_dies_in_overlap_leaves_everybody_where_they_were() {
    for seed in 0..12u64 {
        let mut world = World::call(seed, 4);
        world.forget_silence();
        world.join("fifth");
        world.run(Duration::from_millis(60 + 15 * seed));
        world.kill_relay();
        world.run(SECOND * 4);
        assert!(world.longest_silence() < SECOND, "silent for {:?}", world.longest_silence());
        for node in 0..4 {
            let heard = world.nodes[node].last_heard.values().filter(|last| world.now - **last < SECOND / 10).count();
            assert!(heard >= 6, "node {node} hears {heard} tracks of the three others");
        }
    }
}

#[test]
fn whoever_comes_while_the_room_moves_counts_on_the_path_the_others_count_on() {
    for wait in [0, 20, 40, 60, 80, 120, 200] {
        let mut world = World::call(3, 4);
        world.join("fifth");
        world.run(Duration::from_millis(wait));
        world.join("sixth");
        world.run(SECOND * 4);
        world.assert_all(Path::Relayed);
        world.assert_everybody_hears_everybody();
        world.assert_nothing_missing();
    }
}
