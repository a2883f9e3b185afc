//! The one budget for everything that is sent: feeds [`Uplink`](segue_media::bwe::Uplink) and obeys it.

use std::time::Instant;

use segue_media::bwe::{UplinkOrder, UplinkStream};
use segue_media::merge::LegId;
use segue_model::{EncodingId, TrackKind};

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
        for (track, kind, encodings) in leg.carried() {
            let Some(publication) = self.publications.get(&track) else { continue };
            let first = [EncodingId(0)];
            let encodings = if encodings.is_empty() || kind == TrackKind::Audio { &first } else { encodings };
            let of =
                |encoding: &EncodingId| UplinkStream { track, encoding: *encoding, kind, most: publication.most(*encoding) };
            streams.extend(encodings.iter().map(of));
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
            }
        }
        busy
    }

    fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.values_mut().find(|leg| leg.id() == id)
    }
}
