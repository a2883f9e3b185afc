//! One participant as the room holds it.

use std::collections::BTreeMap;
use std::time::Instant;

use segue_model::{ParticipantId, TrackId};
use segue_wire::proto;

use super::rate::Bucket;
use super::{JoinRequest, RoomConfig};

/// Legs of a participant that are known of: those of a mesh, which has at most eight, and the relay's.
const MAX_LINKS: usize = 17;

/// Tracks a participant may publish per second in the long run. A number of a track is given again
/// only long after it was given back: at this rate the 65,535 of a room are enough for 512 participants.
pub(super) const PUBLISHES_PER_SECOND: u32 = 1;

/// Times its number of tracks a participant may publish at once: all of them, and all of them anew.
const PUBLISH_BURST: u64 = 2;

/// Candidates a participant may send the relay per second in the long run, each description counted as eight: eight descriptions a second
/// are more than people who share and unshare, and networks that come and go, bring about.
const NEGOTIATIONS_PER_SECOND: u32 = 64;

/// Likewise at once: 128 descriptions, for whoever joins a large room and is offered section after section.
const NEGOTIATION_BURST: u64 = 1024;

/// Pictures that a mesh shows at less than this share (of a thousand) of their rate are better off on the relay, where one copy of them
/// leaves ..
const SHORT_PERMILLE: u64 = 700;

/// .. and from this share on a room may go back: what is lost by it, nobody sees.
const ENOUGH_PERMILLE: u64 = 900;

/// An estimate that rose by this part is still being found out.
const RISE: u32 = 20;

/// What a participant says of its uplink.
#[derive(Clone, Copy, Debug)]
struct Uplink {
    report: proto::UplinkReport,
    /// Since when it has borne too little, without rising.
    short_since: Option<Instant>,
}

impl Uplink {
    fn bears(report: proto::UplinkReport, permille: u64) -> bool {
        u64::from(report.uplink_kbps) * 1_000 >= u64::from(report.mesh_kbps) * permille
    }
}

pub(super) struct Member {
    pub(super) id: ParticipantId,
    pub(super) identity: String,
    name: String,
    metadata: String,
    peer_id: Vec<u8>,
    pub(super) grants: proto::Grants,
    capabilities: proto::Capabilities,
    policy: proto::TopologyPolicy,
    /// The one identity it receives from.
    pub(super) plays: Option<String>,
    pub(super) tracks: BTreeMap<TrackId, proto::Track>,
    /// When its connection was lost; `None` while it has one.
    pub(super) lost_at: Option<Instant>,
    /// Whether the legs it speaks of are up or have failed, by who is at the other end.
    legs: BTreeMap<ParticipantId, bool>,
    /// Round trip in microseconds and loss in thousandths of its legs, by who is at the other end; 0 is the relay.
    links: BTreeMap<ParticipantId, (u32, u32)>,
    uplink: Option<Uplink>,
    pub(super) messages: Bucket,
    pub(super) bytes: Bucket,
    pub(super) publishes: Bucket,
    pub(super) negotiations: Bucket,
    /// Messages dropped since it last sent at a bearable rate.
    pub(super) dropped: u32,
}

impl Member {
    pub(super) fn new(now: Instant, id: ParticipantId, request: JoinRequest, config: &RoomConfig) -> Self {
        // On a direct leg nobody but the sender could keep media from somebody who may not have it; the relay does not forward it.
        let direct = request.capabilities.direct && request.grants.subscribe;
        Self {
            id,
            identity: request.identity,
            name: request.name,
            metadata: request.metadata,
            peer_id: request.peer_id,
            grants: request.grants,
            capabilities: proto::Capabilities { direct, ..request.capabilities },
            policy: request.policy,
            plays: request.plays,
            tracks: BTreeMap::new(),
            lost_at: None,
            legs: BTreeMap::new(),
            links: BTreeMap::new(),
            uplink: None,
            messages: Bucket::new(now, config.messages_per_second),
            bytes: Bucket::new(now, config.bytes_per_second),
            publishes: Bucket::with_burst(now, PUBLISHES_PER_SECOND, PUBLISH_BURST * config.max_tracks as u64),
            negotiations: Bucket::with_burst(now, NEGOTIATIONS_PER_SECOND, NEGOTIATION_BURST),
            dropped: 0,
        }
    }

    /// As others see it.
    pub(super) fn to_message(&self) -> proto::Participant {
        proto::Participant {
            id: self.id.0,
            identity: self.identity.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            peer_id: self.peer_id.clone(),
            capabilities: Some(self.capabilities),
            tracks: self.tracks.values().cloned().collect(),
            policy: self.policy.into(),
        }
    }

    /// What a publisher sends may reach it.
    pub(super) fn receives_from(&self, publisher: &Self) -> bool {
        self.grants.subscribe && self.plays.as_ref().is_none_or(|played| *played == publisher.identity)
    }

    /// It stamps and merges by origin.
    pub(super) fn origin(&self) -> bool {
        self.capabilities.origin
    }

    /// Its edges go by the relay whatever the room does.
    pub(super) fn relay_only(&self) -> bool {
        matches!(self.policy, proto::TopologyPolicy::RelayOnly | proto::TopologyPolicy::HideAddress)
    }

    /// It does not want the room to move for its size.
    pub(super) fn mesh_only(&self) -> bool {
        self.policy == proto::TopologyPolicy::MeshOnly
    }

    /// Direct legs can be built to it.
    pub(super) fn direct(&self) -> bool {
        self.capabilities.direct
    }

    /// It only listens and watches.
    pub(super) fn receive_only(&self) -> bool {
        !self.grants.publish
    }

    pub(super) fn publishes(&self, kind: proto::TrackKind) -> bool {
        self.tracks.values().any(|track| track.kind() == kind)
    }

    pub(super) fn shares_screen(&self) -> bool {
        self.tracks.values().any(|track| track.source() == proto::TrackSource::Screen)
    }

    pub(super) fn handle_link_report(&mut self, report: &proto::LinkReport) {
        let peer = ParticipantId(report.peer);
        if report.rtt_us > 0 && (self.links.len() < MAX_LINKS || self.links.contains_key(&peer)) {
            self.links.insert(peer, (report.rtt_us, report.loss_permille));
        }
        let has_room = self.legs.len() < MAX_LINKS || self.legs.contains_key(&peer);
        match report.state() {
            proto::LinkState::Up if has_room => _ = self.legs.insert(peer, true),
            proto::LinkState::Failed if has_room => _ = self.legs.insert(peer, false),
            proto::LinkState::Closed => _ = self.legs.remove(&peer),
            _ => {}
        }
    }

    pub(super) fn handle_uplink_report(&mut self, now: Instant, report: proto::UplinkReport) {
        let short = !Uplink::bears(report, SHORT_PERMILLE);
        let before = self.uplink.filter(|before| {
            let known = before.report.uplink_kbps;
            before.report.mesh_kbps == report.mesh_kbps && report.uplink_kbps <= known.saturating_add(known / RISE)
        });
        let since = before.and_then(|before| before.short_since).unwrap_or(now);
        self.uplink = Some(Uplink { report, short_since: short.then_some(since) });
    }

    /// Since when its uplink has borne too little for a mesh.
    pub(super) fn short_since(&self) -> Option<Instant> {
        self.uplink?.short_since
    }

    /// Whether a mesh would cost its pictures something. Of those who do not report, nothing is known.
    pub(super) fn lacks_uplink(&self) -> bool {
        self.uplink.is_some_and(|uplink| !Uplink::bears(uplink.report, ENOUGH_PERMILLE))
    }

    pub(super) fn forget(&mut self, peer: ParticipantId) {
        self.legs.remove(&peer);
        self.links.remove(&peer);
    }

    /// Whether it reports that its direct leg to a peer has failed.
    pub(super) fn misses(&self, peer: ParticipantId) -> bool {
        self.legs.get(&peer) == Some(&false)
    }

    /// Round trip in microseconds and loss in thousandths of a leg, where they are known.
    pub(super) fn link(&self, peer: ParticipantId) -> Option<(u32, u32)> {
        self.links.get(&peer).copied()
    }

    pub(super) fn failed_peers(&self) -> impl Iterator<Item = ParticipantId> {
        self.legs.iter().filter(|(_, up)| !**up).map(|(peer, _)| *peer)
    }

    pub(super) fn reports_leg_to(&self, peer: ParticipantId) -> bool {
        self.legs.get(&peer) == Some(&true)
    }
}
