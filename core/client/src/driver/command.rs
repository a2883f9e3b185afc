//! Carrying out what the participant's machine asks for.

use std::collections::BTreeMap;
use std::time::Instant;

use segue_media::merge::{LegId, LegSources};
use segue_model::EncodingId;
use segue_session::peer::{CarrierState, Command, LegEvent, LegKey, LegPlan, LinkState, SdpKind};
use segue_wire::{Encoding, decode_lossy, decode_signal, encode_lossy, encode_signal, proto};

use super::Driver;
use super::leg::{Leg, LegOutput, LegSetup, link_config, shared_sections, track_section};
use crate::net::peer_link::{
    Channel, Direction, LinkCandidate, LinkCommand, LinkEvent, LinkId, LinkInput, RtcLink, SdpKind as LinkSdpKind,
    TransportState,
};
use crate::net::signalling::Connection;

impl Driver {
    pub(super) fn execute(&mut self, now: Instant, command: Command) {
        self.routes_changed |= matches!(command, Command::Route { .. } | Command::OpenLeg { .. });
        match command {
            Command::ConnectServer => self.connect_server(),
            Command::DisconnectServer => {
                // Its end is reported, once everything is written.
                let was_open = self.connection.take().is_some();
                self.ended |= self.leave_by.is_some() && !was_open;
            }
            Command::SendServer(frame) => self.send_server(now, frame),
            Command::SendPeer { to, signal } => self.send_signal(LegKey::Peer(to), &signal),
            Command::SendLossy { leg, data } => self.send_lossy(leg, &data),
            Command::OpenLeg { leg, plan } => self.open_leg(leg, &plan),
            Command::CloseLeg { leg } => self.close_leg(leg),
            Command::SetSections { leg, sections } => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.set_sections(&sections);
                }
            }
            Command::CreateOffer { leg, restart, generation } => {
                self.negotiate(now, leg, LinkCommand::CreateOffer { restart, generation });
            }
            Command::CreateAnswer { leg, generation } => {
                self.negotiate(now, leg, LinkCommand::CreateAnswer { generation });
            }
            Command::SetRemote { leg, kind, sdp, tracks } => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.read_remote(&sdp, kind == SdpKind::Answer, &tracks);
                }
                self.negotiate(now, leg, LinkCommand::SetRemote { kind: link_kind(kind), sdp });
            }
            Command::Rollback { leg } => self.negotiate(now, leg, LinkCommand::Rollback),
            Command::AddCandidate { leg, candidate } => {
                if !self.refuses(leg) {
                    self.negotiate(now, leg, LinkCommand::AddCandidate(from_wire(candidate)));
                }
            }
            Command::Route { track, legs } => self.route(track, legs),
            Command::RequestKeyframe { leg, track, encoding } => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.request_keyframe(now, track, encoding.unwrap_or(EncodingId(0)));
                }
            }
            Command::RaisePlayout { track, by, repair } => self.receiver.raise_target(now, track, by, repair),
            Command::SetSlots(slots) => {
                if let Some(leg) = self.legs.get_mut(&LegKey::RelaySubscriber) {
                    leg.set_slots(&slots);
                }
            }
        }
    }

    fn connect_server(&mut self) {
        self.attempt += 1;
        self.connection = Some(Connection::open(self.endpoint.clone(), self.attempt, self.inlets.signals.clone()));
    }

    fn send_server(&mut self, now: Instant, frame: proto::ClientFrame) {
        let sent = self.connection.as_ref().is_some_and(|connection| connection.send(frame));
        if !sent && self.connection.take().is_some() {
            self.attempt += 1;
            self.machine.handle_carrier(now, CarrierState::Closed);
        }
    }

    fn send_signal(&self, key: LegKey, signal: &proto::Signal) {
        let Some(leg) = self.legs.get(&key) else { return };
        let encoding = encoding_for(leg);
        leg.message(Channel::Signal, encoding == Encoding::Json, encode_signal(encoding, signal));
    }

    fn send_lossy(&self, key: LegKey, data: &proto::LossyData) {
        let Some(leg) = self.legs.get(&key) else { return };
        let encoding = encoding_for(leg);
        leg.message(Channel::Lossy, encoding == Encoding::Json, encode_lossy(encoding, data));
    }

    fn open_leg(&mut self, key: LegKey, plan: &LegPlan) {
        self.close_leg(key);
        self.next_link += 1;
        let link_id = LinkId(self.next_link);
        let id = LegId(self.next_link as u32);
        let mut own = BTreeMap::new();
        let sections = match (key, plan.merge) {
            (LegKey::RelayPublisher, _) => shared_sections(Direction::SendOnly, &mut self.seeds),
            (LegKey::RelaySubscriber, _) => Vec::new(),
            (LegKey::Peer(_), true) => shared_sections(Direction::SendRecv, &mut self.seeds),
            (LegKey::Peer(_), false) => {
                own.extend(plan.sections.iter().map(|plan| (plan.track, track_section(plan, &mut self.seeds))));
                own.values().cloned().collect()
            }
        };
        let ice = (self.interfaces(), self.options.ice.turn_only);
        let config = link_config(link_id, sections, key != LegKey::RelaySubscriber, &plan.ice_servers, ice);
        let link = RtcLink::open(config, self.inlets.links.clone(), self.inlets.packets.clone());
        let cname = self.machine.local().map(|id| id.to_string()).unwrap_or_default();
        let setup = LegSetup { id, link_id, merge: plan.merge, cname, wall: self.wall };
        let mut leg = Leg::new(setup, Box::new(link), self.seeds.next());
        leg.adopt_sections(own);
        leg.cut = self.faults.cut.contains(&key);
        leg.stolen = self.faults.stolen;
        self.legs.insert(key, leg);
        self.admit_leg(key, id);
        self.route_everything_to(key);
    }

    /// Says what the leg may carry: the relay checks its publishers itself, a direct leg carries its peer's tracks only.
    fn admit_leg(&mut self, key: LegKey, id: LegId) {
        match key {
            LegKey::RelayPublisher => {}
            LegKey::RelaySubscriber => {
                self.receiver.add_leg(id, LegSources::Any);
            }
            LegKey::Peer(participant) => {
                self.receiver.add_leg(id, LegSources::Listed);
                for track in self.machine.tracks(participant) {
                    self.receiver.allow(id, track.id);
                }
            }
        }
    }

    fn close_leg(&mut self, key: LegKey) {
        if let Some(leg) = self.legs.remove(&key) {
            self.receiver.remove_leg(leg.id());
            self.uplink.remove_leg(crate::clock::now(), leg.id());
        }
    }

    fn negotiate(&mut self, now: Instant, key: LegKey, command: LinkCommand) {
        let taken = self.legs.get(&key).is_some_and(|leg| leg.negotiate(command));
        if !taken && self.legs.contains_key(&key) {
            let reason = "the link takes no more steps".to_owned();
            self.machine.handle_leg(now, key, LegEvent::Failed { reason });
        }
    }

    /// Takes a link's report.
    pub(super) fn handle_link(&mut self, now: Instant, input: LinkInput) {
        let Some(key) = self.leg_of(input.link) else { return };
        let Some(leg) = self.legs.get_mut(&key) else { return };
        self.routes_changed = true;
        let event = match input.event {
            LinkEvent::LocalDescription { kind, sdp, generation } => {
                let tracks = leg.read_local(&sdp, kind == LinkSdpKind::Answer);
                let sdp = self.told_description(key, sdp);
                LegEvent::LocalDescription { kind: session_kind(kind), sdp, generation, tracks }
            }
            LinkEvent::LocalCandidate(candidate) => {
                if self.refuses(key) {
                    return;
                }
                let Some(candidate) = self.told(key, candidate) else { return };
                LegEvent::LocalCandidate(to_wire(candidate))
            }
            LinkEvent::State(state) => {
                let Some(state) = link_state(state) else { return };
                leg.set_up(now, state == LinkState::Up);
                LegEvent::State(state)
            }
            LinkEvent::ChannelOpen(Channel::Signal) => LegEvent::SignalChannelOpen,
            LinkEvent::ChannelClosed(Channel::Signal) => LegEvent::SignalChannelClosed,
            LinkEvent::ChannelOpen(Channel::Lossy) | LinkEvent::ChannelClosed(Channel::Lossy) => return,
            LinkEvent::Message { channel, text, payload } => return self.handle_message(now, key, channel, text, &payload),
            LinkEvent::Refused { step, reason } => {
                tracing::info!(?key, step, reason, "negotiation step refused");
                // A candidate that cannot be used is one way less, not a broken leg.
                if step == "add candidate" {
                    return;
                }
                LegEvent::Failed { reason: format!("{step}: {reason}") }
            }
        };
        self.machine.handle_leg(now, key, event);
    }

    fn handle_message(&mut self, now: Instant, key: LegKey, channel: Channel, text: bool, payload: &[u8]) {
        if self.legs.get(&key).is_some_and(|leg| leg.cut) {
            return;
        }
        let encoding = if text { Encoding::Json } else { Encoding::Proto };
        match (channel, key) {
            (Channel::Signal, LegKey::Peer(from)) => match decode_signal(encoding, payload) {
                Ok((signal, _)) => self.machine.handle_peer_signal(now, from, signal),
                Err(error) => tracing::debug!(%error, ?key, "signal dropped"),
            },
            (Channel::Signal, _) => {}
            (Channel::Lossy, _) => match decode_lossy(encoding, payload) {
                Ok(data) => self.machine.handle_lossy(now, key, data),
                Err(error) => tracing::debug!(%error, ?key, "lossy message dropped"),
            },
        }
    }

    /// Sends what is due and reports what the legs noticed; false where there was nothing.
    pub(super) fn drain_legs(&mut self, now: Instant) -> bool {
        let mut busy = false;
        for (key, leg) in &mut self.legs {
            leg.transmit(now);
            while let Some(output) = leg.poll_output() {
                busy = true;
                let event = match output {
                    LegOutput::KeyframeRequested { track, encoding } => LegEvent::KeyframeRequested { track, encoding },
                    LegOutput::Heartbeat { rtt } => LegEvent::Heartbeat { rtt },
                    LegOutput::HeartbeatLost => LegEvent::HeartbeatLost,
                };
                self.machine.handle_leg(now, *key, event);
            }
        }
        busy
    }
}

/// Browsers read text, everybody else reads bytes too.
fn encoding_for(leg: &Leg) -> Encoding {
    if leg.merges() { Encoding::Proto } else { Encoding::Json }
}

const fn link_kind(kind: SdpKind) -> LinkSdpKind {
    match kind {
        SdpKind::Offer => LinkSdpKind::Offer,
        SdpKind::Answer => LinkSdpKind::Answer,
    }
}

const fn session_kind(kind: LinkSdpKind) -> SdpKind {
    match kind {
        LinkSdpKind::Offer => SdpKind::Offer,
        LinkSdpKind::Answer => SdpKind::Answer,
    }
}

/// ICE's own doubt is not passed on: heartbeats say it sooner.
const fn link_state(state: TransportState) -> Option<LinkState> {
    match state {
        TransportState::Connecting => Some(LinkState::Connecting),
        TransportState::Up => Some(LinkState::Up),
        TransportState::Disconnected => None,
        TransportState::Failed => Some(LinkState::Failed),
        TransportState::Closed => Some(LinkState::Closed),
    }
}

fn from_wire(candidate: proto::Candidate) -> LinkCandidate {
    LinkCandidate { candidate: candidate.candidate, mid: candidate.mid, mline: candidate.mline, ufrag: candidate.ufrag }
}

fn to_wire(candidate: LinkCandidate) -> proto::Candidate {
    proto::Candidate { candidate: candidate.candidate, mid: candidate.mid, mline: candidate.mline, ufrag: candidate.ufrag }
}
