//! A subscriber's outgoing streams: slots with SSRCs, numbers and times of their own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use segue_media::packet::Label;
use segue_model::{EncodingId, ExtSeq, SeqNo, Ssrc, TrackId, TrackKind};

use crate::header::Template;
use crate::leg::LegParameters;
use crate::rate::FixedRate;
use crate::rewrite::{Numbering, Sequencer, TimeBase};
use crate::seed::Seed;

/// Slots of one subscriber: more tiles than a screen shows, and all voices beside them.
pub const MAX_SLOTS: usize = 128;

/// SSRCs one subscriber may use in all, however long the call: for each of the four classes of slots (audio and video, merged and named)
/// as many as there may be slots at a time, and twice as many for video. A released SSRC serves again, its numbers going on, so a
/// transport never has more than these.
pub const MAX_SSRCS: usize = 6 * MAX_SLOTS;

/// Bytes a packet is padded by at most to be as long as its neighbour: a hundredth of its size, for half the system calls.
const MAX_LEVELLED: u16 = 8;

/// Packets behind one that are looked at for their sizes: those of most frames.
const LOOK_AHEAD: usize = 16;

/// Packets remembered per video slot to answer for: a second of 5 Mbit/s. A power of two.
const SENT: usize = 512;

/// How often one packet is sent again: a link that loses it more often needs a lower rate, not a ninth copy.
const MAX_RESENDS: u8 = 8;

/// A request for what was just sent again crossed it on the way.
const RESEND_INTERVAL: Duration = Duration::from_millis(20);

/// Steps between two SSRCs: odd, so that no SSRC comes twice before all have come once.
const SSRC_STEP: u32 = 0x9e37_79b1;

/// Packets of one kind that may wait to be written for one subscriber: what several batches bring of all it gets. Whoever has more waiting
/// does not fetch them.
const MAX_WAITING: usize = 4_096;

/// Of a hundred packets so many may be sent again twice at once: where more is lost the second copies would be a load themselves. On a long path
/// what is lost a second time would come too late at the third.
const SPARE: u32 = 5;

/// And in a row, in hundredths: a burst of losses is answered simply.
const MAX_SPARE: u32 = 800;

/// What was sent under one sequence number. Small, because every leg has many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// The packet's number in its encoding.
    pub(crate) seq: u64,
    /// Low bits of the extended number it was sent under.
    number: u32,
    pub(crate) timestamp: u32,
    /// Milliseconds since the slot's epoch, modulo 2^16, of the last time it was sent again.
    resent_at: u16,
    resends: u8,
    /// `None`: nothing was sent here.
    encoding: Option<EncodingId>,
}

/// A packet on its way to one subscriber: numbered, and written when its time comes from the one copy of it there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// Place of its track.
    pub(crate) track: usize,
    /// Its number in its encoding.
    pub(crate) seq: u64,
    pub(crate) number: ExtSeq,
    pub(crate) timestamp: u32,
    pub(crate) slot: u16,
    /// A retransmission: the number of the original.
    pub(crate) repeats: Option<u16>,
    pub(crate) encoding: EncodingId,
    /// An empty packet in the place of one that was left out.
    pub(crate) filled: bool,
    /// Bytes of its payload.
    pub(crate) len: u16,
}

/// What waits to be written for a subscriber, of one kind of media.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    /// The size the last packet of the present fetch was brought to, and its slot.
    level: Option<(u16, u16)>,
    /// Something that waits differs in size from what came before it: only then are sizes looked at.
    uneven: bool,
    /// The room knows that something waits here.
    pub(crate) listed: bool,
    /// Packets for which too many others waited, not counted yet.
    pub(crate) refused: u64,
}

/// One outgoing stream.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) kind: TrackKind,
    /// What packets name themselves by: the media section of a browser. An SDK peer has one section for all and tells streams apart
    /// by origin, or where there is none by this name.
    pub(crate) mid: Option<Label>,
    /// Its packets carry origins, by which the subscriber merges them with those of other paths.
    pub(crate) merged: bool,
    pub(crate) ssrc: Ssrc,
    pub(crate) rtx_ssrc: Option<Ssrc>,
    pub(crate) track: Option<TrackId>,
    /// The section is negotiated.
    pub(crate) ready: bool,
    pub(crate) sequencer: Sequencer,
    pub(crate) time: TimeBase,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    rtx_next: u64,
    /// The header of its packets; made with the first after anything of it changed.
    pub(crate) template: Option<Template>,
    sent: Vec<Sent>,
    /// Where the times in `sent` begin.
    epoch: Option<Instant>,
}

/// What a session description says of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Audio or video.
    pub kind: TrackKind,
    /// What its packets name themselves by: its media section, where each has one.
    pub mid: Option<Label>,
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// SSRC of its retransmissions; video only.
    pub rtx_ssrc: Option<Ssrc>,
    /// What it carries at present.
    pub track: Option<TrackId>,
}

/// Everything sent to one subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// `None`: not connected.
    leg: Option<LegParameters>,
    pub(crate) rate: FixedRate,
    audio: Queue,
    video: Queue,
    /// `None`: freed.
    slots: Vec<Option<Slot>>,
    /// Streams of an SDK peer that ended, the oldest first: a later track goes on with the SSRC and the numbers of one, because a transport
    /// never forgets an SSRC and has room for so many.
    retired: VecDeque<Slot>,
    /// Some track found no slot.
    pub(crate) lacking: bool,
    by_ssrc: BTreeMap<Ssrc, usize>,
    next_ssrc: u32,
    next_transport_cc: u16,
    /// Hundredths of packets that may be sent again twice at once.
    spare: u32,
    merges: bool,
    /// It has the sections it offered and gets no more.
    fixed: bool,
}

impl Subscriber {
    /// A subscriber that merges by origin gets a slot per track; others have slots as media sections, used again and again.
    pub(crate) fn new(merges: bool, seed: &mut Seed) -> Self {
        Self {
            leg: None,
            rate: FixedRate::default(),
            audio: Queue::default(),
            video: Queue::default(),
            slots: Vec::new(),
            retired: VecDeque::new(),
            lacking: false,
            by_ssrc: BTreeMap::new(),
            next_ssrc: seed.next() as u32,
            next_transport_cc: 0,
            spare: 0,
            merges,
            fixed: false,
        }
    }

    pub(crate) const fn leg(&self) -> Option<&LegParameters> {
        self.leg.as_ref()
    }

    /// Other parameters: headers are made anew.
    pub(crate) fn set_leg(&mut self, leg: Option<LegParameters>) {
        self.leg = leg;
        self.slots.iter_mut().flatten().for_each(|slot| slot.template = None);
    }

    pub(crate) const fn queue(&mut self, kind: TrackKind) -> &mut Queue {
        match kind {
            TrackKind::Audio => &mut self.audio,
            TrackKind::Video => &mut self.video,
        }
    }

    /// A negotiated slot, and what waits beside it.
    pub(crate) fn queueing(&mut self, slot: usize, kind: TrackKind) -> Option<(&mut Slot, &mut Queue)> {
        let slot = self.slots.get_mut(slot)?.as_mut().filter(|slot| slot.ready && self.leg.is_some())?;
        let queue = match kind {
            TrackKind::Audio => &mut self.audio,
            TrackKind::Video => &mut self.video,
        };
        Some((slot, queue))
    }

    /// A slot and the parameters of the leg it is on.
    pub(crate) fn writing(&mut self, slot: usize) -> Option<(&LegParameters, &mut Slot)> {
        Some((self.leg.as_ref()?, self.slots.get_mut(slot)?.as_mut()?))
    }

    /// Tracks that have a slot.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = TrackId> + '_ {
        self.slots.iter().flatten().filter_map(|slot| slot.track)
    }

    pub(crate) fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)?.as_ref()
    }

    /// It has these sections, all negotiated, and never another: before anything was sent.
    pub(crate) fn fix(&mut self, sections: &[(TrackKind, Option<Label>)], seed: &mut Seed) {
        self.slots.clear();
        self.by_ssrc.clear();
        self.audio.jobs.clear();
        self.video.jobs.clear();
        self.fixed = false;
        for &(kind, mid) in sections {
            if let Some(slot) = self.add(kind, seed).and_then(|index| self.slot_mut(index)) {
                (slot.mid, slot.ready) = (mid, true);
            }
        }
        self.fixed = true;
    }

    /// Its sections are its own.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.fixed
    }

    pub(crate) fn slot_mut(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// The slot of an SSRC of ours, and whether that is its retransmission stream.
    pub(crate) fn find(&mut self, ssrc: Ssrc) -> Option<(usize, &mut Slot)> {
        let index = *self.by_ssrc.get(&ssrc)?;
        Some((index, self.slots.get_mut(index)?.as_mut()?))
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = SlotInfo> + '_ {
        self.slots.iter().flatten().map(|slot| SlotInfo {
            kind: slot.kind,
            mid: slot.mid,
            ssrc: slot.ssrc,
            rtx_ssrc: slot.rtx_ssrc,
            track: slot.track,
        })
    }

    /// The sections named so are negotiated.
    pub(crate) fn confirm(&mut self, mids: &[Label]) {
        for slot in self.slots.iter_mut().flatten() {
            slot.ready |= slot.mid.is_some_and(|mid| mids.contains(&mid));
        }
    }

    /// A slot for a track, whose packets carry origins or not: a free one, or a new one. The flag says that it is new.
    pub(crate) fn assign(&mut self, track: TrackId, kind: TrackKind, stamped: bool, seed: &mut Seed) -> Option<(usize, bool)> {
        let free = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.track.is_none() && slot.kind == kind);
        let found = if self.merges { None } else { self.slots.iter().position(free) };
        let (index, new) = match found {
            Some(index) => (index, false),
            None => (self.insert(kind, self.merges && stamped, seed)?, true),
        };
        let names = self.merges && !stamped;
        let slot = self.slot_mut(index)?;
        if names {
            slot.mid = Label::new(&format!("t{}", track.0));
        }
        slot.template = None;
        slot.track = Some(track);
        slot.restart();
        Some((index, new))
    }

    /// Frees a slot: a browser's section waits for another track, an SDK peer's stream ends.
    pub(crate) fn release(&mut self, index: usize) {
        for queue in [&mut self.audio, &mut self.video] {
            queue.jobs.retain(|job| usize::from(job.slot) != index);
        }
        if self.merges {
            if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
                self.by_ssrc.remove(&slot.ssrc);
                slot.rtx_ssrc.map(|ssrc| self.by_ssrc.remove(&ssrc));
                self.retired.push_back(Slot { track: None, mid: None, ..slot });
            }
        } else if let Some(slot) = self.slot_mut(index) {
            slot.track = None;
        }
    }

    /// A new media section without a track.
    pub(crate) fn add(&mut self, kind: TrackKind, seed: &mut Seed) -> Option<usize> {
        self.insert(kind, false, seed)
    }

    fn insert(&mut self, kind: TrackKind, merged: bool, seed: &mut Seed) -> Option<usize> {
        let index = match self.slots.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.slots.len() < MAX_SLOTS && !self.fixed => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = self.unretire(kind, merged).unwrap_or_else(|| self.fresh(kind, merged, index, seed));
        self.by_ssrc.insert(slot.ssrc, index);
        slot.rtx_ssrc.map(|ssrc| self.by_ssrc.insert(ssrc, index));
        *self.slots.get_mut(index)? = Some(slot);
        Some(index)
    }

    /// The stream that ended longest ago among those that can carry the same, so that late packets of it are past.
    fn unretire(&mut self, kind: TrackKind, merged: bool) -> Option<Slot> {
        let at = self.retired.iter().position(|slot| slot.kind == kind && slot.merged == merged)?;
        self.retired.remove(at)
    }

    fn fresh(&mut self, kind: TrackKind, merged: bool, index: usize, seed: &mut Seed) -> Slot {
        let ssrc = self.fresh_ssrc();
        let rtx_ssrc = (kind == TrackKind::Video).then(|| self.fresh_ssrc());
        let clock_rate = kind.clock_rate();
        Slot {
            kind,
            mid: if self.merges { None } else { Label::new(&index.to_string()) },
            merged,
            ssrc,
            rtx_ssrc,
            track: None,
            ready: self.merges,
            sequencer: Sequencer::new(if merged { Numbering::SendOrder } else { Numbering::Ordered }, seed.next()),
            time: if merged { TimeBase::end_to_end(clock_rate) } else { TimeBase::continuous(clock_rate) },
            packets: 0,
            octets: 0,
            rtx_next: seed.next() & 0x7fff,
            template: None,
            sent: Vec::new(),
            epoch: None,
        }
    }

    /// Notes a packet of a picture that leaves for the first time.
    pub(crate) const fn earn_spare(&mut self) {
        self.spare = if self.spare < MAX_SPARE { self.spare + SPARE } else { MAX_SPARE };
    }

    /// Whether what is sent again now goes twice at once.
    pub(crate) const fn take_spare(&mut self) -> bool {
        let enough = self.spare >= 100;
        self.spare -= if enough { 100 } else { 0 };
        enough
    }

    /// The next transport-wide number; one per packet that leaves.
    pub(crate) const fn number_transport_wide(&mut self) -> u16 {
        let number = self.next_transport_cc;
        self.next_transport_cc = number.wrapping_add(1);
        number
    }

    fn fresh_ssrc(&mut self) -> Ssrc {
        self.next_ssrc = self.next_ssrc.wrapping_add(SSRC_STEP);
        Ssrc(self.next_ssrc)
    }
}

impl Queue {
    /// Queues a packet. False where too many wait.
    pub(crate) fn push(&mut self, job: Job) -> bool {
        if self.jobs.len() >= MAX_WAITING {
            self.refused += 1;
            return false;
        }
        self.uneven |= self.jobs.back().is_some_and(|last| last.len != job.len);
        self.jobs.push_back(job);
        true
    }

    /// The next packet, and the size its payload is brought to by padding: that of a neighbour on its slot which is a few bytes longer. Encoders'
    /// packetisers cut a frame into packets that differ by a byte, and only packets of one size leave in one call.
    pub(crate) fn pop(&mut self) -> Option<(Job, usize)> {
        let Some(job) = self.jobs.pop_front() else {
            (self.level, self.uneven) = (None, false);
            return None;
        };
        if !self.uneven {
            return Some((job, usize::from(job.len)));
        }
        let near = |len: u16| (job.len..=job.len.saturating_add(MAX_LEVELLED)).contains(&len);
        let alike = |next: &&Job| next.slot == job.slot && next.repeats.is_none() && !next.filled;
        // The last of a run may be shorter than the others.
        let before =
            self.level.filter(|(slot, len)| *slot == job.slot && near(*len) && !self.jobs.is_empty()).map(|(_, len)| len);
        let behind = self.jobs.iter().take(LOOK_AHEAD).take_while(alike).map(|next| next.len).filter(|len| near(*len)).max();
        let levels = job.repeats.is_none() && !job.filled && job.len > 0;
        let len = before.max(behind).filter(|_| levels).unwrap_or(job.len);
        self.level = levels.then_some((job.slot, len));
        Some((job, usize::from(len)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether the room has to be told that something waits here; it is, then.
    pub(crate) fn list(&mut self) -> bool {
        !self.jobs.is_empty() && !std::mem::replace(&mut self.listed, true)
    }
}

impl Slot {
    /// Another track, or the same after a pause: numbers and time go on, what went before cannot be asked for.
    pub(crate) fn restart(&mut self) {
        self.sequencer.switch();
        self.time.switch();
        self.sent.iter_mut().for_each(|sent| sent.encoding = None);
    }

    /// Remembers what was sent.
    pub(crate) fn remember(&mut self, number: ExtSeq, seq: u64, encoding: EncodingId, timestamp: u32) {
        const NOTHING: Sent = Sent { seq: 0, number: 0, timestamp: 0, resent_at: 0, resends: 0, encoding: None };
        let at = (number.0 % SENT as u64) as usize;
        if self.sent.len() <= at {
            self.sent.resize(at + 1, NOTHING);
        }
        if let Some(entry) = self.sent.get_mut(at) {
            *entry = Sent { seq, number: number.0 as u32, timestamp, encoding: Some(encoding), ..NOTHING };
        }
    }

    /// What was sent under a number, and its encoding, if it may be sent again now.
    pub(crate) fn recall(&mut self, now: Instant, number: SeqNo) -> Option<(Sent, EncodingId)> {
        let since = now.saturating_duration_since(*self.epoch.get_or_insert(now)).as_millis() as u16;
        let entry = self.sent.get_mut(usize::from(number.0) % SENT)?;
        let encoding = entry.encoding?;
        // Times wrap after a minute, when nothing of then is held any more.
        let recent = entry.resends > 0 && u128::from(since.wrapping_sub(entry.resent_at)) < RESEND_INTERVAL.as_millis();
        if entry.number as u16 != number.0 || recent || entry.resends >= MAX_RESENDS {
            return None;
        }
        entry.resends += 1;
        entry.resent_at = since;
        Some((*entry, encoding))
    }

    /// The last number sent and what the source called it, where that is remembered.
    pub(crate) fn last_sent(&self) -> Option<(SeqNo, u64)> {
        let number = self.sequencer.last()?.wire();
        let entry = self.sent.get(usize::from(number.0) % SENT)?;
        (entry.encoding.is_some() && entry.number as u16 == number.0).then_some((number, entry.seq))
    }

    #[cfg(test)]
    pub(crate) const fn remembered_bytes(&self) -> usize {
        self.sent.capacity() * std::mem::size_of::<Sent>()
    }

    /// The next number of the retransmission stream: each copy is a packet of its own, so no index is ever sealed twice.
    pub(crate) const fn number_retransmission(&mut self) -> ExtSeq {
        let number = ExtSeq(self.rtx_next);
        self.rtx_next += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::rewrite::Numbered;

    use super::*;

    #[test]
    fn browsers_reuse_sections_and_sdk_peers_get_streams() {
        let mut seed = Seed::new(1);
        let mut browser = Subscriber::new(false, &mut seed);
        let (first, new) = browser.assign(TrackId(1), TrackKind::Video, true, &mut seed).unwrap();
        assert!(new);
        let ssrc = browser.slot_mut(first).unwrap().ssrc;
        browser.release(first);
        assert_eq!(browser.assign(TrackId(2), TrackKind::Audio, true, &mut seed), Some((1, true)));
        assert_eq!(browser.assign(TrackId(3), TrackKind::Video, true, &mut seed), Some((first, false)));
        assert_eq!(browser.slot_mut(first).unwrap().ssrc, ssrc);

        let mut sdk = Subscriber::new(true, &mut seed);
        let (first, _) = sdk.assign(TrackId(1), TrackKind::Video, true, &mut seed).unwrap();
        let ssrc = sdk.slot_mut(first).unwrap().ssrc;
        sdk.release(first);
        assert!(sdk.find(ssrc).is_none());
        let (again, _) = sdk.assign(TrackId(2), TrackKind::Video, true, &mut seed).unwrap();
        assert_eq!(sdk.slot_mut(again).unwrap().ssrc, ssrc);
        let (other, _) = sdk.assign(TrackId(3), TrackKind::Video, false, &mut seed).unwrap();
        assert_ne!(sdk.slot_mut(other).unwrap().ssrc, ssrc);
    }

    #[test]
    fn ssrcs_last_for_ever_and_no_number_is_given_twice() {
        let mut seed = Seed::new(1);
        let mut subscriber = Subscriber::new(true, &mut seed);
        let (mut ssrcs, mut given) = (BTreeSet::new(), BTreeSet::new());
        let mut note = |ssrc: Ssrc, number: ExtSeq| {
            ssrcs.insert(ssrc);
            assert!(given.insert((ssrc, number)), "sealed twice");
        };
        let mut held = VecDeque::new();
        // The classes take turns at filling every slot, which is the worst there is.
        for round in 0..40 * MAX_SLOTS {
            let class = round / MAX_SLOTS % 4;
            let (kind, stamped) = (if class.is_multiple_of(2) { TrackKind::Video } else { TrackKind::Audio }, class < 2);
            if held.len() >= MAX_SLOTS {
                subscriber.release(held.pop_front().unwrap());
            }
            let (index, _) = subscriber.assign(TrackId(round as u16), kind, stamped, &mut seed).unwrap();
            held.push_back(index);
            let slot = subscriber.slot_mut(index).unwrap();
            for seq in 0..3 {
                let Numbered::Send(number) = slot.sequencer.number(seq, true) else { panic!("in order") };
                note(slot.ssrc, number);
            }
            if let Some(ssrc) = slot.rtx_ssrc {
                note(ssrc, slot.number_retransmission());
            }
        }
        assert!(ssrcs.len() <= MAX_SSRCS, "{}", ssrcs.len());
    }

    #[test]
    fn fixed_sections_are_used_again_and_none_is_added() {
        let mut seed = Seed::new(1);
        let mut player = Subscriber::new(false, &mut seed);
        player.add(TrackKind::Audio, &mut seed);
        player.fix(&[(TrackKind::Video, Label::new("v"))], &mut seed);
        assert_eq!(player.assign(TrackId(1), TrackKind::Video, true, &mut seed), Some((0, false)));
        assert_eq!(player.assign(TrackId(2), TrackKind::Video, true, &mut seed), None);
        assert_eq!(player.assign(TrackId(3), TrackKind::Audio, true, &mut seed), None);
        player.release(0);
        assert_eq!(player.assign(TrackId(2), TrackKind::Video, true, &mut seed), Some((0, false)));
        let infos: Vec<_> = player.infos().collect();
        assert_eq!((infos.len(), infos[0].mid), (1, Label::new("v")));
    }

    #[test]
    fn slots_are_bounded() {
        let mut seed = Seed::new(1);
        let mut subscriber = Subscriber::new(true, &mut seed);
        for track in 0..MAX_SLOTS {
            assert!(subscriber.assign(TrackId(track as u16), TrackKind::Audio, true, &mut seed).is_some());
        }
        assert!(subscriber.assign(TrackId(999), TrackKind::Audio, true, &mut seed).is_none());
    }

    #[test]
    fn a_packet_is_recalled_a_few_times_and_not_at_once_again() {
        let mut seed = Seed::new(1);
        let mut subscriber = Subscriber::new(true, &mut seed);
        let (index, _) = subscriber.assign(TrackId(1), TrackKind::Video, true, &mut seed).unwrap();
        let slot = subscriber.slot_mut(index).unwrap();
        let mut now = Instant::now();
        slot.remember(ExtSeq(70_000), 5, EncodingId(0), 9);
        assert!(slot.recall(now, SeqNo(1)).is_none());
        let number = ExtSeq(70_000).wire();
        assert_eq!(slot.recall(now, number).unwrap().0.seq, 5);
        assert!(slot.recall(now, number).is_none());
        for _ in 1..MAX_RESENDS {
            now += RESEND_INTERVAL;
            assert!(slot.recall(now, number).is_some());
        }
        now += RESEND_INTERVAL;
        assert!(slot.recall(now, number).is_none());
    }
}
