//! Lossy data: read from the sender's publisher transport, written on those of the participants it is for.

use std::time::Instant;

use segue_model::ParticipantId;
use segue_wire::{Encoding, decode_lossy, encode_lossy};

use super::egress::Outlet;
use super::metrics::Figure;
use super::session::SessionKey;
use super::worker::Shard;
use crate::media_plane::TransportKind;
use crate::transport::{DataMessage, LOSSY_CHANNEL};

impl Shard {
    /// A message of a data channel. Only the lossy channel of a publisher transport is the relay's business.
    pub(super) fn handle_data(&mut self, now: Instant, sender: &dyn Outlet, key: SessionKey, message: &DataMessage) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.kind != TransportKind::Publisher || message.channel != LOSSY_CHANNEL {
            return;
        }
        let (from, room) = (session.participant, session.room);
        let Some(room) = self.rooms.get_mut(room) else { return };
        let Some(member) = room.members.get_mut(&from) else { return };
        let form = if message.text { Encoding::Json } else { Encoding::Proto };
        if !member.data.take(now, message.payload.len()) {
            self.metrics.add(Figure::DataLimited, 1);
            return;
        }
        let Some(mut data) = member.publish.then(|| decode_lossy(form, &message.payload).ok()).flatten() else {
            self.metrics.add(Figure::DataRefused, 1);
            return;
        };
        data.from = from.0;
        let receivers = room.members.iter().filter(|&(&id, _)| id != from && (data.to == 0 || id == ParticipantId(data.to)));
        let receivers: Vec<_> = receivers
            .filter_map(|(_, member)| Some((member.publisher.as_ref().filter(|leg| leg.up)?.session, member.origin)))
            .collect();
        // SDK peers read protobuf, pages read JSON; each form is written once.
        let (mut proto, mut json) = (None, None);
        for (receiver, origin) in receivers {
            let (form, written) = if origin { (Encoding::Proto, &mut proto) } else { (Encoding::Json, &mut json) };
            let payload = written.get_or_insert_with(|| encode_lossy(form, &data));
            let Some(session) = self.sessions.get_mut(receiver) else { continue };
            // A receiver that does not keep up loses messages: that is what lossy means.
            if session.transport.send_data(now, LOSSY_CHANNEL, form == Encoding::Json, payload).is_ok() {
                self.metrics.add(Figure::DataMessages, 1);
            }
            self.service(now, sender, receiver);
        }
    }
}
