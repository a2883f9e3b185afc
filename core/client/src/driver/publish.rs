//! What we send: publications, their frames and where these go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use segue_media::opus::ExpectedLoss;
use segue_media::source::{ProbeTimer, SourceSender};
use segue_model::{DataRate, EncodingId, MediaTime, TrackId, TrackKind};
use segue_session::peer::{LegKey, RouteLeg, TrackInfo};
use tokio::sync::oneshot;

use super::Driver;
use super::leg::Leg;
use super::meter::Meter;
use super::stats::send_loss;
use crate::codec::{Encoded, Feed};
use crate::error::Error;
use crate::source::LocalTrack;

/// Taken for a picture whose source does not say what it makes.
const UNSAID: DataRate = DataRate::kbps(2_500);

/// Numbers publications over all rooms of the process, because a source may be published in another one later.
static SOURCES: AtomicU64 = AtomicU64::new(1);

/// A track the relay has not answered for.
pub(super) struct Pending {
    pub(super) source: LocalTrack,
    pub(super) muted: bool,
    pub(super) reply: oneshot::Sender<Result<Arc<AtomicU32>, Error>>,
}

/// A published track.
pub(super) struct Publication {
    /// Shared with the application's handle.
    pub(super) id: Arc<AtomicU32>,
    pub(super) kind: TrackKind,
    pub(super) encodings: usize,
    /// What each encoding makes at most.
    most: Vec<DataRate>,
    pub(super) feed: Feed,
    pub(super) rate: Meter,
    pub(super) frames: u64,
    pub(super) keyframes: u64,
    /// Names its source in what encoders send.
    source: u64,
    sender: SourceSender,
    muted: bool,
    routes: Vec<RouteLeg>,
    /// Legs that bear no picture now.
    paused: BTreeSet<LegKey>,
    probe: ProbeTimer,
    expected_loss: ExpectedLoss,
}

impl Publication {
    /// Two ways at once are being compared: silence must not look like loss.
    fn compares(&self) -> bool {
        let direct = self.routes.iter().any(|route| matches!(route.leg, LegKey::Peer(_)));
        let relayed = self.routes.iter().any(|route| route.leg == LegKey::RelayPublisher);
        direct && relayed
    }

    /// RTP timestamp of capture time zero.
    pub(super) fn timestamp_base(&self) -> u32 {
        self.sender.timestamp(MediaTime(0))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.probe.poll_timeout()
    }

    /// What an encoding makes at most, payload only.
    pub(super) fn most(&self, encoding: EncodingId) -> DataRate {
        match self.kind {
            _ if self.muted => DataRate::ZERO,
            TrackKind::Audio => self.feed.voice_rate(),
            TrackKind::Video => {
                self.most.get(usize::from(encoding.0)).copied().filter(|most| *most > DataRate::ZERO).unwrap_or(UNSAID)
            }
        }
    }

    /// Sends no picture on a leg, or sends it again, from a keyframe on.
    pub(super) fn set_paused(&mut self, leg: LegKey, paused: bool) {
        if self.paused.contains(&leg) == paused {
            return;
        }
        if paused {
            self.paused.insert(leg);
        } else {
            self.paused.remove(&leg);
            let encodings = self.routes.iter().filter(|route| route.leg == leg).flat_map(|route| &route.encodings);
            encodings.for_each(|encoding| self.feed.request_keyframe(*encoding));
        }
        self.activate();
    }

    fn activate(&self) {
        for number in 0..self.encodings.max(1) {
            let encoding = EncodingId(number as u8);
            let wanted = |route: &RouteLeg| {
                let carried = route.encodings.is_empty() || route.encodings.contains(&encoding);
                carried && !self.paused.contains(&route.leg)
            };
            self.feed.set_active(encoding, self.routes.iter().any(wanted));
        }
    }
}

impl Driver {
    /// The relay gave our track an id: its source begins to run.
    pub(super) fn begin_publication(&mut self, request: u32, track: &TrackInfo) {
        let now = crate::clock::now();
        let Some(Pending { source, muted, reply }) = self.pending.remove(&request) else { return };
        let number = SOURCES.fetch_add(1, Ordering::Relaxed);
        let feed = match Feed::start(number, &source, self.inlets.encoded.clone()) {
            Ok(feed) => feed,
            Err(error) => {
                self.machine.unpublish(now, track.id);
                let _ = reply.send(Err(Error::Encoder(error)));
                return;
            }
        };
        feed.set_muted(muted);
        let id = Arc::new(AtomicU32::new(u32::from(track.id.0)));
        let publication = Publication {
            id: id.clone(),
            kind: track.kind,
            encodings: source.encodings().len(),
            most: source.encodings().iter().map(|encoding| DataRate::kbps(u64::from(encoding.max_kbps))).collect(),
            feed,
            rate: Meter::default(),
            frames: 0,
            keyframes: 0,
            source: number,
            sender: SourceSender::new(track.id, track.kind, self.seeds.next()),
            muted,
            routes: Vec::new(),
            paused: BTreeSet::new(),
            probe: ProbeTimer::default(),
            expected_loss: ExpectedLoss::default(),
        };
        publication.activate();
        self.routes_changed = true;
        self.publications.insert(track.id, publication);
        let _ = reply.send(Ok(id));
    }

    /// Tells voice encoders what receivers lose.
    pub(super) fn prepare_for_loss(&mut self, now: Instant) {
        for (track, publication) in &mut self.publications {
            if publication.kind != TrackKind::Audio || !publication.expected_loss.is_due(now) {
                continue;
            }
            let on = |leg: &Leg| leg.carried().any(|(carried, ..)| carried == *track);
            let share = self.legs.values().filter(|leg| on(leg)).map(send_loss).fold(0.0, f32::max);
            if let Some(percent) = publication.expected_loss.handle_loss(now, share) {
                publication.feed.set_expected_loss(percent);
            }
        }
    }

    /// The relay gave a track of ours another id.
    pub(super) fn renumber(&mut self, old: TrackId, new: TrackId) {
        for leg in self.legs.values_mut() {
            leg.remove_track(old);
        }
        let Some(mut publication) = self.publications.remove(&old) else { return };
        publication.id.store(u32::from(new.0), Ordering::Relaxed);
        publication.sender = SourceSender::new(new, publication.kind, self.seeds.next());
        for number in 0..publication.encodings {
            publication.feed.request_keyframe(EncodingId(number as u8));
        }
        let routes = std::mem::take(&mut publication.routes);
        self.publications.insert(new, publication);
        self.route(new, routes);
    }

    pub(super) fn end_publication(&mut self, track: TrackId) {
        self.routes_changed = true;
        self.publications.remove(&track);
        for leg in self.legs.values_mut() {
            leg.remove_track(track);
        }
    }

    pub(super) fn mute_publication(&mut self, now: Instant, track: TrackId, muted: bool) {
        let Some(publication) = self.publications.get_mut(&track) else { return };
        publication.muted = muted;
        self.routes_changed = true;
        publication.feed.set_muted(muted);
        if !muted {
            // What was on screen before the pause is not what the first picture after it refers to.
            for number in 0..publication.encodings {
                publication.feed.request_keyframe(EncodingId(number as u8));
            }
        }
        self.machine.set_muted(now, track, muted);
    }

    /// From now on a track goes over exactly these legs.
    pub(super) fn route(&mut self, track: TrackId, legs: Vec<RouteLeg>) {
        let Some(publication) = self.publications.get_mut(&track) else { return };
        for (key, leg) in &mut self.legs {
            let route = legs.iter().find(|route| route.leg == *key);
            leg.set_route(track, publication.kind, route);
        }
        publication.sender.set_largest(RouteLeg::largest_relayed(&legs));
        publication.routes = legs;
        publication.activate();
        let now = crate::clock::now();
        publication.probe.handle_comparison(now, publication.compares());
    }

    /// A leg was opened: what goes over it was said before.
    pub(super) fn route_everything_to(&mut self, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        for (track, publication) in &mut self.publications {
            publication.set_paused(key, false);
            let route = publication.routes.iter().find(|route| route.leg == key);
            leg.set_route(*track, publication.kind, route);
        }
    }

    /// A frame of ours: the same packets for every leg it goes over.
    pub(super) fn handle_encoded(&mut self, now: Instant, encoded: Encoded) {
        let Encoded { source, frame } = encoded;
        let Some(publication) = self.publications.values_mut().find(|found| found.source == source) else { return };
        if publication.muted {
            return;
        }
        publication.rate.add(now, frame.payload.len());
        publication.frames += 1;
        publication.keyframes += u64::from(frame.keyframe);
        publication.probe.handle_frame(now);
        for packet in publication.sender.packetise(&frame) {
            for route in publication.routes.iter().filter(|route| !publication.paused.contains(&route.leg)) {
                if let Some(leg) = self.legs.get_mut(&route.leg) {
                    leg.push(now, &packet, route.is_copy(&publication.routes, packet.origin.layer));
                }
            }
        }
    }

    /// Probes of sources that are silent while two ways are compared.
    pub(super) fn send_probes(&mut self, now: Instant) {
        for publication in self.publications.values_mut() {
            if !publication.probe.handle_timeout(now) {
                continue;
            }
            let packet = publication.sender.probe();
            for route in &publication.routes {
                if let Some(leg) = self.legs.get_mut(&route.leg) {
                    leg.push(now, &packet, true);
                }
            }
        }
    }
}
