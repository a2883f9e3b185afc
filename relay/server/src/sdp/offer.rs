//! Our offer for a subscriber transport and the client's answer to it.

use segue_media::packet::ExtensionMap;
use segue_model::TrackKind;
use segue_session::sdp::{Description, Section, Setup};

use super::write::{Writer, feedback_of};
use super::{
    H264, H264_PARAMETERS, H264_RTX, LocalTransport, OPUS, OPUS_PARAMETERS, SdpRefusal, StreamPair, choose, remote_transport,
};
use crate::transport::Fingerprint;

/// A media section of a subscriber transport. Slots are reused: their order in an offer never changes, new ones come at the end
/// (RFC 9429 section 5.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `a=mid`, ours to choose, the same for the life of the transport.
    pub mid: String,
    /// Audio or video, the same for the life of the transport.
    pub kind: TrackKind,
    /// `sendonly`; `inactive` otherwise.
    pub active: bool,
    /// Streams we declare; may be empty where the client identifies them by origin or mid.
    pub streams: Vec<StreamPair>,
    /// Ids of media stream and track (`a=msid`).
    pub msid: Option<(String, String)>,
}

/// What a client's answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberAnswer {
    /// The client's ICE username fragment.
    pub ufrag: String,
    /// The client's certificate, for [`crate::transport::TransportSession::set_remote`].
    pub fingerprints: Vec<Fingerprint>,
    /// One for every slot of the offer, in order.
    pub slots: Vec<AnsweredSlot>,
}

/// A slot as the client took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredSlot {
    /// `a=mid`.
    pub mid: String,
    /// The client receives on it.
    pub receives: bool,
    /// Payload type to send.
    pub payload_type: u8,
    /// Payload type of retransmissions, where the client takes them.
    pub rtx_payload_type: Option<u8>,
    /// Header extensions to write.
    pub extensions: ExtensionMap,
}

/// Writes an offer with these slots.
#[must_use]
pub fn subscriber_offer(local: &LocalTransport<'_>, slots: &[Slot]) -> String {
    let mids: Vec<_> = slots.iter().map(|slot| slot.mid.as_str()).collect();
    let mut writer = Writer::new(local, &mids, true);
    for slot in slots {
        write_slot(&mut writer, local, slot);
    }
    writer.finish()
}

impl SubscriberAnswer {
    /// Reads the answer to an offer of `slots` slots.
    ///
    /// # Errors
    /// Where it is no session description, does not fit, or where nothing of it can be used.
    pub fn parse(text: &str, slots: usize) -> Result<Self, SdpRefusal> {
        let description = Description::parse(text)?;
        if description.sections.len() != slots {
            return Err(SdpRefusal::SectionCount { wanted: slots, got: description.sections.len() });
        }
        let (ufrag, fingerprints) = remote_transport(&description)?;
        if description.sections.iter().any(|section| !section.rejected && section.setup != Some(Setup::Active)) {
            return Err(SdpRefusal::Passive);
        }
        let slots: Vec<_> = description.sections.iter().map(AnsweredSlot::new).collect();
        if description.sections.iter().all(|section| section.rejected || choose(section).is_none()) {
            return Err(SdpRefusal::NoCommonCodec);
        }
        Ok(Self { ufrag, fingerprints, slots })
    }
}

impl AnsweredSlot {
    fn new(section: &Section) -> Self {
        let chosen = choose(section).filter(|_| !section.rejected);
        Self {
            mid: section.mid.clone(),
            receives: chosen.is_some() && section.direction.receives(),
            payload_type: chosen.as_ref().map_or(0, |chosen| chosen.codec.payload_type),
            rtx_payload_type: chosen.and_then(|chosen| chosen.codec.rtx),
            extensions: section.extensions,
        }
    }
}

fn write_slot(writer: &mut Writer, local: &LocalTransport<'_>, slot: &Slot) {
    let (media, payload_type, rtx) = match slot.kind {
        TrackKind::Audio => ("audio", OPUS, None),
        TrackKind::Video => ("video", H264, Some(H264_RTX)),
    };
    let formats = rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
    writer.line(format_args!("m={media} 9 UDP/TLS/RTP/SAVPF {payload_type}{formats}"));
    writer.transport(local, "actpass");
    writer.line(format_args!("a=mid:{}", slot.mid));
    writer.line(if slot.active { "a=sendonly" } else { "a=inactive" });
    if let Some((stream, track)) = &slot.msid {
        writer.line(format_args!("a=msid:{stream} {track}"));
    }
    writer.line("a=rtcp-mux");
    writer.line("a=rtcp-rsize");
    writer.extensions(slot.kind, &ExtensionMap::ours());
    let fmtp = match slot.kind {
        TrackKind::Audio => OPUS_PARAMETERS.to_owned(),
        TrackKind::Video => format!("{H264_PARAMETERS}42e01f"),
    };
    writer.codec(slot.kind, payload_type, rtx, &fmtp, feedback_of(slot.kind));
    writer.streams(&slot.streams, slot.msid.as_ref().map(|(stream, track)| (stream.as_str(), track.as_str())));
}
