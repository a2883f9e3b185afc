//! Which of our addresses others are told: all of them, or what a test's network between sockets stands for.

use std::net::SocketAddr;

use segue_session::peer::LegKey;

use super::Driver;
use crate::net::peer_link::LinkCandidate;
use crate::stats::LegEnd;

/// Words of a candidate that say where it leads (RFC 8839 section 5.1).
const ADDRESS: usize = 4;
const PORT: usize = 5;

/// Begins a candidate in a description.
const LINE: &str = "a=candidate:";

impl Driver {
    /// A candidate as it is told; `None` where it is not.
    pub(super) fn told(&self, key: LegKey, mut candidate: LinkCandidate) -> Option<LinkCandidate> {
        if self.options.candidates.is_some() {
            candidate.candidate = self.mapped(key, &candidate.candidate)?;
        }
        Some(candidate)
    }

    /// A description as it is told.
    pub(super) fn told_description(&self, key: LegKey, sdp: String) -> String {
        if self.options.candidates.is_none() {
            return sdp;
        }
        let lines = sdp.split_inclusive("\r\n").filter_map(|line| match line.trim_end().strip_prefix(LINE) {
            Some(candidate) => Some(format!("{LINE}{}\r\n", self.mapped(key, candidate)?)),
            None => Some(line.to_owned()),
        });
        lines.collect()
    }

    fn mapped(&self, key: LegKey, candidate: &str) -> Option<String> {
        let Some(map) = &self.options.candidates else { return Some(candidate.to_owned()) };
        let mut words: Vec<String> = candidate.split(' ').map(str::to_owned).collect();
        let address = words.get(ADDRESS)?.parse().ok()?;
        let told = map(leg_end(key), SocketAddr::new(address, words.get(PORT)?.parse().ok()?))?;
        *words.get_mut(ADDRESS)? = told.ip().to_string();
        *words.get_mut(PORT)? = told.port().to_string();
        Some(words.join(" "))
    }
}

/// As the application names the end of a leg.
pub(super) const fn leg_end(key: LegKey) -> LegEnd {
    match key {
        LegKey::RelayPublisher => LegEnd::RelayPublisher,
        LegKey::RelaySubscriber => LegEnd::RelaySubscriber,
        LegKey::Peer(participant) => LegEnd::Peer(participant),
    }
}
