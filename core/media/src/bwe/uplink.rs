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
use super::ladder::{Ladder, Rung, rates};
use super::prober::ProbeCluster;
use super::share::{Claim, divide};

/// Headers of voice: 50 packets a second with RTP, its extensions, SRTP tag, UDP and IPv4.
const AUDIO_HEADERS: DataRate = DataRate::kbps(38);

/// Share of a leg's video budget that is payload: the rest is headers and repairs.
const PAYLOAD: f64 = 0.88;

/// An encoder is never asked for less than this: it makes nothing useful of it.
const LEAST_VIDEO: DataRate = DataRate::kbps(60);

/// Share of a picture's rate that its lowest temporal layer takes.
const THINNED: f64 = 0.65;

/// A leg on which nothing is sent any more for want of budget, and of which nothing was heard for so long, is tried again.
const RETRY: Duration = Duration::from_secs(3);

/// An encoder is told of changes above this share, or after this time.
const NOTABLE: f64 = 0.05;
const RENEW: Duration = Duration::from_millis(1_000);

/// Longest time for which a change of path keeps rates from rising: what it may take.
pub const OVERLAP_HOLD: Duration = Duration::from_millis(1_500);

/// Pacers spend this many times the estimate, so that a frame leaves before the next one comes.
pub const PACING: f64 = 1.25;

/// A pacer that is behind by more than this spends up to `MAX_PACING` times the estimate: a keyframe is worth a short queue.
const MAX_BEHIND: Duration = Duration::from_millis(50);
const MAX_PACING: f64 = 2.5;

/// A track as a leg carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkStream {
    /// The track.
    pub track: TrackId,
    /// Voice or picture.
    pub kind: TrackKind,
    /// What it may be sent in with room for everything, largest first. Voice has one encoding and always makes what it makes at most.
    pub ladder: Vec<Rung>,
    /// What it is sent in now.
    pub carried: Vec<EncodingId>,
    /// A larger encoding goes beside the smaller ones (to a relay), not in their place.
    pub together: bool,
    /// Only the lowest temporal layer goes.
    pub thinned: bool,
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
    /// A leg bears no larger encoding of a picture than this.
    Carry {
        /// Which leg.
        leg: LegId,
        /// Which track.
        track: TrackId,
        /// The largest encoding; `None`: none at all.
        largest: Option<EncodingId>,
    },
}

/// The ladder of a picture on a leg, and what was last told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    ladder: Ladder,
    told: Option<Option<EncodingId>>,
}

#[derive(Debug, Default)]
struct Carrier {
    streams: Vec<UplinkStream>,
    choices: BTreeMap<TrackId, Choice>,
    pace: Option<DataRate>,
    waiting: DataSize,
    heard: Option<Instant>,
}

impl Carrier {
    fn of(&self, kind: TrackKind) -> impl Iterator<Item = &UplinkStream> {
        self.streams.iter().filter(move |stream| stream.kind == kind)
    }

    /// Voice with its headers.
    fn audio(&self) -> DataRate {
        self.of(TrackKind::Audio).fold(DataRate::ZERO, |sum, stream| sum + stream.most() + AUDIO_HEADERS)
    }

    /// Budgets of all pictures, payload only, of what the leg may send in all.
    fn budgets(&self, rate: DataRate) -> Vec<DataRate> {
        let claim = |stream: &UplinkStream| {
            let most = stream.most();
            Claim { first: DataRate::ZERO, useful: most, most }
        };
        let claims: Vec<Claim> = self.of(TrackKind::Video).map(claim).collect();
        divide((rate - self.audio()) * PAYLOAD, &claims)
    }

    /// When pictures that are not sent for want of budget are tried again although nothing was heard.
    fn retry_at(&self) -> Option<Instant> {
        let paused = |stream: &UplinkStream| {
            let place = self.choices.get(&stream.track).map_or(0, |choice| choice.ladder.place());
            !stream.ladder.is_empty() && place >= stream.ladder.len()
        };
        self.of(TrackKind::Video).any(paused).then_some(self.heard? + RETRY)
    }
}

impl UplinkStream {
    /// Payload with room for everything.
    fn most(&self) -> DataRate {
        let all = self.ladder.iter().map(|(_, most)| *most);
        let most = if self.together { all.fold(DataRate::ZERO, |sum, most| sum + most) } else { all.max().unwrap_or_default() };
        if self.thinned { most * THINNED } else { most }
    }

    /// The rungs it is sent in.
    fn carried(&self) -> Vec<Rung> {
        self.ladder.iter().filter(|(encoding, _)| self.carried.contains(encoding)).copied().collect()
    }

    fn at(&self, place: usize) -> Option<EncodingId> {
        self.ladder.get(place).map(|(encoding, _)| *encoding)
    }
}

/// Divides what the uplink bears.
#[derive(Debug)]
pub struct Uplink {
    coupled: CoupledEstimator,
    carriers: BTreeMap<LegId, Carrier>,
    /// To how many everything would go directly if it went to nobody by the relay.
    fanout: usize,
    /// What that would take.
    fanout_need: DataRate,
    /// Since when media goes two ways, or the room has not moved whole after it did.
    overlap: Option<Instant>,
    held: bool,
    encoders: BTreeMap<(TrackId, EncodingId), (DataRate, Instant)>,
    orders: VecDeque<UplinkOrder>,
}

impl Uplink {
    /// With nothing to carry.
    #[must_use]
    pub fn new(config: EstimatorConfig) -> Self {
        let coupled = CoupledEstimator::new(config);
        Self {
            coupled,
            carriers: BTreeMap::new(),
            fanout: 0,
            fanout_need: DataRate::ZERO,
            overlap: None,
            held: false,
            encoders: BTreeMap::new(),
            orders: VecDeque::new(),
        }
    }

    /// Says what a leg carries from now on. `reports`: the other side reports what arrives (transport-wide feedback).
    pub fn set_leg(&mut self, now: Instant, leg: LegId, streams: Vec<UplinkStream>, reports: bool) {
        let carrier = self.carriers.entry(leg).or_default();
        carrier.choices.retain(|track, _| streams.iter().any(|stream| stream.track == *track));
        carrier.streams = streams;
        let audio = carrier.audio();
        let video = carrier.of(TrackKind::Video).fold(DataRate::ZERO, |sum, stream| sum + stream.most());
        self.coupled.set_need(now, leg, LegNeed { audio, most: audio + video * (1.0 / PAYLOAD), reports });
        self.reserve();
        self.order(now);
    }

    /// Says to how many everything would go directly if the room were a mesh, 0 where it cannot become one. Room for that is looked for
    /// beforehand.
    pub fn set_fanout(&mut self, fanout: usize) {
        if self.fanout != fanout {
            self.fanout = fanout;
            self.reserve();
        }
    }

    /// Says whether media of ours goes two ways now, and whether the room is still moving. From the first on until neither is so, but for
    /// [`OVERLAP_HOLD`] at most, nothing is sent on top: the copies are what is probed with, and no picture grows.
    pub fn set_overlap(&mut self, now: Instant, ours: bool, room: bool) {
        self.overlap = if ours { self.overlap.or(Some(now)) } else { self.overlap.filter(|_| room) };
        self.held = self.overlap.is_some_and(|since| now.saturating_duration_since(since) < OVERLAP_HOLD);
        self.coupled.hold_probes(self.held);
    }

    /// What would go in all then, at its best, with headers.
    #[must_use]
    pub fn fanout_need(&self) -> DataRate {
        self.fanout_need
    }

    fn reserve(&mut self) {
        let mut tracks: BTreeMap<TrackId, DataRate> = BTreeMap::new();
        for stream in self.carriers.values().flat_map(|carrier| &carrier.streams) {
            let largest = stream.ladder.iter().map(|(_, most)| *most).max().unwrap_or_default();
            let whole = match stream.kind {
                TrackKind::Audio => largest + AUDIO_HEADERS,
                TrackKind::Video => largest * (1.0 / PAYLOAD),
            };
            tracks.entry(stream.track).and_modify(|known| *known = whole.max(*known)).or_insert(whole);
        }
        self.fanout_need = tracks.into_values().fold(DataRate::ZERO, |sum, rate| sum + rate) * self.fanout as f64;
        self.coupled.set_reserve(self.fanout_need);
    }

    /// A leg is gone.
    pub fn remove_leg(&mut self, now: Instant, leg: LegId) {
        self.carriers.remove(&leg);
        self.coupled.remove_leg(leg);
        self.reserve();
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
        if let Some(carrier) = self.carriers.get_mut(&leg) {
            carrier.heard = Some(now);
        }
        self.order(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.coupled.handle_timeout(now);
            self.retry(now);
            self.order(now);
        }
    }

    /// When time matters next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retries = self.carriers.values().filter_map(Carrier::retry_at);
        retries.chain(self.coupled.poll_timeout()).min()
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

    /// What may be sent on a leg now; all there is where the other side does not report.
    #[must_use]
    pub fn rate(&self, leg: LegId) -> DataRate {
        self.coupled.rate(leg)
    }

    /// What is thought of a leg; `None` where the other side does not report.
    #[must_use]
    pub fn stats(&self, leg: LegId) -> Option<EstimatorStats> {
        self.coupled.stats(leg)
    }

    /// What an encoder was last told to make.
    #[must_use]
    pub fn encoder_rate(&self, track: TrackId, encoding: EncodingId) -> Option<DataRate> {
        self.encoders.get(&(track, encoding)).map(|(rate, _)| *rate)
    }

    fn order(&mut self, now: Instant) {
        let legs: Vec<LegId> = self.carriers.keys().copied().collect();
        for leg in legs {
            self.pace(leg);
            self.choose(now, leg);
        }
        let wanted = self.encoder_rates();
        self.encoders.retain(|encoder, _| wanted.contains_key(encoder));
        for ((track, encoding), rate) in wanted {
            let known = self.encoders.get(&(track, encoding));
            let rate = known.filter(|_| self.held).map_or(rate, |(told, _)| rate.min(*told));
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

    /// Which encodings a leg bears. The target counts, not what may be sent while a queue drains.
    fn choose(&mut self, now: Instant, leg: LegId) {
        let rate = self.coupled.sustained(leg);
        let Some(carrier) = self.carriers.get_mut(&leg) else { return };
        let budgets = carrier.budgets(rate);
        let Carrier { streams, choices, .. } = carrier;
        for (stream, budget) in streams.iter().filter(|stream| stream.kind == TrackKind::Video).zip(budgets) {
            let choice = choices.entry(stream.track).or_default();
            // In an overlap encodings are pinned, and what is muted needs no room.
            if !stream.thinned && stream.most() > DataRate::ZERO {
                choice.ladder.handle_budget(now, budget, &stream.ladder, stream.together);
            }
            let largest = stream.at(choice.ladder.place());
            if choice.told.replace(largest) != Some(largest) {
                self.orders.push_back(UplinkOrder::Carry { leg, track: stream.track, largest });
            }
        }
    }

    /// Tries pictures again where silence says nothing.
    fn retry(&mut self, now: Instant) {
        for carrier in self.carriers.values_mut() {
            if carrier.retry_at().is_none_or(|at| at > now) {
                continue;
            }
            carrier.heard = Some(now);
            for stream in carrier.streams.iter().filter(|stream| stream.kind == TrackKind::Video) {
                if let Some(choice) = carrier.choices.get_mut(&stream.track) {
                    choice.ladder.retry(&stream.ladder);
                }
            }
        }
    }

    /// Rates of all pictures: what is left of a leg after voice is divided among them, the smaller encodings of each first; and one that
    /// several legs carry is made for the slowest of them.
    fn encoder_rates(&self) -> BTreeMap<(TrackId, EncodingId), DataRate> {
        let mut slowest: BTreeMap<(TrackId, EncodingId), DataRate> = BTreeMap::new();
        for (leg, carrier) in &self.carriers {
            let budgets = carrier.budgets(self.coupled.rate(*leg));
            for (stream, budget) in carrier.of(TrackKind::Video).zip(budgets) {
                let budget = if stream.thinned { budget * (1.0 / THINNED) } else { budget };
                for (encoding, rate) in rates(budget, &stream.carried(), LEAST_VIDEO) {
                    let known = slowest.entry((stream.track, encoding)).or_insert(rate);
                    *known = rate.min(*known);
                }
            }
        }
        slowest
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    const VOICE: TrackId = TrackId(1);
    const CAMERA: TrackId = TrackId(2);

    fn voice() -> UplinkStream {
        let ladder = vec![(EncodingId(0), DataRate::kbps(32))];
        UplinkStream {
            track: VOICE,
            kind: TrackKind::Audio,
            ladder,
            carried: vec![EncodingId(0)],
            together: false,
            thinned: false,
        }
    }

    fn camera_of(rungs: &[u64], together: bool) -> UplinkStream {
        let ladder: Vec<Rung> = (0..).zip(rungs).map(|(place, most)| (EncodingId(place), DataRate::kbps(*most))).collect();
        let carried = ladder.iter().map(|(encoding, _)| *encoding).take(if together { 9 } else { 1 }).collect();
        UplinkStream { track: CAMERA, kind: TrackKind::Video, ladder, carried, together, thinned: false }
    }

    fn camera_stream() -> UplinkStream {
        camera_of(&[1_500], false)
    }

    fn uplink(start: u64) -> Uplink {
        Uplink::new(EstimatorConfig { start: DataRate::kbps(start), ..EstimatorConfig::default() })
    }

    fn camera(orders: &[UplinkOrder]) -> Option<u64> {
        let of = |order: &UplinkOrder| match order {
            UplinkOrder::Encode { track, rate, .. } if *track == CAMERA => Some(rate.as_kbps()),
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
        uplink.set_leg(now, LegId(1), vec![voice(), camera_stream()], true);
        let alone = camera(&drain(&mut uplink)).unwrap();
        assert_eq!(alone, ((1_000 - 70) as f64 * PAYLOAD) as u64);
        uplink.set_leg(now, LegId(2), vec![voice(), camera_stream()], true);
        let halved = camera(&drain(&mut uplink)).unwrap();
        assert_eq!(halved, ((500 - 70) as f64 * PAYLOAD) as u64);
        // A leg that carries voice only takes no more than that of the other's part.
        uplink.set_leg(now, LegId(2), vec![voice()], true);
        let beside_voice = camera(&drain(&mut uplink)).unwrap();
        assert!((700..alone).contains(&beside_voice), "{beside_voice}");
        uplink.remove_leg(now, LegId(2));
        assert!(camera(&drain(&mut uplink)).unwrap() > beside_voice);
    }

    #[test]
    fn no_picture_grows_while_the_room_moves() {
        let start = Instant::now();
        let mut uplink = uplink(1_000);
        uplink.set_leg(start, LegId(1), vec![voice(), camera_stream()], true);
        uplink.set_leg(start, LegId(2), vec![voice(), camera_stream()], true);
        let before = camera(&drain(&mut uplink)).unwrap();
        uplink.set_overlap(start, true, true);
        uplink.set_overlap(start, false, true);
        uplink.remove_leg(start, LegId(2));
        assert_eq!(camera(&drain(&mut uplink)), None);
        uplink.set_overlap(start + OVERLAP_HOLD, false, true);
        uplink.set_leg(start + OVERLAP_HOLD, LegId(1), vec![voice(), camera_stream()], true);
        assert!(camera(&drain(&mut uplink)).unwrap() > before);
    }

    #[test]
    fn a_leg_without_reports_holds_nothing_back() {
        let now = Instant::now();
        let mut uplink = uplink(300);
        uplink.set_leg(now, LegId(1), vec![camera_stream()], false);
        assert_eq!(camera(&drain(&mut uplink)), Some(1_500));
    }

    #[test]
    fn a_pacer_that_is_behind_spends_more() {
        let now = Instant::now();
        let mut uplink = uplink(1_000);
        uplink.set_leg(now, LegId(1), vec![camera_stream()], true);
        drain(&mut uplink);
        uplink.handle_waiting(LegId(1), DataSize::bytes(60_000));
        assert_eq!(drain(&mut uplink), [UplinkOrder::Pace { leg: LegId(1), rate: DataRate::kbps(2_500) }]);
    }

    fn carries(orders: &[UplinkOrder]) -> Vec<Option<EncodingId>> {
        let of = |order: &UplinkOrder| match order {
            UplinkOrder::Carry { largest, .. } => Some(*largest),
            _ => None,
        };
        orders.iter().filter_map(of).collect()
    }

    #[test]
    fn a_leg_that_does_not_bear_the_largest_encoding_carries_the_next() {
        let mut now = Instant::now();
        let mut uplink = uplink(300);
        for _ in 0..40 {
            uplink.set_leg(now, LegId(1), vec![voice(), camera_of(&[600, 250, 80], false)], true);
            now += Duration::from_millis(50);
        }
        assert_eq!(carries(&drain(&mut uplink)), [Some(EncodingId(0)), Some(EncodingId(1))]);
        let mut together = Uplink::new(EstimatorConfig { start: DataRate::kbps(200), ..EstimatorConfig::default() });
        for _ in 0..40 {
            together.set_leg(now, LegId(1), vec![voice(), camera_of(&[600, 250, 80], true)], true);
            now += Duration::from_millis(50);
        }
        assert_eq!(carries(&drain(&mut together)), [Some(EncodingId(0)), Some(EncodingId(2))]);
    }

    #[test]
    fn what_a_mesh_would_take_is_the_best_encoding_of_each_track_for_everybody() {
        let now = Instant::now();
        let mut uplink = uplink(2_000);
        uplink.set_leg(now, LegId(1), vec![voice(), camera_of(&[880, 250], true)], true);
        assert_eq!(uplink.fanout_need(), DataRate::ZERO);
        uplink.set_fanout(3);
        assert_eq!(uplink.fanout_need(), (DataRate::kbps(32) + AUDIO_HEADERS + DataRate::kbps(880) * (1.0 / PAYLOAD)) * 3.0);
        // The same track on another leg is the same track.
        uplink.set_leg(now, LegId(2), vec![voice(), camera_of(&[880], false)], true);
        assert_eq!(uplink.fanout_need(), (DataRate::kbps(32) + AUDIO_HEADERS + DataRate::kbps(880) * (1.0 / PAYLOAD)) * 3.0);
    }

    #[test]
    fn in_an_overlap_encodings_stay_and_thinned_copies_cost_less() {
        let mut now = Instant::now();
        let mut uplink = uplink(500);
        let thinned = UplinkStream { thinned: true, ..camera_of(&[600, 250, 80], false) };
        for _ in 0..40 {
            uplink.set_leg(now, LegId(1), vec![voice(), thinned.clone()], true);
            uplink.set_leg(now, LegId(2), vec![voice(), thinned.clone()], true);
            now += Duration::from_millis(50);
        }
        let orders = drain(&mut uplink);
        assert_eq!(carries(&orders), [Some(EncodingId(0)); 2]);
        assert_eq!(camera(&orders), Some(((250 - 70) as f64 * PAYLOAD / THINNED) as u64));
    }

    #[test]
    fn a_leg_that_begins_with_voice_alone_bears_the_picture_when_it_comes() {
        let now = Instant::now();
        let mut uplink = uplink(2_000);
        uplink.set_leg(now, LegId(1), vec![voice(), camera_stream()], true);
        uplink.set_leg(now, LegId(2), vec![voice()], true);
        uplink.set_leg(now, LegId(1), Vec::new(), true);
        uplink.set_leg(now, LegId(2), vec![voice(), camera_of(&[1_000], false)], true);
        assert_eq!(camera(&drain(&mut uplink)), Some(1_000));
    }

    #[test]
    fn without_room_for_any_picture_voice_goes_alone_and_a_silent_leg_is_tried_again() {
        let mut now = Instant::now();
        let mut uplink = uplink(90);
        uplink.set_leg(now, LegId(1), vec![voice(), camera_of(&[600, 250, 80], false)], true);
        for _ in 0..40 {
            now += Duration::from_millis(50);
            uplink.handle_feedback(now, LegId(1), &[]);
        }
        assert_eq!(carries(&drain(&mut uplink)), [Some(EncodingId(0)), None]);
        assert_eq!(uplink.poll_timeout(), Some(now + RETRY));
        uplink.handle_timeout(now + RETRY);
        assert_eq!(carries(&drain(&mut uplink)), [Some(EncodingId(2))]);
    }
}
