//! Walks a decoded message and checks every length.

use crate::limits::{
    MAX_CANDIDATE, MAX_DATA_PAYLOAD, MAX_DEVICE_KEY, MAX_DEVICE_SIGNATURE, MAX_ENCODINGS, MAX_LABEL, MAX_LIST,
    MAX_LOSSY_PAYLOAD, MAX_METADATA, MAX_NAME, MAX_ROSTER, MAX_SDP, MAX_SIGNAL_BODY, MAX_TEXT, MAX_TOKEN,
};
use crate::proto::{
    Candidate, ClientFrame, Description, Encoding, Join, Joined, LossyData, MidTrack, Participant, RelayDescription,
    ServerFrame, Signal, SignalBody, Track, client_frame, server_frame, signal_body,
};

/// A length above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Name of the field.
    pub field: &'static str,
    /// What it may be, in bytes or entries.
    pub limit: usize,
}

type Checked = Result<(), TooLong>;

pub(crate) trait Check {
    fn check(&self) -> Checked;
}

fn at_most(field: &'static str, length: usize, limit: usize) -> Checked {
    if length > limit { Err(TooLong { field, limit }) } else { Ok(()) }
}

fn list<T: Check>(field: &'static str, items: &[T], limit: usize) -> Checked {
    at_most(field, items.len(), limit)?;
    items.iter().try_for_each(Check::check)
}

impl Check for ClientFrame {
    fn check(&self) -> Checked {
        use client_frame::Message;
        match &self.message {
            Some(Message::Join(join)) => join.check(),
            Some(Message::Resume(resume)) => at_most("resume_token", resume.resume_token.len(), MAX_TOKEN),
            Some(Message::Publish(publish)) => {
                at_most("name", publish.name.len(), MAX_NAME)?;
                list("encodings", &publish.encodings, MAX_ENCODINGS)
            }
            Some(Message::Description(description)) => description.check(),
            Some(Message::Candidate(candidate)) => candidate.candidate.as_ref().map_or(Ok(()), Check::check),
            Some(Message::Signal(signal)) => signal.check(),
            Some(Message::EdgePath(edge)) => {
                at_most("reason", edge.reason.len(), MAX_TEXT)?;
                at_most("direct", edge.direct.len(), MAX_LIST)
            }
            Some(
                Message::Leave(_)
                | Message::Unpublish(_)
                | Message::SetMuted(_)
                | Message::Subscribe(_)
                | Message::TopologyReady(_)
                | Message::LinkReport(_)
                | Message::UplinkReport(_)
                | Message::Ping(_)
                | Message::Kick(_)
                | Message::MuteTrack(_),
            )
            | None => Ok(()),
        }
    }
}

impl Check for ServerFrame {
    fn check(&self) -> Checked {
        use server_frame::Message;
        match &self.message {
            Some(Message::Joined(joined)) => joined.check(),
            Some(Message::Goodbye(goodbye)) => at_most("message", goodbye.message.len(), MAX_TEXT),
            Some(Message::ParticipantJoined(joined)) => joined.participant.as_ref().map_or(Ok(()), Check::check),
            Some(Message::TrackPublished(published)) => published.track.as_ref().map_or(Ok(()), Check::check),
            Some(Message::Published(published)) => published.track.as_ref().map_or(Ok(()), Check::check),
            Some(Message::Description(description)) => description.check(),
            Some(Message::Candidate(candidate)) => candidate.candidate.as_ref().map_or(Ok(()), Check::check),
            Some(Message::Signal(signal)) => signal.check(),
            Some(Message::TopologyPrepare(prepare)) => at_most("reason", prepare.reason.len(), MAX_TEXT),
            Some(Message::TopologyCommit(commit)) => at_most("reason", commit.reason.len(), MAX_TEXT),
            Some(Message::TopologyAbort(abort)) => at_most("reason", abort.reason.len(), MAX_TEXT),
            Some(Message::Speakers(speakers)) => at_most("speakers", speakers.speakers.len(), MAX_LIST),
            Some(Message::Slots(slots)) => list("slots", &slots.slots, MAX_LIST),
            Some(Message::Error(error)) => at_most("message", error.message.len(), MAX_TEXT),
            Some(
                Message::Resumed(_)
                | Message::ParticipantLeft(_)
                | Message::TrackUnpublished(_)
                | Message::TrackMuted(_)
                | Message::Pong(_),
            )
            | None => Ok(()),
        }
    }
}

impl Check for Join {
    fn check(&self) -> Checked {
        at_most("token", self.token.len(), MAX_TOKEN)?;
        at_most("device_key", self.device_key.len(), MAX_DEVICE_KEY)?;
        at_most("device_signature", self.device_signature.len(), MAX_DEVICE_SIGNATURE)?;
        at_most("name", self.name.len(), MAX_NAME)?;
        at_most("metadata", self.metadata.len(), MAX_METADATA)?;
        at_most("client", self.client.len(), MAX_NAME)?;
        self.rejoin.as_ref().map_or(Ok(()), |rejoin| list("tracks", &rejoin.tracks, MAX_LIST))
    }
}

impl Check for Joined {
    fn check(&self) -> Checked {
        at_most("room", self.room.len(), MAX_NAME)?;
        self.self_.as_ref().map_or(Ok(()), Check::check)?;
        list("others", &self.others, MAX_ROSTER)?;
        at_most("resume_token", self.resume_token.len(), MAX_TOKEN)?;
        at_most("ice_servers", self.ice_servers.len(), MAX_LIST)
    }
}

impl Check for Participant {
    fn check(&self) -> Checked {
        at_most("identity", self.identity.len(), MAX_NAME)?;
        at_most("name", self.name.len(), MAX_NAME)?;
        at_most("metadata", self.metadata.len(), MAX_METADATA)?;
        at_most("peer_id", self.peer_id.len(), MAX_DEVICE_KEY)?;
        list("tracks", &self.tracks, MAX_LIST)
    }
}

impl Check for Track {
    fn check(&self) -> Checked {
        at_most("name", self.name.len(), MAX_NAME)?;
        list("encodings", &self.encodings, MAX_ENCODINGS)
    }
}

impl Check for Encoding {
    fn check(&self) -> Checked {
        at_most("rid", self.rid.len(), MAX_LABEL)
    }
}

impl Check for RelayDescription {
    fn check(&self) -> Checked {
        at_most("sdp", self.sdp.len(), MAX_SDP)?;
        list("tracks", &self.tracks, MAX_LIST)
    }
}

impl Check for MidTrack {
    fn check(&self) -> Checked {
        at_most("mid", self.mid.len(), MAX_LABEL)
    }
}

impl Check for Candidate {
    fn check(&self) -> Checked {
        at_most("candidate", self.candidate.len(), MAX_CANDIDATE)?;
        at_most("mid", self.mid.len(), MAX_LABEL)?;
        at_most("ufrag", self.ufrag.len(), MAX_CANDIDATE)
    }
}

impl Check for Signal {
    /// The body is opaque here: its reader checks it.
    fn check(&self) -> Checked {
        at_most("body", self.body.len(), MAX_SIGNAL_BODY)
    }
}

impl Check for Description {
    fn check(&self) -> Checked {
        at_most("sdp", self.sdp.len(), MAX_SDP)?;
        list("tracks", &self.tracks, MAX_LIST)
    }
}

impl Check for SignalBody {
    fn check(&self) -> Checked {
        use signal_body::Body;
        match &self.body {
            Some(Body::Description(description)) => description.check(),
            Some(Body::Candidate(candidate)) => candidate.check(),
            Some(Body::EdgePrepare(prepare)) => at_most("tracks", prepare.tracks.len(), MAX_LIST),
            Some(Body::EdgeCommit(commit)) => at_most("reason", commit.reason.len(), MAX_TEXT),
            Some(Body::EdgeAbort(abort)) => at_most("reason", abort.reason.len(), MAX_TEXT),
            Some(Body::Data(data)) => {
                at_most("topic", data.topic.len(), MAX_TEXT)?;
                at_most("payload", data.payload.len(), MAX_DATA_PAYLOAD)
            }
            Some(Body::Goodbye(goodbye)) => at_most("message", goodbye.message.len(), MAX_TEXT),
            Some(
                Body::EdgeReady(_)
                | Body::LinkReport(_)
                | Body::DataAck(_)
                | Body::KeyframeRequest(_)
                | Body::Muted(_)
                | Body::Subscribe(_),
            )
            | None => Ok(()),
        }
    }
}

impl Check for LossyData {
    fn check(&self) -> Checked {
        at_most("topic", self.topic.len(), MAX_TEXT)?;
        at_most("payload", self.payload.len(), MAX_LOSSY_PAYLOAD)
    }
}
