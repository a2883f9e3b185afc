//! Calls in virtual time.

use std::time::Duration;

use segue_model::{Path, Topology, TopologyPolicy, TrackKind, TrackSource};
use segue_session::room::RoomConfig;
use segue_sim::oracle::{self, Oracle};
use segue_sim::world::source::SourceSpec;
use segue_sim::world::{JoinOptions, World, WorldConfig};

const SECOND: Duration = Duration::from_secs(1);

fn microphone() -> SourceSpec {
    SourceSpec { kind: TrackKind::Audio, source: TrackSource::Microphone, fps: 50, kbps: vec![32], dtx: false, muted: false }
}

fn camera() -> SourceSpec {
    SourceSpec { kind: TrackKind::Video, source: TrackSource::Camera, fps: 30, kbps: vec![800, 200], dtx: false, muted: false }
}

fn world(seed: u64) -> World {
    World::new(WorldConfig {
        seed,
        room: RoomConfig { name: "lobby".into(), ..RoomConfig::default() },
        n_loudest: 64,
        record: false,
    })
}

fn join(world: &mut World, name: &str) -> usize {
    let at = world.join(JoinOptions { name: name.into(), policy: TopologyPolicy::Auto, skew_ppm: 0 });
    world.with(at, |node, now| {
        node.publish(now, microphone());
        node.publish(now, camera());
    });
    at
}

fn assert_sound(world: &mut World) {
    Oracle::inspect(world);
    if let Some((at, what)) = world.oracle.verdict() {
        let lines: Vec<_> = world.trace.lines().collect();
        panic!("seed {} at {:?}: {what}\n{}", world.config.seed, *at - world.base, lines.join("\n"));
    }
    let silent = oracle::silences(world, Duration::from_millis(200), Duration::from_millis(400));
    let lines: Vec<_> = world.trace.lines().collect();
    assert!(silent.is_empty(), "seed {}: {silent:#?}\n{}", world.config.seed, lines.join("\n"));
}

fn call(seed: u64, count: usize) -> World {
    let mut world = world(seed);
    for at in 0..count {
        join(&mut world, &format!("n{at}"));
        world.run(Duration::from_millis(333));
    }
    world.run(SECOND * 3);
    world
}

#[test]
fn three_form_a_mesh_and_the_same_seed_gives_the_same_call() {
    let run = |seed| {
        let mut world = call(seed, 3);
        assert_sound(&mut world);
        assert!(world.nodes.iter().all(|node| node.machine.topology() == Topology::Mesh));
        world.run(SECOND * 5);
        assert_sound(&mut world);
        world.trace.hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn the_fifth_moves_the_room_to_the_relay_and_back() {
    let mut world = call(3, 4);
    assert_sound(&mut world);
    join(&mut world, "fifth");
    world.run(SECOND * 5);
    assert_sound(&mut world);
    assert!(world.nodes.iter().all(|node| node.machine.topology() == Topology::Relayed));
    assert!(world.nodes.iter().flat_map(|node| node.machine.path_info()).all(|edge| edge.path == Path::Relayed));
    world.run(SECOND * 30);
    world.with(4, |node, now| node.leave(now));
    world.with(3, |node, now| node.leave(now));
    world.run(SECOND * 13);
    assert_sound(&mut world);
    assert!(world.nodes[..3].iter().all(|node| node.machine.topology() == Topology::Mesh));
}
