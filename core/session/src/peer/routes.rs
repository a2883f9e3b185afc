//! Which legs each of our tracks is sent on: the union of what our edges need.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use segue_model::{EncodingId, Path, Quality, TrackId, TrackKind};

use super::{Command, LegKey, PeerMachine, RouteLeg, SectionPlan, TrackInfo};
use crate::handover::{LAGGARD, NEWCOMER_HOLD, Outgoing};

impl PeerMachine {
    /// Computes every route and tells the shell of those that changed.
    pub(super) fn route(&mut self, now: Instant) {
        let mut routes = BTreeMap::new();
        let mut video = self.video_indices().start;
        let moves = self.moves_to_relay();
        for track in self.publications.values() {
            let index = if track.kind == TrackKind::Video { video } else { 0 };
            routes.insert(track.id, self.route_of(now, track, index, moves));
            video += u32::from(track.kind == TrackKind::Video);
        }
        let shrunk: Vec<_> = routes.iter().filter_map(|(track, legs)| Some((*track, self.shrinks_to(*track, legs)?))).collect();
        for (track, encoding) in shrunk {
            self.make_keyframe(now, track, encoding);
        }
        for (track, legs) in &routes {
            if self.routes.get(track) != Some(legs) {
                self.commands.push_back(Command::Route { track: *track, legs: legs.clone() });
            }
        }
        for track in self.routes.keys().filter(|track| !routes.contains_key(track)) {
            self.commands.push_back(Command::Route { track: *track, legs: Vec::new() });
        }
        self.routes = routes;
        self.largest.retain(|(track, leg), _| self.publications.contains_key(track) && self.legs.contains_key(leg));
    }

    /// The encoding that takes the place of a larger one, which the relay no longer gets: those who had that one need a keyframe of this.
    fn shrinks_to(&self, track: TrackId, legs: &[RouteLeg]) -> Option<EncodingId> {
        let before = RouteLeg::largest_relayed(self.routes.get(&track)?)?;
        RouteLeg::largest_relayed(legs).filter(|largest| before < *largest)
    }

    /// `moves`: an edge of ours is to be on the relay and is not yet.
    fn route_of(&self, now: Instant, track: &TrackInfo, index: u32, moves: bool) -> Vec<RouteLeg> {
        let mut relay = RelayUse::default();
        let mut moving = false;
        let mut direct = Vec::new();
        for (&id, remote) in &self.remotes {
            let carries = |path| match track.kind {
                TrackKind::Audio => remote.out.carries(path),
                TrackKind::Video => remote.out.carries_video(now, path, index),
            };
            if carries(Path::Relayed) {
                relay.note(now, &remote.out, track, moves);
            }
            moving |= remote.out.in_overlap();
            let quality = remote.wishes.get(&track.id).copied().unwrap_or_default();
            if carries(Path::Direct) && quality != Quality::Off && self.leg_is_open(LegKey::Peer(id)) {
                direct.push((LegKey::Peer(id), quality, remote.out.is_thinned(now, index), remote.out.in_overlap()));
            }
        }
        let mut legs = self.direct_routes(track, direct, moving);
        if self.legs.contains_key(&LegKey::RelayPublisher) {
            legs.splice(0..0, self.relay_route(track, relay, moving, &legs));
        }
        legs
    }

    /// Direct legs share one encoding: the largest any of them wants. While an edge moves that is the one in use.
    fn direct_routes(&self, track: &TrackInfo, direct: Vec<(LegKey, Quality, bool, bool)>, moving: bool) -> Vec<RouteLeg> {
        let best = direct.iter().map(|(_, quality, ..)| *quality).max().unwrap_or_default();
        let in_use = self.routes.get(&track.id).into_iter().flatten().flat_map(|leg| &leg.encodings).min().copied();
        let wanted = continuity(best, track.encodings.len());
        let shared = in_use.filter(|_| moving).map_or(wanted, |in_use| in_use.max(wanted));
        let video = track.kind == TrackKind::Video;
        let route = |(leg, _, thinned, doubled)| {
            let before = self.encodings_on(track.id, leg).first().copied();
            let encoding = if moving { before.unwrap_or(shared) } else { shared.max(self.largest(track.id, leg)) };
            RouteLeg {
                leg,
                encodings: video.then_some(encoding).into_iter().collect(),
                ladder: encodings(track).into_iter().filter(|encoding| *encoding >= wanted).collect(),
                max_temporal: (thinned && video).then_some(0),
                doubled,
            }
        };
        direct.into_iter().map(route).collect()
    }

    /// What goes to the relay beside `direct`; one copy for all.
    fn relay_route(&self, track: &TrackInfo, relay: RelayUse, moving: bool, direct: &[RouteLeg]) -> Option<RouteLeg> {
        let all = encodings(track);
        let in_direct_use = || direct.iter().flat_map(|leg| leg.encodings.iter().copied());
        let (encodings, max_temporal) = if relay.counted_on {
            let carried = if moving && !direct.is_empty() {
                // In overlap the relay gets what is in direct use, and what it has already; the others follow after the commits.
                let kept = self.encodings_on(track.id, LegKey::RelayPublisher).iter().copied();
                in_direct_use().chain(kept).collect::<BTreeSet<_>>()
            } else {
                let largest = self.largest(track.id, LegKey::RelayPublisher);
                all.iter().filter(|encoding| **encoding >= largest).copied().collect()
            };
            (carried, None)
        } else {
            let proof = in_direct_use().filter(|_| relay.proven);
            (proof.chain(all.last().copied().filter(|_| relay.newcomers)).collect(), Some(0))
        };
        let used = relay.counted_on || !encodings.is_empty();
        used.then(|| RouteLeg {
            leg: LegKey::RelayPublisher,
            encodings: encodings.into_iter().collect(),
            ladder: all,
            max_temporal,
            doubled: false,
        })
    }

    /// The encodings a track has on a leg now.
    pub(super) fn encodings_on(&self, track: TrackId, leg: LegKey) -> &[EncodingId] {
        let legs = self.routes.get(&track).into_iter().flatten();
        legs.filter(|route| route.leg == leg).map(|route| route.encodings.as_slice()).next().unwrap_or_default()
    }

    /// The largest encoding of a track that a leg bears.
    fn largest(&self, track: TrackId, leg: LegKey) -> EncodingId {
        let last = self.publications.get(&track).map_or(0, |track| track.encodings.len().saturating_sub(1));
        let largest = self.largest.get(&(track, leg)).copied().unwrap_or_default();
        largest.min(EncodingId(u8::try_from(last).unwrap_or(u8::MAX)))
    }

    /// The shell says that a leg bears no larger encoding of a track of ours than `largest`; 0 is the largest of all. Obeyed once no edge
    /// is between two paths, because until then whoever moves is to find the encoding it decodes on both.
    pub fn set_largest(&mut self, now: Instant, leg: LegKey, track: TrackId, largest: EncodingId) {
        if self.publications.contains_key(&track) && self.largest.insert((track, leg), largest) != Some(largest) {
            self.route(now);
        }
    }

    /// Sections of legs that have one for each track.
    pub(super) fn sections(&self) -> Vec<SectionPlan> {
        let of = |track: &TrackInfo| SectionPlan { track: track.id, kind: track.kind, encodings: encodings(track) };
        self.publications.values().map(of).collect()
    }
}

/// What the relay is used for, for one track.
#[derive(Clone, Copy, Debug, Default)]
struct RelayUse {
    /// Somebody has it from nowhere else.
    counted_on: bool,
    /// The path is being proven to somebody who has it directly.
    proven: bool,
    /// Somebody came who has nothing yet, and would get the encoding that others have directly only with another keyframe for all.
    newcomers: bool,
}

impl RelayUse {
    fn note(&mut self, now: Instant, edge: &Outgoing, track: &TrackInfo, moves: bool) {
        let video = track.kind == TrackKind::Video;
        let small = track.encodings.len() > 1;
        let hold = if small { LAGGARD } else { NEWCOMER_HOLD };
        if video && moves && edge.is_fresh(now, hold) {
            self.newcomers |= small;
        } else if video && edge.is_proving() {
            self.proven = true;
        } else {
            self.counted_on = true;
        }
    }
}

/// All encodings of a track; none for audio.
fn encodings(track: &TrackInfo) -> Vec<EncodingId> {
    match track.kind {
        TrackKind::Audio => Vec::new(),
        TrackKind::Video => {
            (0..track.encodings.len().max(1)).filter_map(|index| u8::try_from(index).ok().map(EncodingId)).collect()
        }
    }
}

/// The encoding direct legs share.
fn continuity(quality: Quality, count: usize) -> EncodingId {
    let last = u8::try_from(count.saturating_sub(1)).unwrap_or(u8::MAX);
    match quality {
        Quality::High => EncodingId(0),
        Quality::Medium => EncodingId(last.min(1)),
        Quality::Low | Quality::Off => EncodingId(last),
    }
}
