//! Which legs each of our tracks is sent on: the union of what our edges need.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use segue_model::{EncodingId, Path, Quality, TrackId, TrackKind};

use super::{Command, LegKey, PeerMachine, RouteLeg, SectionPlan, TrackInfo};

impl PeerMachine {
    /// Computes every route and tells the shell of those that changed.
    pub(super) fn route(&mut self, now: Instant) {
        let mut routes = BTreeMap::new();
        let mut video = 0;
        for track in self.publications.values() {
            let index = if track.kind == TrackKind::Video { video } else { 0 };
            routes.insert(track.id, self.route_of(now, track, index));
            video += u32::from(track.kind == TrackKind::Video);
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
    }

    fn route_of(&self, now: Instant, track: &TrackInfo, index: u32) -> Vec<RouteLeg> {
        let mut relayed = false;
        let mut moving = false;
        let mut direct = Vec::new();
        for (&id, remote) in &self.remotes {
            let carries = |path| match track.kind {
                TrackKind::Audio => remote.out.carries(path),
                TrackKind::Video => remote.out.carries_video(now, path, index),
            };
            relayed |= carries(Path::Relayed);
            moving |= remote.out.in_overlap();
            let quality = remote.wishes.get(&track.id).copied().unwrap_or_default();
            if carries(Path::Direct) && quality != Quality::Off && self.leg_is_open(LegKey::Peer(id)) {
                direct.push((LegKey::Peer(id), quality, remote.out.is_thinned(now)));
            }
        }
        // Direct legs share one encoding: the largest any of them wants.
        let best = direct.iter().map(|(_, quality, _)| *quality).max().unwrap_or_default();
        let continuity = (track.kind == TrackKind::Video).then(|| continuity(best, track.encodings.len()));
        let mut legs = Vec::new();
        if relayed && self.legs.contains_key(&LegKey::RelayPublisher) {
            let encodings = match continuity {
                None => Vec::new(),
                // In overlap the relay gets what is in direct use, and what it has already; the others follow after the commits.
                Some(continuity) if moving && !direct.is_empty() => self.kept(track.id, continuity),
                Some(_) => encodings(track),
            };
            legs.push(RouteLeg { leg: LegKey::RelayPublisher, encodings, max_temporal: None });
        }
        let of = |(leg, _, thinned): (LegKey, Quality, bool)| RouteLeg {
            leg,
            encodings: continuity.into_iter().collect(),
            max_temporal: (thinned && track.kind == TrackKind::Video).then_some(0),
        };
        legs.extend(direct.into_iter().map(of));
        legs
    }

    /// The encodings a track has on the relay now, and `continuity`.
    fn kept(&self, track: TrackId, continuity: EncodingId) -> Vec<EncodingId> {
        let before = self.routes.get(&track).and_then(|legs| legs.iter().find(|leg| leg.leg == LegKey::RelayPublisher));
        let mut kept: BTreeSet<_> = before.into_iter().flat_map(|leg| leg.encodings.iter().copied()).collect();
        kept.insert(continuity);
        kept.into_iter().collect()
    }

    /// Sections of legs that have one for each track.
    pub(super) fn sections(&self) -> Vec<SectionPlan> {
        let of = |track: &TrackInfo| SectionPlan { track: track.id, kind: track.kind, encodings: encodings(track) };
        self.publications.values().map(of).collect()
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
