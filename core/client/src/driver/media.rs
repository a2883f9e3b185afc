//! What we receive: packets into the receiver, frames to decoders and the application.

use std::sync::Arc;
use std::time::{Duration, Instant};

use segue_media::frame::ReceivedFrame;
use segue_media::interruption::InterruptionMeter;
use segue_media::merge::{LegId, MergeOutcome};
use segue_media::packet::MediaPacket;
use segue_media::receiver::{AudioPull, ReceiverEvent};
use segue_model::{Path, TrackId, TrackKind, TrackSource};
use segue_session::peer::LegKey;

use super::Driver;
use super::meter::Meter;
use crate::codec::{DecodeWorker, Sound};
use crate::net::peer_link::LinkPacket;
use crate::room::{RemoteTrack, TrackInner};

/// Distance of two pulls of sound.
const PULL_INTERVAL: Duration = Duration::from_millis(20);

/// Pulls made up for at once after a stall; beyond that the rhythm begins anew.
const MAX_LATE_PULLS: u32 = 5;

/// A remote track and who decodes it.
pub(super) struct Remote {
    inner: Arc<TrackInner>,
    kind: TrackKind,
    worker: Option<DecodeWorker>,
    pub(super) rate: Meter,
    pub(super) interruptions: InterruptionMeter,
}

impl Remote {
    pub(super) fn new(track: &RemoteTrack) -> Self {
        let kind = track.kind();
        let interruptions = InterruptionMeter::new(kind);
        Self { inner: track.inner().clone(), kind, worker: None, rate: Meter::default(), interruptions }
    }

    pub(super) fn inner(&self) -> &TrackInner {
        &self.inner
    }

    pub(super) const fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Ends its streams and its decoder.
    pub(super) fn end(self) {
        self.inner.end();
    }
}

impl Driver {
    /// Takes a batch of datagrams off the links.
    pub(super) fn handle_packets(&mut self, now: Instant, batch: &mut Vec<LinkPacket>) {
        let mut media = Vec::new();
        for packet in batch.drain(..) {
            let Some(key) = self.leg_of(packet.link) else { continue };
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            let id = leg.id();
            leg.handle_datagram(now, packet.body, &mut media);
            self.merge(now, key, id, &mut media);
        }
    }

    /// Lets the legs notice the time.
    pub(super) fn handle_leg_timeouts(&mut self, now: Instant) {
        let mut media = Vec::new();
        let keys: Vec<LegKey> = self.legs.keys().copied().collect();
        for key in keys {
            let Some(leg) = self.legs.get_mut(&key) else { continue };
            if leg.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            let id = leg.id();
            leg.handle_timeout(now, &self.receiver, &mut media);
            self.merge(now, key, id, &mut media);
        }
    }

    fn merge(&mut self, now: Instant, key: LegKey, id: LegId, media: &mut Vec<MediaPacket>) {
        for packet in media.drain(..) {
            if !self.machine.handle_media(now, key, &packet.origin) {
                if let Some(leg) = self.legs.get_mut(&key) {
                    leg.foreign += 1;
                }
                continue;
            }
            let (track, size) = (packet.origin.source, packet.payload.len());
            if self.receiver.handle_packet(now, id, packet) == MergeOutcome::Fresh
                && let Some(remote) = self.remotes.get_mut(&track)
            {
                remote.rate.add(now, size);
            }
        }
    }

    /// Hands whole frames on; false where there was nothing.
    pub(super) fn drain_receiver(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(frame) = self.receiver.poll_frame(now) {
            busy = true;
            self.deliver_picture(now, frame);
        }
        while let Some(event) = self.receiver.poll_event() {
            busy = true;
            match event {
                ReceiverEvent::KeyframeNeeded { track, encoding, leg: None } => {
                    self.machine.request_keyframe(now, track, Some(encoding));
                }
                ReceiverEvent::KeyframeNeeded { track, encoding, leg: Some(id) } => {
                    if let Some(leg) = self.legs.values_mut().find(|leg| leg.id() == id) {
                        leg.request_keyframe(now, track, encoding);
                    }
                }
                ReceiverEvent::LegActive { track, leg } => self.report_switch(now, track, leg),
            }
        }
        busy
    }

    fn deliver_picture(&mut self, now: Instant, frame: ReceivedFrame) {
        let Some(remote) = self.remotes.get_mut(&frame.track) else { return };
        remote.interruptions.handle_frame(now, self.receiver.active_leg(frame.track), &frame);
        remote.inner.deliver_encoded(&frame);
        if !remote.inner.wants_decoding() {
            remote.worker = None;
            return;
        }
        let track = frame.track;
        if remote.worker.is_none() {
            let (decoders, needs) = (self.options.decoders.clone(), self.inlets.needs.clone());
            remote.worker = DecodeWorker::start(remote.inner.clone(), track, TrackKind::Video, decoders, needs);
        }
        let encoding = frame.frame.layer.encoding;
        if let Some(worker) = &mut remote.worker
            && !worker.push_picture(frame)
        {
            self.machine.request_keyframe(now, track, Some(encoding));
        }
    }

    /// A track with a numbering per leg is played from another leg now.
    fn report_switch(&mut self, now: Instant, track: TrackId, leg: LegId) {
        let key = self.legs.iter().find(|(_, found)| found.id() == leg).map(|(key, _)| *key);
        let path = match key {
            Some(LegKey::Peer(_)) => Path::Direct,
            Some(LegKey::RelaySubscriber | LegKey::RelayPublisher) => Path::Relayed,
            None => return,
        };
        self.machine.handle_switch_ready(now, track, path);
    }

    /// Pulls the sound that is due from every track.
    pub(super) fn pull_audio(&mut self, now: Instant) {
        let Some(mut due) = self.next_pull else { return };
        let mut late = 0;
        while due <= now && late < MAX_LATE_PULLS {
            self.pull_once(now);
            due += PULL_INTERVAL;
            late += 1;
        }
        self.next_pull = Some(if due <= now { now + PULL_INTERVAL } else { due });
    }

    fn pull_once(&mut self, now: Instant) {
        for (track, remote) in self.remotes.iter_mut().filter(|(_, remote)| remote.kind == TrackKind::Audio) {
            let pull = self.receiver.pull_audio(now, *track);
            remote.interruptions.handle_pull(now, self.receiver.active_leg(*track), &pull);
            let sound = match pull {
                AudioPull::Frame(frame) => {
                    remote.inner.deliver_encoded(&frame);
                    Sound::Frame(frame)
                }
                AudioPull::Fec { from } => Sound::Recover(from),
                AudioPull::Conceal => Sound::Conceal,
                AudioPull::Silence => Sound::Silence,
                AudioPull::Wait => continue,
            };
            if !remote.inner.wants_decoding() {
                remote.worker = None;
                continue;
            }
            if remote.worker.is_none() {
                let (decoders, needs) = (self.options.decoders.clone(), self.inlets.needs.clone());
                remote.worker = DecodeWorker::start(remote.inner.clone(), *track, TrackKind::Audio, decoders, needs);
            }
            if let Some(worker) = &remote.worker {
                worker.push_sound(sound);
            }
        }
    }

    /// Begins to receive a track.
    pub(super) fn add_remote(&mut self, now: Instant, track: &RemoteTrack, numbered: bool) {
        let id = track.id();
        let taken = if numbered {
            self.receiver.add_track(id, track.kind())
        } else {
            self.receiver.add_track_per_leg(id, track.kind())
        };
        if !taken {
            tracing::warn!(%id, "too many tracks: not received");
            return;
        }
        if let Some(leg) = self.legs.get(&LegKey::Peer(track.participant())) {
            self.receiver.allow(leg.id(), id);
        }
        self.remotes.insert(id, Remote::new(track));
        self.pair(track);
        if track.kind() == TrackKind::Audio && self.next_pull.is_none() {
            self.next_pull = Some(now);
        }
    }

    /// Plays pictures in step with the sound that belongs to them.
    fn pair(&mut self, track: &RemoteTrack) {
        let partner = match track.source() {
            TrackSource::Microphone => TrackSource::Camera,
            TrackSource::Camera => TrackSource::Microphone,
            TrackSource::Screen => TrackSource::ScreenAudio,
            TrackSource::ScreenAudio => TrackSource::Screen,
        };
        let view = self.shared.view();
        let other = view.tracks.values().find(|other| {
            other.participant() == track.participant() && other.source() == partner && other.kind() != track.kind()
        });
        match (other, track.kind()) {
            (Some(other), TrackKind::Audio) => self.receiver.synchronise(track.id(), other.id()),
            (Some(other), TrackKind::Video) => self.receiver.synchronise(other.id(), track.id()),
            (None, _) => {}
        }
    }

    /// Stops to receive a track and ends its streams.
    pub(super) fn remove_remote(&mut self, track: TrackId) {
        self.receiver.remove_track(track);
        for leg in self.legs.values_mut() {
            self.receiver.disallow(leg.id(), track);
            leg.forget_remote(track);
        }
        if let Some(remote) = self.remotes.remove(&track) {
            remote.end();
        }
        if !self.remotes.values().any(|remote| remote.kind == TrackKind::Audio) {
            self.next_pull = None;
        }
    }
}
