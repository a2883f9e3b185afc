//! What must hold at every step, whatever happens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use segue_forward::Transmit;
use segue_media::packet::RtpPacket;
use segue_model::{ExtSeq, SeqUnwrapper, Ssrc};
use segue_session::carrier::{MAX_UNACKNOWLEDGED, MAX_UNACKNOWLEDGED_BYTES};
use segue_wire::proto::{self, server_frame};

use crate::net::End;
use crate::trace::Trace;
use crate::world::World;
use crate::world::relay::{Relay, Word};

/// Turns of one process at one time; more means that time stands still.
const MAX_TURNS: u32 = 5_000;

/// Reasons that exempt a handover from the limit: a failure asked for it.
const FAILURES: [&str; 1] = ["two direct paths of a participant failed"];

/// Numbers of a stream that are looked back at: what is below counts as used.
const LOOK_BACK: u64 = 8_192;

/// Which of the last numbers of a stream were used.
#[derive(Debug, Default)]
struct Used {
    bits: Vec<u64>,
    /// One above the highest.
    next: u64,
}

impl Used {
    /// Whether it was not used before.
    fn insert(&mut self, number: u64) -> bool {
        self.bits.resize((LOOK_BACK / 64) as usize, 0);
        if number + LOOK_BACK < self.next {
            return false;
        }
        if number >= self.next {
            let first = if self.next == 0 { number } else { self.next.max(number.saturating_sub(LOOK_BACK - 1)) };
            (first..=number).for_each(|passed| self.bits[(passed % LOOK_BACK / 64) as usize] &= !(1 << (passed % 64)));
            self.next = number + 1;
        }
        let word = &mut self.bits[(number % LOOK_BACK / 64) as usize];
        let fresh = *word & (1 << (number % 64)) == 0;
        *word |= 1 << (number % 64);
        fresh
    }
}

/// Watches a world.
#[derive(Debug, Default)]
pub struct Oracle {
    broken: Option<(Instant, String)>,
    /// The last number of each stream.
    sequences: HashMap<(u64, Ssrc), (SeqUnwrapper, ExtSeq)>,
    /// The numbers the relay used on each stream, as far as they could be used again.
    transmitted: HashMap<(u64, Ssrc), Used>,
    /// What each epoch was said to be.
    epochs: BTreeMap<(u64, u64), i32>,
    /// Epochs of the relay's words so far.
    decisions: BTreeSet<(u64, u64)>,
    words_seen: usize,
    last_handover: Option<Instant>,
    /// Handovers that began, with their times.
    pub handovers: Vec<(Instant, i32)>,
    turns: HashMap<End, (Instant, u32)>,
    /// Reliable messages by the name of who sent them.
    pub sent: BTreeMap<String, Vec<u64>>,
}

impl Oracle {
    /// Something does not hold.
    pub fn fail(&mut self, now: Instant, what: String) {
        self.broken.get_or_insert((now, what));
    }

    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    #[must_use]
    pub fn verdict(&self) -> Option<&(Instant, String)> {
        self.broken.as_ref()
    }

    pub fn note_sent(&mut self, name: &str, number: u64) {
        self.sent.entry(name.to_owned()).or_default().push(number);
    }

    /// Numbers of a leg's stream only grow.
    pub fn check_sequence(&mut self, now: Instant, session: u64, packet: &RtpPacket) {
        let key = (session, packet.header.ssrc);
        let fresh = || (SeqUnwrapper::default(), ExtSeq(0));
        let (unwrapper, last) = self.sequences.entry(key).or_insert_with(fresh);
        let number = unwrapper.unwrap(packet.header.sequence);
        if number <= *last {
            let what = format!("stream {} sent {} after {}", packet.header.ssrc, number.0, last.0);
            self.fail(now, what);
        } else {
            *last = number;
        }
    }

    /// The relay uses no number of a stream twice: late packets go into places that were left for them.
    pub fn check_transmit(&mut self, now: Instant, session: u64, transmit: &Transmit) {
        let used = self.transmitted.entry((session, transmit.ssrc)).or_default();
        if !used.insert(transmit.index.0) {
            let what = format!("the relay sealed {} of {} twice", transmit.index.0, transmit.ssrc);
            self.fail(now, what);
        }
    }

    /// No two topologies in one epoch.
    pub fn check_frame(&mut self, now: Instant, frame: &proto::ServerFrame) {
        let commit = match &frame.message {
            Some(server_frame::Message::TopologyCommit(commit)) => commit,
            Some(server_frame::Message::Joined(joined)) => match &joined.topology {
                Some(commit) => commit,
                None => return,
            },
            _ => return,
        };
        let epoch = commit.epoch.unwrap_or_default();
        let known = *self.epochs.entry((epoch.incarnation, epoch.counter)).or_insert(commit.topology);
        if known != commit.topology {
            self.fail(now, format!("epoch {epoch:?} is {known} and {}", commit.topology));
        }
    }

    /// The relay's own words: at most one handover in its interval, except after failures.
    pub fn check_relay(&mut self, now: Instant, relay: &mut Relay, trace: &mut Trace) {
        for failure in relay.failures.drain(..) {
            self.fail(now, failure);
        }
        if relay.words.len() < self.words_seen {
            self.words_seen = relay.words.len();
        }
        let news: Vec<_> = relay.words.iter().skip(self.words_seen).cloned().collect();
        self.words_seen = relay.words.len();
        for (at, word) in news {
            trace.line(at, || format!("room: {word:?}"));
            let epoch = match &word {
                Word::Prepare { epoch, .. } | Word::Commit { epoch, .. } => (epoch.incarnation, epoch.counter),
                Word::Abort { .. } => continue,
            };
            // What a newcomer is told of a move under way is no new one.
            let fresh = self.decisions.insert(epoch);
            let Word::Prepare { target, reason, live, .. } = word else { continue };
            if !live || !fresh {
                continue;
            }
            let exempt = FAILURES.contains(&reason.as_str());
            let interval = relay.config.topology.handover_interval;
            if !exempt && self.last_handover.is_some_and(|last| at < last + interval) {
                self.fail(at, format!("a handover ({reason}) within {interval:?} of another"));
            }
            self.last_handover = Some(at);
            self.handovers.push((at, target));
        }
    }

    /// Another process decides now: what its predecessor did does not bind it.
    pub fn forget_relay(&mut self) {
        self.last_handover = None;
    }

    /// A process that is always due stops time.
    pub fn check_progress(&mut self, now: Instant, end: End, wake: Option<Instant>) {
        let turns = self.turns.entry(end).or_insert((now, 0));
        if turns.0 != now {
            *turns = (now, 0);
        }
        turns.1 += 1;
        if turns.1 > MAX_TURNS {
            self.fail(now, format!("{end:?} is woken at {wake:?} again and again"));
        }
    }

    /// What is too dear to look at with every packet.
    pub fn inspect(world: &mut World) {
        let now = world.now;
        let mut found = Vec::new();
        for (at, node) in world.nodes.iter().enumerate() {
            for (track, remote) in &node.remotes {
                if remote.played.doubled > 0 {
                    found.push(format!("{} played something of {track} twice or out of order", node.name));
                }
            }
            for (key, leg) in &node.legs {
                if leg.waiting() > segue_media::pacer::MAX_BYTES.as_bytes() {
                    found.push(format!("{}: {} bytes wait on {key:?}", node.name, leg.waiting()));
                }
            }
            if let Some(problem) = world.oracle.messages_of(at, world) {
                found.push(problem);
            }
        }
        for (id, (messages, bytes)) in world.relay.unacknowledged() {
            if messages > MAX_UNACKNOWLEDGED || bytes > MAX_UNACKNOWLEDGED_BYTES {
                found.push(format!("the relay holds {messages} messages of {bytes} bytes for {id}"));
            }
        }
        for what in found {
            world.oracle.fail(now, what);
        }
    }

    /// Messages come once and in order.
    fn messages_of(&self, at: usize, world: &World) -> Option<String> {
        let node = &world.nodes[at];
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (from, number) in &node.messages {
            if let Some(before) = last.insert(from, *number)
                && *number != before + 1
            {
                return Some(format!("{} got message {number} of {from} after {before}", node.name));
            }
        }
        None
    }
}

/// How long after the last fault everybody must hear and see everybody.
pub const LIVENESS: Duration = Duration::from_secs(25);

/// What both ends of an edge take it for, and what came of its tracks: for whoever looks into a failure.
#[must_use]
pub fn explain(world: &World, listener: usize, speaker: usize) -> String {
    let (to, from) = (&world.nodes[listener], &world.nodes[speaker]);
    let mut said = Vec::new();
    for node in [from, to] {
        let ends = (from.machine.local(), to.machine.local());
        let edges = node.machine.path_info();
        let edge = edges.iter().find(|edge| (Some(edge.edge.publisher), Some(edge.edge.subscriber)) == ends);
        said.push(edge.map_or_else(
            || format!("{} knows no such edge", node.name),
            |edge| {
                let (active, moving) =
                    (if edge.active { "" } else { ", not active" }, if edge.moving { ", moving" } else { "" });
                format!("{} says {:?} ({}{active}{moving})", node.name, edge.path, edge.reason)
            },
        ));
    }
    for track in from.publications.keys() {
        let (last, counts) = (to.remotes.get(track).map(|remote| remote.played.count), to.receiver.stats(*track));
        let sent = from.publications[track].routes.iter().map(|route| route.leg).collect::<Vec<_>>();
        said.push(format!("{track} goes to {sent:?}, {last:?} frames played, {:?}", counts.map(|counts| counts.packets)));
    }
    said.join("; ")
}

/// Names of those who do not hear or see what they should.
#[must_use]
pub fn silences(world: &World, hearing: Duration, seeing: Duration) -> BTreeSet<String> {
    use segue_model::TrackKind;
    let mut silent = BTreeSet::new();
    let present: Vec<usize> = (0..world.nodes.len()).filter(|at| world.is_present(*at)).collect();
    for &at in &present {
        let node = &world.nodes[at];
        let local = node.clock.local(world.now);
        for &other in present.iter().filter(|other| **other != at) {
            let publisher = &world.nodes[other];
            for (track, publication) in publisher.publications.iter().filter(|(_, publication)| !publication.spec.muted) {
                let limit = if publication.spec.kind == TrackKind::Audio { hearing } else { seeing };
                if publication.spec.dtx {
                    continue;
                }
                let last = node.remotes.get(track).and_then(|remote| remote.played.last);
                let age = last.map(|last| local.saturating_duration_since(last.at));
                if age.is_none_or(|age| age > limit) {
                    silent.insert(format!(
                        "{} gets nothing of {}'s {:?} ({age:?})",
                        node.name, publisher.name, publication.spec.kind
                    ));
                }
            }
        }
    }
    silent
}
