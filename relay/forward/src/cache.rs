//! The packets of one encoding as they arrived: one copy of each, from which it is written for every subscriber, at once and when it is
//! asked for again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_media::packet::{AudioLevel, ORIGIN_LEN, Origin};
use segue_model::TrackKind;

/// How long a packet can be asked for: a playout buffer waits no longer for it.
pub const CACHE_TIME: Duration = Duration::from_secs(1);

/// Payload bytes one video cache holds: 1 s of 3 Mbit/s, the most one encoding is given.
pub const CACHE_BYTES: usize = 384 * 1024;

/// Longest payload taken: no sender of ours or of a browser makes packets that an Ethernet frame does not carry.
pub const MAX_PAYLOAD: usize = 1_500;

/// Payload bytes one audio cache holds: voice is not sent again, so this only bridges the time until it has left.
const AUDIO_BYTES: usize = 16 * 1024;

/// Sequence numbers one cache spans, so that a jump in them does not make holes without bound.
const CACHE_SPAN: u64 = 2048;

/// Numbers below the lowest one held that a packet may come late by.
const MAX_LATE: u64 = 128;

/// Bytes of a block of payloads: a block is taken and given back whole, so that a cache grows in small steps and allocates nothing
/// once it has its size.
const VIDEO_BLOCK: usize = 32 * 1024;
const AUDIO_BLOCK: usize = 4 * 1024;

/// A packet as its publisher sent it, without the hop's header and its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// Extended hop sequence number on the publisher's leg.
    pub(crate) seq: u64,
    pub(crate) origin: Option<Origin>,
    /// Its origin as it is written, where it has one.
    pub(crate) stamp: [u8; ORIGIN_LEN],
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) level: Option<AudioLevel>,
}

/// Packets by sequence number, bounded by time, bytes and span.
#[derive(Debug)]
pub(crate) struct PacketCache {
    /// Sequence number of the front entry.
    base: u64,
    entries: VecDeque<Option<Entry>>,
    bytes: usize,
    blocks: Vec<Block>,
    /// Blocks that hold nothing.
    free: Vec<u16>,
    /// The block that is being filled.
    filling: Option<u16>,
    block_len: usize,
    max_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Instant,
    packet: Packet,
    block: u16,
    start: u16,
    len: u16,
    /// Media that may be played: not a probe, not padding.
    playable: bool,
}

#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    used: usize,
    /// Packets in it that are still held.
    held: usize,
}

impl PacketCache {
    pub(crate) const fn new(kind: TrackKind) -> Self {
        let (block_len, max_bytes) = match kind {
            TrackKind::Audio => (AUDIO_BLOCK, AUDIO_BYTES),
            TrackKind::Video => (VIDEO_BLOCK, CACHE_BYTES),
        };
        Self {
            base: 0,
            entries: VecDeque::new(),
            bytes: 0,
            blocks: Vec::new(),
            free: Vec::new(),
            filling: None,
            block_len,
            max_bytes,
        }
    }

    /// Takes a packet. False where it lies too far behind the others, or is too long.
    pub(crate) fn insert(&mut self, now: Instant, packet: Packet, payload: &[u8], playable: bool) -> bool {
        if payload.len() > MAX_PAYLOAD {
            return false;
        }
        if self.entries.is_empty() {
            self.base = packet.seq;
        }
        let Some(offset) = self.offset(packet.seq) else { return false };
        match self.entries.get(offset) {
            Some(Some(_)) => return true,
            Some(None) => {}
            None => self.entries.resize(offset + 1, None),
        }
        let Some((block, start)) = self.store(payload) else { return false };
        let entry = Entry { at: now, packet, block, start, len: payload.len() as u16, playable };
        // Room for the payload may have cost entries in front.
        let offset = packet.seq.checked_sub(self.base).and_then(|offset| usize::try_from(offset).ok());
        let Some(place) = offset.and_then(|offset| self.entries.get_mut(offset)) else {
            self.unhold(block);
            return false;
        };
        *place = Some(entry);
        self.bytes += payload.len();
        self.evict(now);
        true
    }

    /// The packet of a sequence number, however old, while it is held.
    pub(crate) fn find(&self, seq: u64) -> Option<(&Packet, &[u8])> {
        let entry = self.entry(seq)?;
        Some((&entry.packet, self.payload(entry)))
    }

    /// The packet of a sequence number that may be sent again, unless it is too old or was never here.
    pub(crate) fn get(&self, now: Instant, seq: u64) -> Option<(&Packet, &[u8])> {
        let entry = self.entry(seq).filter(|entry| entry.is_recent(now))?;
        Some((&entry.packet, self.payload(entry)))
    }

    /// The packets behind a sequence number that are not too old, in order. As many steps as the cache has entries at most, however far
    /// apart sequence numbers lie.
    pub(crate) fn after(&self, now: Instant, seq: u64) -> impl Iterator<Item = (&Packet, &[u8])> {
        let skipped = usize::try_from(seq.saturating_add(1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        let held = self.entries.iter().skip(skipped).flatten();
        held.filter(move |entry| entry.playable && entry.is_recent(now)).map(|entry| (&entry.packet, self.payload(entry)))
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let offset = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.entries.get(offset)?.as_ref()
    }

    fn payload(&self, entry: &Entry) -> &[u8] {
        let (start, len) = (usize::from(entry.start), usize::from(entry.len));
        self.blocks.get(usize::from(entry.block)).and_then(|block| block.bytes.get(start..start + len)).unwrap_or_default()
    }

    /// Where a number's entry is or would be. The front moves down for what comes late, and everything goes for what is far ahead.
    fn offset(&mut self, seq: u64) -> Option<usize> {
        if let Some(late) = self.base.checked_sub(seq).filter(|late| *late > 0) {
            if late > MAX_LATE || self.entries.len() as u64 + late > CACHE_SPAN {
                return None;
            }
            (0..late).for_each(|_| self.entries.push_front(None));
            self.base = seq;
        }
        if seq - self.base >= self.entries.len() as u64 + CACHE_SPAN {
            self.clear();
            self.base = seq;
        }
        usize::try_from(seq - self.base).ok()
    }

    fn clear(&mut self) {
        while let Some(entry) = self.entries.pop_front() {
            self.let_go(entry);
        }
    }

    /// Copies a payload into a block: the place of its only copy.
    fn store(&mut self, payload: &[u8]) -> Option<(u16, u16)> {
        let fits = |block: &Block| block.used + payload.len() <= block.bytes.len();
        let filling = self.filling.filter(|&at| self.blocks.get(usize::from(at)).is_some_and(fits));
        let at = match filling {
            Some(at) => at,
            None => self.fresh_block()?,
        };
        let block = self.blocks.get_mut(usize::from(at))?;
        let start = block.used;
        block.bytes.get_mut(start..start + payload.len())?.copy_from_slice(payload);
        block.used += payload.len();
        block.held += 1;
        Some((at, start as u16))
    }

    /// An empty block: a free one, a new one, or that of the oldest packets.
    fn fresh_block(&mut self) -> Option<u16> {
        if let Some(full) = self.filling.take()
            && self.blocks.get(usize::from(full)).is_some_and(|block| block.held == 0)
        {
            self.free.push(full);
        }
        // One block more than the bytes take: the last packets of a block may not fill it.
        let most = self.max_bytes / self.block_len + 1;
        while self.free.is_empty() && self.blocks.len() >= most {
            let entry = self.entries.pop_front()?;
            self.base += 1;
            self.let_go(entry);
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                let bytes = vec![0; self.block_len].into_boxed_slice();
                self.blocks.push(Block { bytes, used: 0, held: 0 });
                (self.blocks.len() - 1) as u16
            }
        };
        self.blocks.get_mut(usize::from(at))?.used = 0;
        self.filling = Some(at);
        Some(at)
    }

    fn let_go(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.bytes = self.bytes.saturating_sub(usize::from(entry.len));
            self.unhold(entry.block);
        }
    }

    fn unhold(&mut self, at: u16) {
        let Some(block) = self.blocks.get_mut(usize::from(at)) else { return };
        block.held = block.held.saturating_sub(1);
        if block.held == 0 && self.filling != Some(at) {
            self.free.push(at);
        }
    }

    fn evict(&mut self, now: Instant) {
        while let Some(front) = self.entries.front() {
            let spent = front.as_ref().is_none_or(|entry| !entry.is_recent(now));
            // A hole at the front may still be filled by a retransmission: it goes only when there is no room.
            let full = self.bytes > self.max_bytes || self.entries.len() as u64 > CACHE_SPAN;
            if !full && (!spent || front.is_none()) {
                return;
            }
            if let Some(entry) = self.entries.pop_front() {
                self.let_go(entry);
            }
            self.base += 1;
            self.pop_holes();
        }
    }

    fn pop_holes(&mut self) {
        while matches!(self.entries.front(), Some(None)) {
            self.entries.pop_front();
            self.base += 1;
        }
    }
}

impl Entry {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= CACHE_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(cache: &mut PacketCache, at: Instant, seq: u64, size: usize) -> bool {
        let packet = Packet { seq, origin: None, stamp: [0; ORIGIN_LEN], timestamp: 0, marker: false, level: None };
        cache.insert(at, packet, &vec![seq as u8; size], true)
    }

    #[test]
    fn holds_a_second_and_no_longer() {
        let start = Instant::now();
        let mut cache = PacketCache::new(TrackKind::Video);
        insert(&mut cache, start, 100, 10);
        insert(&mut cache, start + Duration::from_millis(900), 102, 10);
        assert!(cache.get(start + CACHE_TIME, 100).is_some());
        assert!(cache.get(start + CACHE_TIME, 101).is_none());
        assert!(cache.get(start + CACHE_TIME + Duration::from_millis(1), 100).is_none());
        assert!(cache.find(100).is_some());
        insert(&mut cache, start + Duration::from_millis(950), 101, 10);
        assert!(cache.get(start + CACHE_TIME, 101).is_some());
        insert(&mut cache, start + Duration::from_millis(1500), 103, 10);
        assert_eq!(cache.base, 101);
        assert_eq!(cache.bytes, 30);
    }

    #[test]
    fn bytes_and_span_are_bounded() {
        let start = Instant::now();
        let mut cache = PacketCache::new(TrackKind::Video);
        for seq in 0..2000 {
            insert(&mut cache, start, seq, 1200);
        }
        assert!(cache.bytes <= CACHE_BYTES);
        assert!(cache.blocks.len() * VIDEO_BLOCK <= CACHE_BYTES + VIDEO_BLOCK);
        assert!(cache.get(start, 1999).is_some());
        assert!(cache.get(start, 100).is_none());
        insert(&mut cache, start, 1_000_000, 1200);
        assert_eq!(cache.entries.len(), 1);
        for step in 0..100 {
            insert(&mut cache, start, 1_000_000 + step * 2000, 1);
            assert!(cache.entries.len() as u64 <= CACHE_SPAN);
        }
        assert!(!insert(&mut cache, start, 1_200_001, MAX_PAYLOAD + 1));
    }

    #[test]
    fn payloads_stand_where_they_were_put_while_blocks_are_used_again() {
        let start = Instant::now();
        let mut cache = PacketCache::new(TrackKind::Video);
        let mut blocks = 0;
        for seq in 0..20_000u64 {
            let now = start + Duration::from_millis(seq);
            assert!(insert(&mut cache, now, seq, 1 + (seq as usize * 7) % MAX_PAYLOAD));
            for back in [0, 1, 100, 200] {
                let Some((packet, payload)) = seq.checked_sub(back).and_then(|seq| cache.get(now, seq)) else { continue };
                assert_eq!(payload.len(), 1 + (packet.seq as usize * 7) % MAX_PAYLOAD);
                assert!(payload.iter().all(|&byte| byte == packet.seq as u8));
            }
            if seq == 2_000 {
                blocks = cache.blocks.len();
            }
        }
        assert_eq!(cache.blocks.len(), blocks, "the cache grew after it had its size");
        assert!(cache.find(19_999).is_some());
    }

    #[test]
    fn what_comes_a_little_late_is_taken_and_what_comes_very_late_is_not() {
        let start = Instant::now();
        let mut cache = PacketCache::new(TrackKind::Audio);
        insert(&mut cache, start, 1_000, 10);
        assert!(insert(&mut cache, start, 998, 20));
        assert_eq!(cache.find(998).map(|(_, payload)| payload.len()), Some(20));
        assert!(cache.find(999).is_none());
        assert!(!insert(&mut cache, start, 1_000 - 2 * MAX_LATE, 10));
        assert!(cache.find(1_000).is_some());
    }

    #[test]
    fn what_came_after_takes_no_longer_for_numbers_far_apart() {
        let start = Instant::now();
        let mut cache = PacketCache::new(TrackKind::Video);
        let far = u64::MAX / 2;
        for seq in [far, far + 1, far + 3] {
            insert(&mut cache, start, seq, 10);
        }
        let after = |seq| cache.after(start, seq).map(|(packet, _)| packet.seq - far).collect::<Vec<_>>();
        assert_eq!(after(0), [0, 1, 3]);
        assert_eq!(after(far), [1, 3]);
        assert_eq!(after(far + 3), [0u64; 0]);
        assert_eq!(after(u64::MAX), [0u64; 0]);
        assert_eq!(cache.after(start + 2 * CACHE_TIME, 0).count(), 0);
    }
}
