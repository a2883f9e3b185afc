//! The one budget for everything that is sent: feeds [`Uplink`](segue_media::bwe::Uplink) and obeys it.

use std::time::Instant;

use segue_media::bwe::{UplinkOrder, UplinkStream};
use segue_media::merge::LegId;
use segue_model::{EncodingId, TrackId};
use segue_session::peer::LegKey;

use super::Driver;
use super::leg::Leg;

impl Driver {
    /// Says what every leg carries, if that may have changed.
    pub(super) fn refresh_uplink(&mut self, now: Instant) {
        let plans: Vec<(LegId, Vec<UplinkStream>, bool)> =
            self.legs.values().map(|leg| (leg.id(), self.streams_of(leg), leg.reports())).collect();
        for (leg, streams, reports) in plans {
            self.uplink.set_leg(now, leg, streams, reports);
        }
    }

    fn streams_of(&self, leg: &Leg) -> Vec<UplinkStream> {
        let mut streams = Vec::new();
        for (track, kind, route) in leg.carried() {
            let Some(publication) = self.publications.get(&track) else { continue };
            let rung = |encoding: &EncodingId| (*encoding, publication.most(*encoding));
            let one = [EncodingId(0)];
            let or_one = |encodings: &[EncodingId]| if encodings.is_empty() { one.to_vec() } else { encodings.to_vec() };
            streams.push(UplinkStream {
                track,
                kind,
                ladder: or_one(&route.ladder).iter().map(rung).collect(),
                carried: or_one(&route.encodings),
                together: route.leg == LegKey::RelayPublisher,
                thinned: route.max_temporal == Some(0),
            });
        }
        streams
    }

    /// Tells what left and what became of it, and carries out what follows; false where there was nothing.
    pub(super) fn drain_uplink(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.routes_changed) {
            self.refresh_uplink(now);
        }
        for leg in self.legs.values_mut() {
            leg.account(now, &mut self.uplink);
        }
        self.uplink.set_fanout(self.machine.mesh_edges());
        self.uplink.set_overlap(now, self.machine.in_overlap(), self.machine.room_moves());
        self.machine.set_uplink(now, self.uplink.total(), self.uplink.fanout_need());
        let mut busy = false;
        while let Some(order) = self.uplink.poll_order() {
            busy = true;
            match order {
                UplinkOrder::Pace { leg, rate } => {
                    if let Some(leg) = self.leg_mut(leg) {
                        leg.pace(rate);
                    }
                }
                UplinkOrder::Probe { leg, cluster } => {
                    if let Some(leg) = self.leg_mut(leg) {
                        leg.probe(now, cluster);
                    }
                }
                UplinkOrder::Encode { track, encoding, rate } => {
                    if let Some(publication) = self.publications.get(&track) {
                        publication.feed.set_rate(encoding, rate);
                    }
                }
                UplinkOrder::Carry { leg, track, largest } => self.carry(now, leg, track, largest),
            }
        }
        busy
    }

    /// A leg bears no larger encoding of a picture than this, or none.
    fn carry(&mut self, now: Instant, leg: LegId, track: TrackId, largest: Option<EncodingId>) {
        let Some(key) = self.legs.iter().find(|(_, found)| found.id() == leg).map(|(key, _)| *key) else { return };
        if let Some(publication) = self.publications.get_mut(&track) {
            publication.set_paused(key, largest.is_none());
        }
        if let Some(largest) = largest {
            self.machine.set_largest(now, key, track, largest);
        }
    }

    fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.values_mut().find(|leg| leg.id() == id)
    }
}
