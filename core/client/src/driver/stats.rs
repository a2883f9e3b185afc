//! Gathering what the machines count.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use segue_model::{DataRate, EncodingId, Path, TrackId, TrackKind};
use segue_session::peer::{LegKey, PathInfo};

use super::Driver;
use super::candidate::leg_end;
use super::leg::Leg;
use super::media::Remote;
use super::publish::Publication;
use crate::stats::{EdgeStats, LegStats, PublicationStats, RoomStats, TrackStats};

/// Length of an audio frame, for counts of time as counts of frames.
const FRAME: Duration = Duration::from_millis(20);

impl Driver {
    pub(super) fn stats(&self, now: Instant) -> RoomStats {
        RoomStats {
            uplink: self.uplink.total(),
            edges: self.machine.path_info().iter().map(|path| self.edge_stats(now, path)).collect(),
            legs: self.legs.iter().map(|(key, leg)| self.leg_stats(now, *key, leg)).collect(),
            tracks: self.remotes.iter().filter_map(|(track, remote)| self.track_stats(now, *track, remote)).collect(),
            publications: self
                .publications
                .iter()
                .map(|(track, publication)| PublicationStats {
                    track: *track,
                    kind: publication.kind,
                    bitrate: publication.rate.rate(now),
                    target: self.publication_target(*track, publication),
                    frames: publication.frames,
                    keyframes: publication.keyframes,
                    dropped: publication.feed.dropped(),
                    timestamp_base: publication.timestamp_base(),
                })
                .collect(),
        }
    }

    fn publication_target(&self, track: TrackId, publication: &Publication) -> DataRate {
        let encodings = (0..publication.encodings.max(1)).map(|number| EncodingId(number as u8));
        match publication.kind {
            TrackKind::Audio => publication.most(EncodingId(0)),
            TrackKind::Video => {
                let rates = encodings.filter_map(|encoding| self.uplink.encoder_rate(track, encoding));
                rates.fold(DataRate::ZERO, |sum, rate| sum + rate)
            }
        }
    }

    fn leg_stats(&self, now: Instant, key: LegKey, leg: &Leg) -> LegStats {
        let (sent, received, counters) = (leg.send_stats(), leg.recv_stats(), leg.counters());
        let estimate = self.uplink.stats(leg.id()).filter(|_| leg.reports());
        LegStats {
            end: leg_end(key),
            up: leg.is_up(),
            send_rate: leg.sent.rate(now),
            estimate: estimate.map(|estimate| estimate.target),
            target: self.uplink.rate(leg.id()),
            queue: estimate.map_or(Duration::ZERO, |estimate| estimate.queue),
            receive_rate: leg.received.rate(now),
            packets_sent: sent.streams.iter().map(|(_, stream)| stream.packets).sum(),
            packets_retransmitted: sent.streams.iter().map(|(_, stream)| stream.resent).sum(),
            packets_received: received.packets,
            packets_lost: received.streams.iter().map(|stream| stream.lost.max(0) as u64).sum(),
            loss: receive_loss(leg).max(send_loss(leg)),
            rtt: leg.rtt(),
            packets_foreign: leg.foreign,
            dropped_locally: counters.dropped_in + counters.dropped_out,
        }
    }

    fn edge_stats(&self, now: Instant, info: &PathInfo) -> EdgeStats {
        let outgoing = self.machine.local() == Some(info.edge.publisher);
        let other = if outgoing { info.edge.subscriber } else { info.edge.publisher };
        let key = match (info.path, outgoing) {
            (Path::Direct, _) => LegKey::Peer(other),
            (Path::Relayed, true) => LegKey::RelayPublisher,
            (Path::Relayed, false) => LegKey::RelaySubscriber,
        };
        let leg = self.legs.get(&key);
        let bitrate = if outgoing {
            leg.map_or(DataRate::ZERO, |leg| leg.sent.rate(now))
        } else {
            let view = self.shared.view();
            let theirs = view.tracks.values().filter(|track| track.participant() == other);
            let rates = theirs.filter_map(|track| Some(self.remotes.get(&track.id())?.rate.rate(now)));
            rates.fold(DataRate::ZERO, |sum, rate| sum + rate)
        };
        EdgeStats {
            publisher: info.edge.publisher,
            subscriber: info.edge.subscriber,
            path: info.path,
            bitrate,
            loss: leg.map_or(0.0, |leg| if outgoing { send_loss(leg) } else { receive_loss(leg) }),
            rtt: leg.and_then(Leg::rtt),
        }
    }

    fn track_stats(&self, now: Instant, track: TrackId, remote: &Remote) -> Option<TrackStats> {
        let received = self.receiver.stats(track)?;
        let participant = self.machine.publisher(track)?;
        let counters = &remote.inner().counters;
        let concealed = counters.concealed.load(Ordering::Relaxed);
        let frames = |time: Duration| (time.as_millis() / FRAME.as_millis()) as u64;
        Some(TrackStats {
            track,
            participant,
            kind: remote.kind(),
            bitrate: remote.rate.rate(now),
            frames: received.buffer.frames,
            keyframes: received.buffer.keyframes,
            gaps: received.buffer.missed,
            longest_gap: received.buffer.longest_gap,
            delay: received.buffer.target,
            duplicates: received.packets.duplicate,
            undecoded: counters.undecoded.load(Ordering::Relaxed),
            decoded: counters.decoded.load(Ordering::Relaxed),
            concealed: concealed.max(frames(received.buffer.concealed)),
            recovered: counters.recovered.load(Ordering::Relaxed).max(frames(received.buffer.corrected)),
            keyframe_requests: received.buffer.keyframe_requests,
            rejected: received.packets.late + received.packets.jumps,
        })
    }
}

/// The worst of what the other side last reported.
pub(super) fn send_loss(leg: &Leg) -> f32 {
    leg.send_stats().streams.iter().map(|(_, stream)| stream.loss).fold(0.0, f32::max)
}

/// Lost of all that was expected so far.
fn receive_loss(leg: &Leg) -> f32 {
    let streams = leg.recv_stats().streams;
    let lost: i64 = streams.iter().map(|stream| stream.lost.max(0)).sum();
    let came: u64 = streams.iter().map(|stream| stream.packets).sum();
    if came == 0 { 0.0 } else { lost as f32 / (lost as f32 + came as f32) }
}
