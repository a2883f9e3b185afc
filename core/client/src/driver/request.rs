//! What the application asks for.

use std::time::Instant;

use segue_session::peer::{CarrierState, LegKey};

use super::Driver;
use super::publish::Pending;
use crate::error::Error;
use crate::room::{Fault, Request};

/// Publications that may wait for the relay's answer: more than the relay lets one participant publish.
const MAX_PENDING: usize = 64;

impl Driver {
    pub(super) fn handle_request(&mut self, now: Instant, request: Request) {
        match request {
            Request::Publish { request, source, reply } => {
                if self.pending.len() >= MAX_PENDING {
                    let message = "too many publications wait for the relay: wait for their answers".to_owned();
                    let _ = reply.send(Err(Error::Refused { code: "limit", message }));
                    return;
                }
                let muted = request.muted;
                let number = self.machine.publish(now, request);
                self.pending.insert(number, Pending { source, muted, reply });
            }
            Request::Unpublish { track } => {
                self.machine.unpublish(now, track);
                self.end_publication(track);
            }
            Request::SetMuted { track, muted } => self.mute_publication(now, track, muted),
            Request::Subscribe { track, quality } => self.machine.subscribe(now, track, quality),
            Request::Keyframe { track } => self.machine.request_keyframe(now, track, None),
            Request::SendReliable { topic, payload, reply } => {
                let _ = reply.send(self.machine.send_data(now, &topic, payload).map_err(Error::Data));
            }
            Request::SendLossy { to, topic, payload, reply } => {
                let _ = reply.send(self.machine.send_lossy(now, to, &topic, payload).map_err(Error::Data));
            }
            Request::NetworkChanged => {
                self.drop_connection(now);
                self.machine.handle_network_changed(now);
            }
            Request::Kick { participant, reply } => {
                let _ = reply.send(self.moderate().map(|()| self.machine.kick(now, participant)));
            }
            Request::MuteRemote { track, reply } => {
                let _ = reply.send(self.moderate().map(|()| self.machine.mute_remote(now, track)));
            }
            Request::Stats { reply } => {
                let _ = reply.send(self.stats(now));
            }
            Request::HandoverReport { reply } => {
                let _ = reply.send(self.handover_report(now));
            }
            Request::Leave { reply } => {
                self.leavers.push(reply);
                self.leave(now);
            }
            Request::Inject(fault) => self.inject(now, fault),
        }
    }

    /// The connection to the relay is over, as far as this side is concerned.
    fn drop_connection(&mut self, now: Instant) {
        if self.connection.take().is_some() {
            self.attempt += 1;
            self.machine.handle_carrier(now, CarrierState::Closed);
        }
    }

    /// What the relay would refuse is refused here already.
    fn moderate(&self) -> Result<(), Error> {
        if self.machine.grants().admin { Ok(()) } else { Err(Error::NotPermitted("admin")) }
    }

    fn inject(&mut self, now: Instant, fault: Fault) {
        match fault {
            Fault::DropSignalling => self.drop_connection(now),
            Fault::CutDirect(participant) => self.cut(&[LegKey::Peer(participant)], true),
            Fault::RestoreDirect(participant) => self.cut(&[LegKey::Peer(participant)], false),
            Fault::CutRelayMedia => self.cut(&[LegKey::RelayPublisher, LegKey::RelaySubscriber], true),
            Fault::RestoreRelayMedia => self.cut(&[LegKey::RelayPublisher, LegKey::RelaySubscriber], false),
            Fault::RefuseDirect(identity) => self.faults.refused.push(identity),
            Fault::StealOrigin(track) => {
                self.faults.stolen = Some(track);
                self.legs.values_mut().for_each(|leg| leg.stolen = Some(track));
            }
        }
    }

    fn cut(&mut self, keys: &[LegKey], cut: bool) {
        self.faults.cut.retain(|key| !keys.contains(key));
        if cut {
            self.faults.cut.extend_from_slice(keys);
        }
        for key in keys {
            if let Some(leg) = self.legs.get_mut(key) {
                leg.cut = cut;
            }
        }
    }
}
