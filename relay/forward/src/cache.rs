//! What subscribers may ask for again: one cache per encoding, shared by all its subscribers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use segue_media::packet::{AudioLevel, Origin};

/// How long a packet can be asked for: a playout buffer waits no longer for it.
pub const CACHE_TIME: Duration = Duration::from_secs(1);

/// Payload bytes one cache holds: 1 s of 3 Mbit/s, the most one encoding is given.
pub const CACHE_BYTES: usize = 384 * 1024;

/// Sequence numbers one cache spans, so that a jump in them does not make holes without bound.
const CACHE_SPAN: u64 = 2048;

/// A packet as its publisher sent it, without the hop's header.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Extended hop sequence number on the publisher's leg.
    pub(crate) seq: u64,
    pub(crate) origin: Option<Origin>,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) level: Option<AudioLevel>,
    pub(crate) payload: Bytes,
}

/// Packets by sequence number, bounded by time, bytes and span.
#[derive(Debug, Default)]
pub(crate) struct PacketCache {
    /// Sequence number of the front entry.
    base: u64,
    entries: VecDeque<Option<(Instant, Packet)>>,
    bytes: usize,
}

impl PacketCache {
    pub(crate) fn insert(&mut self, now: Instant, packet: Packet) {
        if self.entries.is_empty() {
            self.base = packet.seq;
        }
        let Some(offset) = packet.seq.checked_sub(self.base) else { return };
        if offset >= self.entries.len() as u64 + CACHE_SPAN {
            self.entries.clear();
            self.bytes = 0;
            self.base = packet.seq;
        }
        let Some(offset) = packet.seq.checked_sub(self.base) else { return };
        while (self.entries.len() as u64) <= offset {
            self.entries.push_back(None);
        }
        let size = packet.payload.len();
        if let Some(entry) = usize::try_from(offset).ok().and_then(|offset| self.entries.get_mut(offset))
            && entry.is_none()
        {
            *entry = Some((now, packet));
            self.bytes += size;
        }
        self.evict(now);
    }

    /// The packet of a sequence number, unless it is too old or was never here.
    pub(crate) fn get(&self, now: Instant, seq: u64) -> Option<&Packet> {
        let offset = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        let (at, packet) = self.entries.get(offset)?.as_ref()?;
        (now.saturating_duration_since(*at) <= CACHE_TIME).then_some(packet)
    }

    /// The packets behind a sequence number that are not too old, in order. As many steps as the cache has entries at most, however far
    /// apart sequence numbers lie.
    pub(crate) fn after(&self, now: Instant, seq: u64) -> impl Iterator<Item = &Packet> {
        let skipped = usize::try_from(seq.saturating_add(1).saturating_sub(self.base)).unwrap_or(usize::MAX);
        let held = self.entries.iter().skip(skipped).flatten();
        held.filter(move |(at, _)| now.saturating_duration_since(*at) <= CACHE_TIME).map(|(_, packet)| packet)
    }

    fn evict(&mut self, now: Instant) {
        while let Some(front) = self.entries.front() {
            let spent = match front {
                None => true,
                Some((at, _)) => now.saturating_duration_since(*at) > CACHE_TIME,
            };
            // A hole at the front may still be filled by a retransmission: it goes only when there is no room.
            let full = self.bytes > CACHE_BYTES || self.entries.len() as u64 > CACHE_SPAN;
            if !full && (!spent || front.is_none()) {
                return;
            }
            if let Some(Some((_, packet))) = self.entries.pop_front() {
                self.bytes = self.bytes.saturating_sub(packet.payload.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, size: usize) -> Packet {
        Packet { seq, origin: None, timestamp: 0, marker: false, level: None, payload: Bytes::from(vec![0; size]) }
    }

    #[test]
    fn holds_a_second_and_no_longer() {
        let start = Instant::now();
        let mut cache = PacketCache::default();
        cache.insert(start, packet(100, 10));
        cache.insert(start + Duration::from_millis(900), packet(102, 10));
        assert!(cache.get(start + CACHE_TIME, 100).is_some());
        assert!(cache.get(start + CACHE_TIME, 101).is_none());
        assert!(cache.get(start + CACHE_TIME + Duration::from_millis(1), 100).is_none());
        cache.insert(start + Duration::from_millis(950), packet(101, 10));
        assert!(cache.get(start + CACHE_TIME, 101).is_some());
        cache.insert(start + Duration::from_millis(1500), packet(103, 10));
        assert_eq!(cache.base, 101);
        assert_eq!(cache.bytes, 30);
    }

    #[test]
    fn bytes_and_span_are_bounded() {
        let start = Instant::now();
        let mut cache = PacketCache::default();
        for seq in 0..2000 {
            cache.insert(start, packet(seq, 1200));
        }
        assert!(cache.bytes <= CACHE_BYTES);
        assert!(cache.get(start, 1999).is_some());
        assert!(cache.get(start, 100).is_none());
        cache.insert(start, packet(1_000_000, 1200));
        assert_eq!(cache.entries.len(), 1);
        for step in 0..100 {
            cache.insert(start, packet(1_000_000 + step * 2000, 1));
            assert!(cache.entries.len() as u64 <= CACHE_SPAN);
        }
    }

    #[test]
    fn what_came_after_takes_no_longer_for_numbers_far_apart() {
        let start = Instant::now();
        let mut cache = PacketCache::default();
        let far = u64::MAX / 2;
        for seq in [far, far + 1, far + 3] {
            cache.insert(start, packet(seq, 10));
        }
        let after = |seq| cache.after(start, seq).map(|packet| packet.seq - far).collect::<Vec<_>>();
        assert_eq!(after(0), [0, 1, 3]);
        assert_eq!(after(far), [1, 3]);
        assert_eq!(after(far + 3), [0u64; 0]);
        assert_eq!(after(u64::MAX), [0u64; 0]);
        assert_eq!(cache.after(start + 2 * CACHE_TIME, 0).count(), 0);
    }
}
