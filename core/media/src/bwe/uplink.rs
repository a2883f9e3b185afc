//! One budget for everything a sender sends: over all legs, voice first.
//!
//! A shell says what each leg carries, feeds what was sent and what became of it, and obeys: pacers and encoders get rates,
//! legs get probes to send.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_model::{DataRate, DataSize, EncodingId, TrackId, TrackKind};

use crate::feedback::PacketResult;
use crate::merge::LegId;

use super::coupled::{CoupledEstimator, LegNeed};
use super::estimator::{EstimatorConfig, EstimatorStats};
use super::prober::ProbeCluster;

/// Headers of voice: 50 packets a second with RTP, its extensions, SRTP tag, UDP and IPv4.
const AUDIO_HEADERS: DataRate = DataRate::kbps(38);

/// Share of a leg's video budget that is payload: the rest is headers and repairs.
const PAYLOAD: f64 = 0.88;

/// A picture is never asked for below this: an encoder makes nothing useful of less.
const LEAST_VIDEO: DataRate = DataRate::kbps(60);

/// An encoder is told of changes above this share, or after this time.
const NOTABLE: f64 = 0.05;
const RENEW: Duration = Duration::from_millis(1_000);

/// Pacers spend this many times the estimate, so that a frame leaves before the next one comes.
pub const PACING: f64 = 1.25;

/// A pacer that is behind by more than this spends up to `MAX_PACING` times the estimate: a keyframe is worth a short queue.
const MAX_BEHIND: Duration = Duration::from_millis(120);
const MAX_PACING: f64 = 2.5;

/// A stream as a leg carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UplinkStream {
    /// The track.
    pub track: TrackId,
    /// Which of its encodings.
    pub encoding: EncodingId,
    /// Voice or picture.
    pub kind: TrackKind,
    /// Payload it makes at most: voice always makes it.
    pub most: DataRate,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkOrder {
    /// The pacer of a leg spends this from now on.
    Pace {
        /// Which leg.
        leg: LegId,
        /// How much.
        rate: DataRate,
    },
    /// A leg sends a probe.
    Probe {
        /// Which leg.
        leg: LegId,
        /// What.
        cluster: ProbeCluster,
    },
    /// The encoder of a picture makes this from now on, payload only.
    Encode {
        /// Which track.
        track: TrackId,
        /// Which of its encodings.
        encoding: EncodingId,
        /// How much.
        rate: DataRate,
    },
}

#[derive(Debug, Default)]
struct Carrier {
    streams: Vec<UplinkStream>,
    pace: Option<DataRate>,
    waiting: DataSize,
}

/// Divides what the uplink bears.
#[derive(Debug)]
pub struct Uplink {
    coupled: CoupledEstimator,
    carriers: BTreeMap<LegId, Carrier>,
    encoders: BTreeMap<(TrackId, EncodingId), (DataRate, Instant)>,
    orders: VecDeque<UplinkOrder>,
}

impl Uplink {
    /// With nothing to carry.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Self {
        let coupled = CoupledEstimator::new(config);
        Self { coupled, carriers: BTreeMap::new(), encoders: BTreeMap::new(), orders: VecDeque::new() }
    }

    /// Says what a leg carries from now on. `reports`: the other side reports what arrives (transport-wide feedback).
    pub fn set_leg(&mut self, now: Instant, leg: LegId, streams: Vec<UplinkStream>, reports: bool) {
        let audio = streams.iter().filter(|stream| stream.kind == TrackKind::Audio);
        let audio = audio.fold(DataRate::ZERO, |sum, stream| sum + stream.most + AUDIO_HEADERS);
        let video = streams.iter().filter(|stream| stream.kind == TrackKind::Video);
        let video = video.fold(DataRate::ZERO, |sum, stream| sum + stream.most) * (1.0 / PAYLOAD);
        let carrier = self.carriers.entry(leg).or_default();
        carrier.streams = streams;
        self.coupled.set_need(now, leg, LegNeed { audio, most: audio + video, reports });
        self.order(now);
    }

    /// A leg is gone.
    pub fn remove_leg(&mut self, now: Instant, leg: LegId) {
        self.carriers.remove(&leg);
        self.coupled.remove_leg(leg);
        self.order(now);
    }

    /// Notes what left on a leg.
    pub fn handle_sent(&mut self, now: Instant, leg: LegId, size: DataSize) {
        self.coupled.handle_sent(now, leg, size);
    }

    /// Notes how much waits in the pacer of a leg.
    pub fn handle_waiting(&mut self, leg: LegId, waiting: DataSize) {
        let Some(carrier) = self.carriers.get_mut(&leg) else { return };
        carrier.waiting = waiting;
        self.pace(leg);
    }

    /// Takes what became of packets of a leg.
    pub fn handle_feedback(&mut self, now: Instant, leg: LegId, results: &[PacketResult]) {
        self.coupled.handle_feedback(now, leg, results);
        self.order(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.coupled.poll_timeout().is_some_and(|at| at <= now) {
            self.coupled.handle_timeout(now);
            self.order(now);
        }
    }

    /// When time matters next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.coupled.poll_timeout()
    }

    /// What is to be done. Call until `None`.
    pub fn poll_order(&mut self) -> Option<UplinkOrder> {
        let probe = || self.coupled.poll_probe().map(|(leg, cluster)| UplinkOrder::Probe { leg, cluster });
        self.orders.pop_front().or_else(probe)
    }

    /// What the uplink is thought to bear.
    #[must_use]
    pub fn total(&self) -> DataRate {
        self.coupled.total()
    }

    /// What is thought of a leg.
    #[must_use]
    pub fn stats(&self, leg: LegId) -> Option<EstimatorStats> {
        self.coupled.stats(leg)
    }

    fn order(&mut self, now: Instant) {
        let legs: Vec<LegId> = self.carriers.keys().copied().collect();
        legs.into_iter().for_each(|leg| self.pace(leg));
        let wanted = self.encoder_rates();
        self.encoders.retain(|encoder, _| wanted.contains_key(encoder));
        for ((track, encoding), rate) in wanted {
            let known = self.encoders.get(&(track, encoding));
            let tell = known.is_none_or(|(told, at)| {
                let (low, high) = (*told * (1.0 - NOTABLE), *told * (1.0 + NOTABLE));
                rate != *told && (rate < low || rate > high || now.saturating_duration_since(*at) >= RENEW)
            });
            if tell {
                self.encoders.insert((track, encoding), (rate, now));
                self.orders.push_back(UplinkOrder::Encode { track, encoding, rate });
            }
        }
    }

    fn pace(&mut self, leg: LegId) {
        let rate = self.coupled.rate(leg);
        let Some(carrier) = self.carriers.get_mut(&leg) else { return };
        let behind = carrier.waiting.per(MAX_BEHIND).min(rate * MAX_PACING);
        let pace = (rate * PACING).max(behind);
        if carrier.pace != Some(pace) {
            carrier.pace = Some(pace);
            self.orders.push_back(UplinkOrder::Pace { leg, rate: pace });
        }
    }

    /// Rates of all pictures: what is left of a leg after voice is divided in proportion to what each makes at most, and a picture that
    /// several legs carry is made for the slowest of them.
    fn encoder_rates(&self) -> BTreeMap<(TrackId, EncodingId), DataRate> {
        let mut rates: BTreeMap<(TrackId, EncodingId), DataRate> = BTreeMap::new();
        for (leg, carrier) in &self.carriers {
            let of = |kind: TrackKind| carrier.streams.iter().filter(move |stream| stream.kind == kind);
            let audio = of(TrackKind::Audio).fold(DataRate::ZERO, |sum, stream| sum + stream.most + AUDIO_HEADERS);
            let wanted = of(TrackKind::Video).fold(DataRate::ZERO, |sum, stream| sum + stream.most);
            let budget = (self.coupled.rate(*leg) - audio) * PAYLOAD;
            let share = (budget.as_bps() as f64 / wanted.as_bps().max(1) as f64).min(1.0);
            for stream in of(TrackKind::Video) {
                let part = (stream.most * share).max(LEAST_VIDEO.min(stream.most));
                let key = (stream.track, stream.encoding);
                rates.entry(key).and_modify(|rate| *rate = part.min(*rate)).or_insert(part);
            }
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOICE: UplinkStream =
        UplinkStream { track: TrackId(1), encoding: EncodingId(0), kind: TrackKind::Audio, most: DataRate::kbps(32) };
    const CAMERA: UplinkStream =
        UplinkStream { track: TrackId(2), encoding: EncodingId(0), kind: TrackKind::Video, most: DataRate::kbps(1_500) };

    fn uplink(start: u64) -> Uplink {
        Uplink::new(EstimatorConfig { start: DataRate::kbps(start), ..EstimatorConfig::default() })
    }

    fn camera(orders: &[UplinkOrder]) -> Option<u64> {
        let of = |order: &UplinkOrder| match order {
            UplinkOrder::Encode { track, rate, .. } if *track == CAMERA.track => Some(rate.as_kbps()),
            _ => None,
        };
        orders.iter().filter_map(of).next_back()
    }

    fn drain(uplink: &mut Uplink) -> Vec<UplinkOrder> {
        std::iter::from_fn(|| uplink.poll_order()).collect()
    }

    #[test]
    fn legs_share_one_uplink_and_voice_comes_first() {
        let now = Instant::now();
        let mut uplink = uplink(1_000);
        uplink.set_leg(now, LegId(1), vec![VOICE, CAMERA], true);
        let alone = camera(&drain(&mut uplink)).unwrap();
        assert_eq!(alone, ((1_000 - 70) as f64 * PAYLOAD) as u64);
        uplink.set_leg(now, LegId(2), vec![VOICE, CAMERA], true);
        let halved = camera(&drain(&mut uplink)).unwrap();
        assert_eq!(halved, ((500 - 70) as f64 * PAYLOAD) as u64);
        // A leg that carries voice only takes no more than that of the other's part.
        uplink.set_leg(now, LegId(2), vec![VOICE], true);
        let beside_voice = camera(&drain(&mut uplink)).unwrap();
        assert!((700..alone).contains(&beside_voice), "{beside_voice}");
        uplink.remove_leg(now, LegId(2));
        assert!(camera(&drain(&mut uplink)).unwrap() > beside_voice);
    }

    #[test]
    fn a_leg_without_reports_holds_nothing_back() {
        let now = Instant::now();
        let mut uplink = uplink(300);
        uplink.set_leg(now, LegId(1), vec![CAMERA], false);
        assert_eq!(camera(&drain(&mut uplink)), Some(1_500));
    }

    #[test]
    fn a_pacer_that_is_behind_spends_more() {
        let now = Instant::now();
        let mut uplink = uplink(1_000);
        uplink.set_leg(now, LegId(1), vec![CAMERA], true);
        drain(&mut uplink);
        uplink.handle_waiting(LegId(1), DataSize::bytes(60_000));
        assert_eq!(drain(&mut uplink), [UplinkOrder::Pace { leg: LegId(1), rate: DataRate::kbps(2_500) }]);
    }
}
