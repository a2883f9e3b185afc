//! What others are told of our legs: whether we hear anything, and how good the path is.

use std::time::{Duration, Instant};

use segue_model::ParticipantId;
use segue_wire::proto::signal_body::Body;
use segue_wire::proto::{self, client_frame};

use super::{Leg, LegKey, LinkState, PeerMachine, convert};
use crate::peer::signals::Carriers;

/// A round trip or a loss that changes by less is not worth a message ..
const ROUND_TRIP_STEP: Duration = Duration::from_millis(10);
const LOSS_STEP_PERMILLE: u32 = 50;

/// .. and neither is told more often than this.
const QUALITY_INTERVAL: Duration = Duration::from_secs(1);

/// The reports of our legs' state go with their round-trip time.
fn micros(time: Option<Duration>) -> u32 {
    time.map_or(0, |time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

impl PeerMachine {
    /// Tells the relay, the other end and whoever depends on it when a leg comes or goes.
    pub(in crate::peer) fn report_legs(&mut self, now: Instant) {
        let changed: Vec<_> =
            self.legs.iter_mut().filter_map(|(key, leg)| leg.poll_report(now).map(|report| (*key, report))).collect();
        for (key, mut report) in changed {
            match key {
                LegKey::Peer(to) => {
                    report.peer = to.0;
                    self.send_server(now, client_frame::Message::LinkReport(report));
                    // Whether *we* hear *them*: they cannot know otherwise when only one direction died.
                    self.send_signal(now, Some(to), Body::LinkReport(report), Carriers::All);
                }
                LegKey::RelaySubscriber => {
                    self.send_server(now, client_frame::Message::LinkReport(report));
                    let warm: Vec<_> =
                        self.remotes.keys().copied().filter(|id| self.legs.contains_key(&LegKey::Peer(*id))).collect();
                    for to in warm {
                        self.send_signal(now, Some(to), Body::LinkReport(report), Carriers::All);
                    }
                }
                LegKey::RelayPublisher => {}
            }
        }
    }

    /// Somebody we can speak to now has not heard how we hear the relay.
    pub(in crate::peer) fn tell_relay_heard(&mut self, now: Instant, to: ParticipantId) {
        let told = self.legs.get(&LegKey::RelaySubscriber).filter(|leg| leg.reported_up.is_some());
        if let Some(report) = told.map(Leg::report) {
            self.send_signal(now, Some(to), Body::LinkReport(report), Carriers::All);
        }
    }
}

impl Leg {
    /// A report where what we hear changed between something and nothing, or the path is not what it was.
    fn poll_report(&mut self, now: Instant) -> Option<proto::LinkReport> {
        let heard = self.link == LinkState::Up && !self.watch.is_suspect();
        let same = self.reported_up == Some(heard) && !(heard && self.has_changed(now));
        // One that was never up is no news before it has had its time.
        if same || (!heard && self.report_at.is_some()) {
            return None;
        }
        if self.reported_up == Some(heard) {
            self.reported_at = Some(now);
        }
        self.reported = (self.quality.round_trip(), self.quality.loss_permille());
        self.reported_up = Some(heard);
        self.report_at = None;
        Some(self.report())
    }

    /// Round trip or loss is another than the one reported, and the last such report some time ago.
    fn has_changed(&self, now: Instant) -> bool {
        if self.reported_at.is_some_and(|at| now < at + QUALITY_INTERVAL) {
            return false;
        }
        let longer = match (self.reported.0, self.quality.round_trip()) {
            (None, known) => known.is_some(),
            (Some(before), Some(after)) => before.abs_diff(after) > ROUND_TRIP_STEP.max(before / 5),
            (Some(_), None) => false,
        };
        longer || self.reported.1.abs_diff(self.quality.loss_permille()) > LOSS_STEP_PERMILLE
    }

    fn report(&self) -> proto::LinkReport {
        let state = convert::wire_link(self.link, self.watch.is_suspect());
        // One that is being repaired is lost to whoever depends on it.
        let heard = state == i32::from(proto::LinkState::Up);
        let state = if heard { state } else { state.max(proto::LinkState::Failed.into()) };
        proto::LinkReport {
            peer: 0,
            state,
            rtt_us: micros(self.quality.round_trip()),
            loss_permille: self.quality.loss_permille(),
        }
    }
}
