//! How much a path bears: the sender-side bandwidth estimator.
//!
//! [`Estimator`] looks after one leg, [`CoupledEstimator`] after all legs of a sender that share one uplink, [`Uplink`] divides
//! that among what is sent.
//!
//! What became of every packet goes in ([`crate::feedback::PacketResult`]), a rate and probe clusters for the pacer come out.
//!
//! [`Estimator`] looks after one leg. Its parts: a gauge of the queue and a filter of its trend over groups of packets, the delivered
//! rate, a model of losses that tells random ones from those of a full queue, a controller that raises and lowers the rate,
//! and a prober that finds room nobody uses.
//!
//! Sources, and where this differs on purpose: the trend of the one-way delay with an adaptive threshold follows
//! draft-ietf-rmcat-gcc-02 section 5 and the "trendline" successor of its Kalman filter; as sent and received times of every packet are at
//! hand, the filter runs on one-way delays instead of summed differences, which are the same but for a constant. The rate controller is the
//! draft's section 5.5 with three differences: what was delivered in the last moments counts, not only in the last half second; the
//! standing queue (delay above the least seen in the last seconds) is drained by sending less for as long as it stands; and
//! additive growth is the same for every rate and round trip, so that flows end up equal. Of libwebrtc's loss-based
//! controller comes the idea to fit an inherent loss and a bandwidth to the same observations; the fit and the experiment that decides
//! where rates did not vary are our own.

mod capacity;
mod control;
mod coupled;
mod delivered;
mod estimator;
mod ladder;
mod loss;
mod prober;
mod queue;
mod sense;
mod share;
mod trend;
mod uplink;

pub use coupled::{CoupledEstimator, LegNeed};
pub use estimator::{Estimator, EstimatorConfig, EstimatorStats};
pub use ladder::Rung;
pub use prober::{ClusterId, ProbeCluster};
pub use uplink::{PACING, Uplink, UplinkOrder, UplinkStream};
