//! Words that must change nothing: stale, repeated, forged, and lies.

use std::time::Duration;

use prost::Message as _;
use segue_model::{ParticipantId, Path, TopologyPolicy};
use segue_session::peer::LegKey;
use segue_sim::net::{End, Plane};
use segue_sim::oracle;
use segue_sim::scenario::{Runner, Scenario, What, source};
use segue_sim::world::JoinOptions;
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, client_frame, server_frame};

const SECOND: Duration = Duration::from_secs(1);

/// A room of so many, at rest.
fn room(people: usize, mesh_max: usize) -> Runner {
    let text = format!("name = 'bad input'\nstep = []\n[room]\nmesh_max = {mesh_max}\nmesh_max_audio = {mesh_max}");
    let scenario = Scenario::parse(&text, &|_| None).expect("a scenario without steps");
    let mut runner = Runner::new(&scenario, 7, false);
    for at in 0..people {
        join(&mut runner, &format!("p{at}"));
    }
    runner.pass(SECOND * 3);
    runner
}

fn join(runner: &mut Runner, name: &str) -> usize {
    let at = runner.world.join(JoinOptions { name: name.to_owned(), policy: TopologyPolicy::Auto, skew_ppm: 0 });
    for what in [What::Microphone, What::Camera] {
        runner.world.with(at, |node, now| node.publish(now, source(what)));
    }
    at
}

fn id(runner: &Runner, at: usize) -> ParticipantId {
    runner.world.nodes[at].machine.local().expect("joined")
}

fn signal(from: ParticipantId, to: ParticipantId, number: u64, body: Body) -> proto::Signal {
    let body = proto::SignalBody { body: Some(body) }.encode_to_vec();
    proto::Signal { from: from.0, to: to.0, number, body }
}

fn epoch(incarnation: u64, counter: u64) -> Option<proto::Epoch> {
    Some(proto::Epoch { incarnation, counter })
}

fn commit(epoch: Option<proto::Epoch>, path: proto::Path) -> Body {
    Body::EdgeCommit(proto::EdgeCommit { epoch, path: path.into(), reason: "forged".to_owned() })
}

fn settle(runner: &mut Runner) {
    runner.pass(SECOND * 2);
    runner.verdict().expect("every oracle kept");
    let silent = oracle::silences(&runner.world, Duration::from_millis(300), Duration::from_millis(600));
    assert!(silent.is_empty(), "{silent:?}");
}

fn paths(runner: &Runner, at: usize) -> Vec<Path> {
    runner.world.nodes[at].machine.path_info().iter().map(|edge| edge.path).collect()
}

#[test]
fn words_between_participants_that_are_stale_repeated_or_forged_are_counted_and_change_nothing() {
    let mut runner = room(3, 4);
    let (victim, liar, other) = (id(&runner, 0), id(&runner, 1), id(&runner, 2));
    let before = (paths(&runner, 0), runner.world.nodes[0].machine.dropped());
    let ready = Body::EdgeReady(proto::EdgeReady { epoch: epoch(9, 9), path: proto::Path::Relayed.into() });
    let stale = signal(liar, victim, 1_000_000, commit(epoch(1, 4), proto::Path::Relayed));
    let forged = [
        // A publisher's own word on its own edge, which makes the next one stale.
        signal(liar, victim, 999_999, commit(epoch(1, 5), proto::Path::Direct)),
        stale.clone(),
        // Again, as it was.
        stale,
        // In another's name, and for another.
        signal(other, victim, 1_000_001, commit(epoch(9, 9), proto::Path::Relayed)),
        signal(liar, other, 1_000_002, commit(epoch(9, 9), proto::Path::Relayed)),
        // Ready for what was never prepared.
        signal(liar, victim, 1_000_003, ready),
        proto::Signal { from: liar.0, to: victim.0, number: 1_000_004, body: vec![0xff; 9] },
    ];
    runner.world.with(0, |node, now| {
        for signal in forged {
            node.machine.handle_peer_signal(now, liar, signal);
        }
        // From somebody who is not there.
        let nobody = ParticipantId(77);
        node.machine.handle_peer_signal(now, nobody, signal(nobody, victim, 1, commit(epoch(9, 9), proto::Path::Relayed)));
    });
    let after = runner.world.nodes[0].machine.dropped();
    assert_eq!(paths(&runner, 0), before.0);
    assert!(after.stale >= before.1.stale + 2 && after.repeated > before.1.repeated, "{after:?}");
    assert_eq!((after.foreign, after.malformed), (before.1.foreign + 3, before.1.malformed + 1));
    settle(&mut runner);
}

#[test]
fn stale_decisions_of_the_relay_change_nothing() {
    let mut runner = room(3, 4);
    let topology = runner.world.nodes[0].machine.topology();
    let stale = runner.world.nodes[0].machine.dropped().stale;
    let (target, reason) = (proto::Topology::Relayed.into(), "old".to_owned());
    let words = [
        server_frame::Message::TopologyPrepare(proto::TopologyPrepare { epoch: epoch(0, 9), target, reason: reason.clone() }),
        server_frame::Message::TopologyCommit(proto::TopologyCommit {
            epoch: epoch(1, 0),
            topology: target,
            reason: reason.clone(),
        }),
        server_frame::Message::TopologyAbort(proto::TopologyAbort { epoch: None, topology: target, reason }),
    ];
    runner.world.with(0, |node, now| {
        for message in words {
            node.machine.handle_server(now, proto::ServerFrame { seq: 0, ack: 0, message: Some(message) });
        }
    });
    let machine = &runner.world.nodes[0].machine;
    assert_eq!((machine.topology(), machine.dropped().stale), (topology, stale + 3));
    settle(&mut runner);
}

#[test]
fn a_word_on_an_edge_of_nobodys_moves_nothing_and_somebody_elses_edges_cannot_be_named() {
    let mut runner = room(3, 4);
    let (liar, other) = (id(&runner, 1), id(&runner, 2));
    let word = |subscriber: u32| {
        let path = proto::Path::Relayed.into();
        client_frame::Message::EdgePath(proto::EdgePath {
            epoch: None,
            subscriber,
            path,
            reason: "lie".to_owned(),
            voice_only: false,
            // Nobody's, and an encoding that none has.
            direct: vec![proto::TrackEncoding { track: 99, encoding: 0 }, proto::TrackEncoding { track: 1, encoding: 9 }],
        })
    };
    let now = runner.world.now;
    // An edge is named by its subscriber alone: the publisher is who says it.
    runner.world.relay.room.handle_message(now, liar, 1, Some(word(other.0)));
    runner.world.relay.room.handle_message(now, liar, 2, Some(word(liar.0)));
    runner.world.relay.room.handle_message(now, liar, 3, Some(word(99)));
    runner.world.relay.room.handle_message(now, ParticipantId(99), 4, Some(word(other.0)));
    assert_eq!(paths(&runner, 0), paths(&runner, 2));
    settle(&mut runner);
    assert!(paths(&runner, 0).iter().all(|path| *path == Path::Direct));
}

#[test]
fn a_liar_about_readiness_harms_its_own_edges_only() {
    let mut runner = room(4, 4);
    let liar = id(&runner, 0);
    // It cannot hear the relay, and says of everything that it does.
    runner.world.net.block(Plane::Media, End::Relay, End::Host(0), true);
    join(&mut runner, "late");
    let mut number = 1_000_000;
    for _ in 0..150 {
        for at in 1..4 {
            let publisher = id(&runner, at);
            for counter in 1..8 {
                number += 1;
                let ready = proto::EdgeReady { epoch: epoch(1, counter), path: proto::Path::Relayed.into() };
                let lie = signal(liar, publisher, number, Body::EdgeReady(ready));
                runner.world.with(at, |node, now| node.machine.handle_peer_signal(now, liar, lie));
            }
        }
        runner.pass(Duration::from_millis(20));
        let silent = oracle::silences(&runner.world, Duration::from_millis(200), SECOND * 9);
        let honest = silent.iter().find(|line| !line.contains("p0") && !line.contains("late"));
        assert_eq!(honest, None);
    }
    runner.pass(SECOND * 4);
    runner.verdict().expect("every oracle kept");
    let silent = oracle::silences(&runner.world, Duration::from_millis(300), SECOND);
    assert!(!silent.iter().any(|line| !line.contains("p0")), "{silent:?}");
    let honest = &runner.world.nodes[1].machine;
    let moved = honest
        .path_info()
        .iter()
        .filter(|edge| edge.edge.publisher != liar && edge.edge.subscriber != liar)
        .all(|edge| edge.path == Path::Relayed);
    assert!(moved);
}

#[test]
fn a_relay_whose_clock_was_set_back_takes_a_term_above_the_one_that_is_reported() {
    let mut runner = room(3, 2);
    let before = runner.world.relay.room.term();
    runner.world.kill(End::Relay);
    runner.pass(SECOND * 2);
    // Restarting adds one: it would be what it was.
    runner.world.relay.incarnation = before - 1;
    runner.world.restart_relay();
    runner.pass(SECOND * 12);
    assert!(runner.world.relay.room.term() > before, "{} after {before}", runner.world.relay.room.term());
    settle(&mut runner);
    assert!(runner.world.nodes[0].legs.contains_key(&LegKey::RelayPublisher));
}
