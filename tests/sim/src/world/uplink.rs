//! The one budget for everything a participant sends, obeyed as the client's driver obeys it.

use std::time::Instant;

use segue_media::bwe::{UplinkOrder, UplinkStream};
use segue_media::merge::LegId;
use segue_model::{DataRate, EncodingId, TrackId};
use segue_session::peer::LegKey;

use super::leg::Leg;
use super::node::Node;

/// What an uplink nobody has measured is thought to bear, as the client has it.
pub const START_RATE: DataRate = DataRate::kbps(1_500);

impl Node {
    /// Says what every leg carries.
    fn refresh_uplink(&mut self, now: Instant) {
        let plans: Vec<(LegId, Vec<UplinkStream>)> = self.legs.values().map(|leg| (leg.id, self.streams_of(leg))).collect();
        for (leg, streams) in plans {
            self.uplink.set_leg(now, leg, streams, true);
        }
    }

    fn streams_of(&self, leg: &Leg) -> Vec<UplinkStream> {
        let mut streams = Vec::new();
        for (track, route) in leg.carried() {
            let Some(publication) = self.publications.get(&track) else { continue };
            let rung = |encoding: &EncodingId| (*encoding, publication.most(*encoding));
            let or_one = |encodings: &[EncodingId]| if encodings.is_empty() { vec![EncodingId(0)] } else { encodings.to_vec() };
            streams.push(UplinkStream {
                track,
                kind: publication.spec.kind,
                ladder: or_one(&route.ladder).iter().map(rung).collect(),
                carried: or_one(&route.encodings),
                together: route.leg == LegKey::RelayPublisher,
                thinned: route.max_temporal == Some(0),
            });
        }
        streams
    }

    /// Carries out what follows from what left and what became of it; false where there was nothing.
    pub(super) fn drain_uplink(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.routes_changed) {
            self.refresh_uplink(now);
        }
        self.uplink.set_fanout(self.machine.mesh_edges());
        self.uplink.set_overlap(now, self.machine.in_overlap(), self.machine.room_moves());
        self.machine.set_uplink(now, self.uplink.total(), self.uplink.fanout_need());
        let mut busy = false;
        while let Some(order) = self.uplink.poll_order() {
            busy = true;
            match order {
                UplinkOrder::Pace { leg, rate } => {
                    if let Some(leg) = self.legs.values_mut().find(|found| found.id == leg) {
                        leg.pace(rate);
                    }
                }
                UplinkOrder::Probe { leg, cluster } => {
                    if let Some(leg) = self.legs.values_mut().find(|found| found.id == leg) {
                        leg.probe(now, cluster);
                    }
                }
                UplinkOrder::Encode { track, encoding, rate } => {
                    if let Some(publication) = self.publications.get_mut(&track) {
                        publication.set_rate(encoding, rate);
                    }
                }
                UplinkOrder::Carry { leg, track, largest } => self.carry(now, leg, track, largest),
            }
        }
        busy
    }

    /// A leg bears no larger encoding of a picture than this, or none.
    fn carry(&mut self, now: Instant, leg: LegId, track: TrackId, largest: Option<EncodingId>) {
        let Some(key) = self.legs.iter().find(|(_, found)| found.id == leg).map(|(key, _)| *key) else { return };
        if let Some(publication) = self.publications.get_mut(&track) {
            publication.set_paused(key, largest.is_none());
        }
        if let Some(largest) = largest {
            self.machine.set_largest(now, key, track, largest);
        }
    }
}
