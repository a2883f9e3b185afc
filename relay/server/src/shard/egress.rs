//! Packets on their way out: written one behind the other into one slab, sealed where they stand, and sent in runs of equal size to one
//! receiver, so that one call sends many (UDP GSO).
//!
//! One slab serves all receivers of a shard, one after the other: it stays in the processor's cache, and a receiver that gets nothing costs
//! nothing.

use std::net::SocketAddr;
use std::ops::Range;

use segue_forward::MAX_PACKET;

use crate::transport::RTP_ROOM;

/// Bytes of one run: what the kernel takes in one call, less headers.
const MAX_RUN: usize = 60_000;

/// Bytes one packet may take with its tag.
const MAX_SEALED: usize = MAX_PACKET + RTP_ROOM;

/// Bytes of a slab: the longest run, and room to begin the next without a copy.
const SLAB: usize = 2 * MAX_RUN;

/// Something packets leave by.
pub trait Outlet {
    /// Sends a run. False where it was not taken.
    fn send(&self, burst: Burst<'_>) -> bool;

    /// Most packets of one run.
    fn max_segments(&self) -> usize;
}

/// A run to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst<'a> {
    /// Its receiver.
    pub to: SocketAddr,
    /// Its packets, one behind the other.
    pub bytes: &'a [u8],
    /// Size of its packets where there are several.
    pub segment: Option<usize>,
}

/// Packets to one receiver at a time: those of a run are all of one size, but for the last, which may be smaller.
#[derive(Debug)]
pub(super) struct Slab {
    bytes: Box<[u8]>,
    /// Where the run is; the next packet stands behind it.
    run: Range<usize>,
    /// Size of the run's first packet.
    segment: usize,
    count: usize,
    /// The last packet was smaller: nothing may follow it.
    closed: bool,
    calls: u64,
    failures: u64,
}

impl Slab {
    pub(super) fn new() -> Self {
        let bytes = vec![0; SLAB].into_boxed_slice();
        Self { bytes, run: 0..0, segment: 0, count: 0, closed: false, calls: 0, failures: 0 }
    }

    /// Where the next packet is written and sealed: there is room for any.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.run.end..).unwrap_or_default()
    }

    /// A sealed packet of so many bytes stands in [`Self::room`], for the receiver of those before it. What it cannot join is sent.
    pub(super) fn push(&mut self, len: usize, to: SocketAddr, outlet: &dyn Outlet) {
        let joins = self.count < outlet.max_segments() && len <= self.segment && self.run.len() + len <= MAX_RUN;
        if self.count > 0 && (self.closed || !joins) {
            self.send(to, outlet);
        }
        if self.count == 0 {
            self.segment = len;
        }
        self.closed = len < self.segment;
        self.count += 1;
        self.run.end += len;
        if self.bytes.len() - self.run.end < MAX_SEALED {
            self.finish(to, outlet);
        }
    }

    /// Sends what waits; the slab is empty afterwards.
    pub(super) fn finish(&mut self, to: SocketAddr, outlet: &dyn Outlet) {
        self.send(to, outlet);
        self.run = 0..0;
    }

    /// Calls since the last time, and those of them that sent nothing.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.calls), std::mem::take(&mut self.failures))
    }

    fn send(&mut self, to: SocketAddr, outlet: &dyn Outlet) {
        if self.count > 0 {
            let bytes = self.bytes.get(self.run.clone()).unwrap_or_default();
            self.calls += 1;
            let sent = outlet.send(Burst { to, bytes, segment: (self.count > 1).then_some(self.segment) });
            self.failures += u64::from(!sent);
        }
        self.run = self.run.end..self.run.end;
        self.count = 0;
        self.closed = false;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Notes the sizes of what is sent.
    #[derive(Default)]
    struct Noted(RefCell<Vec<(usize, Option<usize>)>>);

    impl Outlet for Noted {
        fn send(&self, burst: Burst<'_>) -> bool {
            // Every packet is filled with its own length.
            let size = burst.segment.unwrap_or(burst.bytes.len());
            assert!(burst.bytes.chunks(size).all(|packet| packet.iter().all(|&byte| byte == packet.len() as u8)));
            self.0.borrow_mut().push((burst.bytes.len(), burst.segment));
            true
        }

        fn max_segments(&self) -> usize {
            4
        }
    }

    fn runs(sizes: &[usize]) -> Vec<(usize, Option<usize>)> {
        let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let (noted, mut slab) = (Noted::default(), Slab::new());
        for &size in sizes {
            slab.room()[..size].fill(size as u8);
            slab.push(size, to, &noted);
        }
        slab.finish(to, &noted);
        let (calls, failures) = slab.take_counts();
        assert_eq!((calls as usize, failures), (noted.0.borrow().len(), 0));
        noted.0.into_inner()
    }

    #[test]
    fn only_the_last_packet_of_a_run_is_smaller() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[10]), [(10, None)]);
        assert_eq!(runs(&[10, 10, 7, 7]), [(27, Some(10)), (7, None)]);
        assert_eq!(runs(&[10, 11]), [(10, None), (11, None)]);
        assert_eq!(runs(&[5; 6]), [(20, Some(5)), (10, Some(5))]);
    }

    #[test]
    fn a_slab_begins_anew_before_a_packet_finds_no_room() {
        let mut sizes = Vec::new();
        for at in 0..500 {
            sizes.push(1_000 + at % 200);
        }
        let sent: usize = runs(&sizes).iter().map(|(len, _)| len).sum();
        assert_eq!(sent, sizes.iter().sum::<usize>());
    }
}
