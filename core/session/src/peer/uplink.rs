//! What our uplink bears and what a mesh would ask of it, told to the relay: a room moves by it.

use std::time::{Duration, Instant};

use segue_model::{DataRate, Topology};
use segue_wire::proto::{self, client_frame};

use super::PeerMachine;

/// An estimate that changed by less than this part is not worth a message ..
const STEP: u32 = 10;

/// .. and neither is told more often than this.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct UplinkTold {
    report: proto::UplinkReport,
    at: Option<Instant>,
}

impl UplinkTold {
    fn is_news(&self, now: Instant, report: proto::UplinkReport) -> bool {
        let Some(at) = self.at else { return report.mesh_kbps > 0 };
        let before = self.report.uplink_kbps;
        let moved = report.mesh_kbps > 0 && before.abs_diff(report.uplink_kbps) > before / STEP;
        now >= at + INTERVAL && (moved || report.mesh_kbps != self.report.mesh_kbps)
    }

    /// The relay knows nothing any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl PeerMachine {
    /// To how many our tracks would go directly if the room were a mesh; 0 where it is too large for one.
    #[must_use]
    pub fn mesh_edges(&self) -> usize {
        if self.remotes.len() >= self.mesh_max {
            return 0;
        }
        self.remotes.values().filter(|remote| self.direct_permitted(&remote.info)).count()
    }

    /// Whether an edge of ours goes two ways.
    #[must_use]
    pub fn in_overlap(&self) -> bool {
        self.remotes.values().any(|remote| remote.out.in_overlap())
    }

    /// Whether the room is between two topologies.
    #[must_use]
    pub fn room_moves(&self) -> bool {
        let (from, to) = (self.topology.committed, self.topology.target);
        from != Topology::Mixed && from != to
    }

    /// The shell's estimate of the uplink as a whole, and what a mesh would send at its best ([`PeerMachine::mesh_edges`]), both with all
    /// headers. Cheap; to be called as often as either may have changed.
    pub fn set_uplink(&mut self, now: Instant, estimate: DataRate, mesh: DataRate) {
        let kbps = |rate: DataRate| u32::try_from(rate.as_kbps()).unwrap_or(u32::MAX);
        let report = proto::UplinkReport { uplink_kbps: kbps(estimate), mesh_kbps: kbps(mesh) };
        if self.connection.is_live() && self.uplink_told.is_news(now, report) {
            self.uplink_told = UplinkTold { report, at: Some(now) };
            self.send_server(now, client_frame::Message::UplinkReport(report));
            self.transmit(now);
        }
    }
}
