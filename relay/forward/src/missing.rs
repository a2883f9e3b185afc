//! What a publisher's stream lacks, and when to ask for it (RFC 4585 section 6.2.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use segue_model::{ExtSeq, SeqNo};

/// Packets asked for at once: more is not loss but a pause or an attack.
const MAX_MISSING: usize = 256;

/// A gap that long is a pause of the sender: nothing in it is asked for.
const MAX_GAP: u64 = 256;

/// Reordering waits so long before it counts as loss.
const REORDERING: Duration = Duration::from_millis(5);

/// Between two requests for one packet: more than most round trips to a relay.
const RETRY: Duration = Duration::from_millis(60);

/// Requests for one packet, the subscribers' playout buffers wait no longer.
const MAX_REQUESTS: u8 = 6;

#[derive(Clone, Copy, Debug)]
struct Lost {
    seq: u64,
    due: Instant,
    requests: u8,
}

/// The packets of one stream that are not there yet.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    highest: Option<u64>,
    lost: VecDeque<Lost>,
}

impl Missing {
    /// A packet came, on its own or as a retransmission.
    pub(crate) fn arrived(&mut self, now: Instant, seq: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return;
        };
        if seq <= highest {
            if let Ok(index) = self.lost.binary_search_by_key(&seq, |lost| lost.seq) {
                self.lost.remove(index);
            }
            return;
        }
        self.highest = Some(seq);
        if seq - highest > MAX_GAP {
            self.lost.clear();
            return;
        }
        for seq in highest + 1..seq {
            self.lost.push_back(Lost { seq, due: now + REORDERING, requests: 0 });
        }
        while self.lost.len() > MAX_MISSING {
            self.lost.pop_front();
        }
    }

    /// What to ask for now.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<SeqNo> {
        self.lost.retain(|lost| lost.due > now || lost.requests < MAX_REQUESTS);
        let mut wanted = Vec::new();
        for lost in self.lost.iter_mut().filter(|lost| lost.due <= now) {
            lost.requests += 1;
            lost.due = now + RETRY;
            wanted.push(ExtSeq(lost.seq).wire());
        }
        wanted
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.lost.iter().map(|lost| lost.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_until_it_is_filled() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, 100);
        missing.arrived(start, 103);
        assert!(missing.poll(start).is_empty());
        let due = missing.poll_timeout().unwrap();
        assert_eq!(missing.poll(due), [SeqNo(101), SeqNo(102)]);
        assert!(missing.poll(due).is_empty());
        missing.arrived(due, 101);
        assert_eq!(missing.poll(due + RETRY), [SeqNo(102)]);
        missing.arrived(due, 102);
        assert_eq!(missing.poll_timeout(), None);
    }

    #[test]
    fn requests_end_and_pauses_are_not_asked_for() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, 1);
        missing.arrived(start, 3);
        let mut requests = 0;
        while let Some(due) = missing.poll_timeout() {
            requests += missing.poll(due).len();
        }
        assert_eq!(requests, usize::from(MAX_REQUESTS));
        missing.arrived(start, 4 + MAX_GAP);
        assert_eq!(missing.poll_timeout(), None);
    }
}
