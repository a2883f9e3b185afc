//! Packets on their way to one receiver: gathered into runs of equal size, so that one call sends many (UDP GSO).

use std::net::SocketAddr;

/// Bytes of one run: what the kernel takes in one call, less headers.
const MAX_RUN: usize = 60_000;

/// One receiver's waiting packets: all of one size, but for the last, which may be smaller.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    to: Option<SocketAddr>,
    /// The last packet was smaller: nothing may follow it.
    closed: bool,
}

/// A run to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Burst<'a> {
    pub(super) to: SocketAddr,
    pub(super) bytes: &'a [u8],
    /// Size of its packets where there are several.
    pub(super) segment: Option<usize>,
}

impl Run {
    /// Whether a packet must wait until the run is sent.
    pub(super) fn is_full_for(&self, to: SocketAddr, packet: &[u8], max_segments: usize) -> bool {
        self.count > 0
            && (self.closed
                || self.to != Some(to)
                || packet.len() > self.segment
                || self.count >= max_segments
                || self.bytes.len() + packet.len() > MAX_RUN)
    }

    /// Adds a packet that fits.
    pub(super) fn push(&mut self, to: SocketAddr, packet: &[u8]) {
        if self.count == 0 {
            self.segment = packet.len();
            self.to = Some(to);
        }
        self.closed = packet.len() < self.segment;
        self.count += 1;
        self.bytes.extend_from_slice(packet);
    }

    /// What waits.
    pub(super) fn burst(&self) -> Option<Burst<'_>> {
        let to = self.to.filter(|_| self.count > 0)?;
        Some(Burst { to, bytes: &self.bytes, segment: (self.count > 1).then_some(self.segment) })
    }

    /// It was sent.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.closed = false;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_packet_of_a_run_is_smaller() {
        let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let other: SocketAddr = "127.0.0.1:10".parse().unwrap();
        let mut run = Run::default();
        assert!(!run.is_full_for(to, &[0; 10], 4));
        run.push(to, &[0; 10]);
        assert_eq!(run.burst().unwrap().segment, None);
        assert!(run.is_full_for(to, &[0; 11], 4));
        assert!(run.is_full_for(other, &[0; 10], 4));
        run.push(to, &[0; 10]);
        run.push(to, &[0; 7]);
        assert!(run.is_full_for(to, &[0; 7], 4));
        let burst = run.burst().unwrap();
        assert_eq!((burst.segment, burst.bytes.len()), (Some(10), 27));
        run.clear();
        assert!(run.burst().is_none());
        for _ in 0..4 {
            assert!(!run.is_full_for(to, &[0; 5], 4));
            run.push(to, &[0; 5]);
        }
        assert!(run.is_full_for(to, &[0; 5], 4));
    }
}
