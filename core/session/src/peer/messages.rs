//! Messages of the application: reliable ones end to end, lossy ones as they come.

use std::time::Instant;

use bytes::Bytes;
use segue_model::{ParticipantId, Path};
use segue_wire::limits::MAX_LOSSY_PAYLOAD;
use segue_wire::proto;
use segue_wire::proto::signal_body::Body;

use super::signals::Carriers;
use super::{Command, DataError, LegKey, PeerEvent, PeerMachine};

impl PeerMachine {
    pub(super) fn send_reliable(&mut self, now: Instant, topic: &str, payload: Bytes) -> Result<(), DataError> {
        if self.local().is_none() {
            return Err(DataError::NotJoined);
        }
        let number = self.data.send(now, topic, payload)?;
        // One message for all goes once to the relay where nobody can be reached otherwise.
        let direct = |id: &ParticipantId| self.legs.get(&LegKey::Peer(*id)).is_some_and(|leg| leg.signal_open);
        let receivers: Vec<_> = self.remotes.keys().copied().collect();
        if receivers.len() > 1 && !receivers.iter().any(direct) && self.data.all_synced() {
            if let Some(data) = self.data.message(number, None) {
                self.send_signal(now, None, Body::Data(data), Carriers::One);
            }
            return Ok(());
        }
        for to in receivers {
            if let Some(data) = self.data.message(number, Some(to)) {
                self.send_signal(now, Some(to), Body::Data(data), Carriers::One);
            }
        }
        Ok(())
    }

    /// Whatever was not acknowledged goes again, now over every carrier that lives.
    pub(super) fn handle_data_timeout(&mut self, now: Instant) {
        for resend in self.data.handle_timeout(now) {
            let direct = self.legs.get(&LegKey::Peer(resend.to)).is_some_and(|leg| leg.signal_open);
            if !direct && !self.connection.is_live() {
                continue;
            }
            for data in resend.messages {
                self.send_signal(now, Some(resend.to), Body::Data(data), Carriers::All);
            }
        }
    }

    pub(super) fn handle_data(&mut self, now: Instant, from: ParticipantId, data: proto::Data) {
        let Some(remote) = self.remotes.get_mut(&from) else { return };
        let delivered = remote.data.handle_data(data);
        let up_to = remote.data.up_to();
        for message in delivered {
            let (topic, payload) = (message.topic, message.payload);
            self.events.push_back(PeerEvent::DataReceived { from, topic, payload, reliable: true });
        }
        let carriers = if self.connection.is_live() { Carriers::All } else { Carriers::One };
        self.send_signal(now, Some(from), Body::DataAck(proto::DataAck { up_to }), carriers);
    }

    pub(super) fn send_unreliable(&mut self, to: Option<ParticipantId>, topic: &str, payload: Bytes) -> Result<(), DataError> {
        let Some(local) = self.local() else { return Err(DataError::NotJoined) };
        if payload.len() > MAX_LOSSY_PAYLOAD {
            return Err(DataError::TooLong { len: payload.len(), max: MAX_LOSSY_PAYLOAD });
        }
        let data = |to: u32| proto::LossyData { from: local.0, to, topic: topic.to_owned(), payload: payload.to_vec() };
        let receivers: Vec<_> = self.remotes.keys().copied().filter(|id| to.is_none_or(|to| to == *id)).collect();
        let is_direct = |id: &ParticipantId| {
            let relayed = self.remotes.get(id).is_some_and(|remote| remote.out.path() == Path::Relayed);
            self.leg_is_up(LegKey::Peer(*id)) && !(relayed && self.leg_is_up(LegKey::RelayPublisher))
        };
        let (direct, relayed): (Vec<_>, Vec<_>) = receivers.into_iter().partition(is_direct);
        let everybody = direct.is_empty() && to.is_none() && !relayed.is_empty();
        let relayed = if everybody { vec![0] } else { relayed.into_iter().map(|id| id.0).collect() };
        let sends = direct.into_iter().map(|id| (LegKey::Peer(id), id.0));
        let sends: Vec<_> = sends.chain(relayed.into_iter().map(|to| (LegKey::RelayPublisher, to))).collect();
        self.commands.extend(sends.into_iter().map(|(leg, to)| Command::SendLossy { leg, data: data(to) }));
        Ok(())
    }

    pub(super) fn receive_lossy(&mut self, leg: LegKey, data: proto::LossyData) {
        let from = match leg {
            LegKey::Peer(id) => id,
            LegKey::RelayPublisher | LegKey::RelaySubscriber => ParticipantId(data.from),
        };
        if self.remotes.contains_key(&from) && data.payload.len() <= MAX_LOSSY_PAYLOAD {
            let payload = data.payload.into();
            self.events.push_back(PeerEvent::DataReceived { from, topic: data.topic, payload, reliable: false });
        }
    }
}
