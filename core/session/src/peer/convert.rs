//! Between the words of the wire and the words of the house. A number the schema does not know becomes the safest word.

use segue_model::{Epoch, ParticipantId, Path, Quality, Topology, TopologyPolicy, TrackId, TrackKind, TrackSource};
use segue_wire::proto;

use super::{EncodingInfo, LinkState, ParticipantInfo, PublishRequest, SdpKind, TrackInfo};

pub(super) fn epoch(epoch: Option<proto::Epoch>) -> Epoch {
    epoch.map_or(Epoch::default(), |epoch| Epoch { incarnation: epoch.incarnation, counter: epoch.counter })
}

pub(super) fn wire_epoch(epoch: Epoch) -> Option<proto::Epoch> {
    Some(proto::Epoch { incarnation: epoch.incarnation, counter: epoch.counter })
}

/// One path; `None` for both or an unknown one.
pub(super) fn path(path: i32) -> Option<Path> {
    match proto::Path::try_from(path) {
        Ok(proto::Path::Direct) => Some(Path::Direct),
        Ok(proto::Path::Relayed) => Some(Path::Relayed),
        _ => None,
    }
}

pub(super) fn wire_path(path: Path) -> i32 {
    match path {
        Path::Direct => proto::Path::Direct.into(),
        Path::Relayed => proto::Path::Relayed.into(),
    }
}

pub(super) fn topology(topology: i32) -> Option<Topology> {
    match proto::Topology::try_from(topology) {
        Ok(proto::Topology::Mesh) => Some(Topology::Mesh),
        Ok(proto::Topology::Mixed) => Some(Topology::Mixed),
        Ok(proto::Topology::Relayed) => Some(Topology::Relayed),
        _ => None,
    }
}

fn policy(policy: i32) -> TopologyPolicy {
    match proto::TopologyPolicy::try_from(policy) {
        Ok(proto::TopologyPolicy::Auto) => TopologyPolicy::Auto,
        Ok(proto::TopologyPolicy::MeshOnly) => TopologyPolicy::MeshOnly,
        Ok(proto::TopologyPolicy::RelayOnly) => TopologyPolicy::RelayOnly,
        // A policy we do not know may be meant to hide something.
        _ => TopologyPolicy::HideAddress,
    }
}

pub(super) fn wire_policy(policy: TopologyPolicy) -> i32 {
    match policy {
        TopologyPolicy::Auto => proto::TopologyPolicy::Auto.into(),
        TopologyPolicy::MeshOnly => proto::TopologyPolicy::MeshOnly.into(),
        TopologyPolicy::RelayOnly => proto::TopologyPolicy::RelayOnly.into(),
        TopologyPolicy::HideAddress => proto::TopologyPolicy::HideAddress.into(),
    }
}

pub(super) fn participant(wire: &proto::Participant) -> ParticipantInfo {
    let capabilities = wire.capabilities.unwrap_or_default();
    ParticipantInfo {
        id: ParticipantId(wire.id),
        identity: wire.identity.clone(),
        name: wire.name.clone(),
        metadata: wire.metadata.clone(),
        peer_id: wire.peer_id.clone(),
        origin: capabilities.origin,
        direct: capabilities.direct,
        policy: policy(wire.policy),
    }
}

/// `None` for a track of a kind this version does not know, or with an id out of range.
pub(super) fn track(wire: &proto::Track) -> Option<TrackInfo> {
    Some(TrackInfo {
        id: track_id(wire.id)?,
        kind: match proto::TrackKind::try_from(wire.kind) {
            Ok(proto::TrackKind::Audio) => TrackKind::Audio,
            Ok(proto::TrackKind::Video) => TrackKind::Video,
            _ => return None,
        },
        source: match proto::TrackSource::try_from(wire.source) {
            Ok(proto::TrackSource::Microphone) => TrackSource::Microphone,
            Ok(proto::TrackSource::Screen) => TrackSource::Screen,
            Ok(proto::TrackSource::ScreenAudio) => TrackSource::ScreenAudio,
            _ => TrackSource::Camera,
        },
        name: wire.name.clone(),
        muted: wire.muted,
        encodings: wire.encodings.iter().map(encoding).collect(),
    })
}

fn encoding(wire: &proto::Encoding) -> EncodingInfo {
    EncodingInfo { rid: wire.rid.clone(), width: wire.width, height: wire.height, max_kbps: wire.max_kbps }
}

fn wire_encoding(encoding: &EncodingInfo) -> proto::Encoding {
    proto::Encoding { rid: encoding.rid.clone(), width: encoding.width, height: encoding.height, max_kbps: encoding.max_kbps }
}

fn wire_kind(kind: TrackKind) -> i32 {
    match kind {
        TrackKind::Audio => proto::TrackKind::Audio.into(),
        TrackKind::Video => proto::TrackKind::Video.into(),
    }
}

fn wire_source(source: TrackSource) -> i32 {
    match source {
        TrackSource::Microphone => proto::TrackSource::Microphone.into(),
        TrackSource::Camera => proto::TrackSource::Camera.into(),
        TrackSource::Screen => proto::TrackSource::Screen.into(),
        TrackSource::ScreenAudio => proto::TrackSource::ScreenAudio.into(),
    }
}

pub(super) fn wire_track(track: &TrackInfo) -> proto::Track {
    proto::Track {
        id: track.id.0.into(),
        kind: wire_kind(track.kind),
        source: wire_source(track.source),
        name: track.name.clone(),
        muted: track.muted,
        encodings: track.encodings.iter().map(wire_encoding).collect(),
    }
}

pub(super) fn wire_publish(request: u32, publish: &PublishRequest) -> proto::Publish {
    proto::Publish {
        request,
        kind: wire_kind(publish.kind),
        source: wire_source(publish.source),
        name: publish.name.clone(),
        muted: publish.muted,
        encodings: publish.encodings.iter().map(wire_encoding).collect(),
    }
}

/// Ids on the wire are wider than the origin's source.
pub(super) fn track_id(id: u32) -> Option<TrackId> {
    u16::try_from(id).ok().filter(|id| *id != 0).map(TrackId)
}

/// What a subscription asks for; nothing said means everything.
pub(super) fn quality(wire: &proto::Subscribe) -> Quality {
    match proto::Quality::try_from(wire.quality) {
        _ if !wire.enabled => Quality::Off,
        Ok(proto::Quality::Off) => Quality::Off,
        Ok(proto::Quality::Low) => Quality::Low,
        Ok(proto::Quality::Medium) => Quality::Medium,
        _ => Quality::High,
    }
}

pub(super) fn wire_subscribe(track: TrackId, quality: Quality) -> proto::Subscribe {
    let wire = match quality {
        Quality::Off => proto::Quality::Off,
        Quality::Low => proto::Quality::Low,
        Quality::Medium => proto::Quality::Medium,
        Quality::High => proto::Quality::High,
    };
    proto::Subscribe { track: track.0.into(), enabled: quality != Quality::Off, quality: wire.into() }
}

pub(super) fn wire_link(state: LinkState, suspect: bool) -> i32 {
    match state {
        LinkState::Up if suspect => proto::LinkState::Failed.into(),
        LinkState::Up => proto::LinkState::Up.into(),
        LinkState::Connecting => proto::LinkState::Connecting.into(),
        LinkState::Failed => proto::LinkState::Failed.into(),
        LinkState::Closed => proto::LinkState::Closed.into(),
    }
}

pub(super) fn sdp_kind(kind: i32) -> Option<SdpKind> {
    match proto::SdpKind::try_from(kind) {
        Ok(proto::SdpKind::Offer) => Some(SdpKind::Offer),
        Ok(proto::SdpKind::Answer) => Some(SdpKind::Answer),
        _ => None,
    }
}

pub(super) fn wire_sdp_kind(kind: SdpKind) -> i32 {
    match kind {
        SdpKind::Offer => proto::SdpKind::Offer.into(),
        SdpKind::Answer => proto::SdpKind::Answer.into(),
    }
}
