//! Network address translators as RFC 4787 describes them, as far as they decide whether two hosts can connect.

use std::time::Duration;

use serde::Deserialize;

/// Whether mapping or filtering depends on the other end (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependence {
    /// Not at all.
    #[default]
    Endpoint,
    /// On its address.
    Address,
    /// On its address and port.
    AddressAndPort,
}

/// One host's translator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nat {
    /// A new port for each other end, or one for all.
    pub mapping: Dependence,
    /// Who may answer through a mapping.
    pub filtering: Dependence,
    /// A mapping that sends nothing for so long is gone (section 4.3); 0: never. In milliseconds.
    pub expiry_ms: u64,
}

impl Nat {
    /// How long a mapping lives without use.
    #[must_use]
    pub fn expiry(&self) -> Option<Duration> {
        (self.expiry_ms > 0).then(|| Duration::from_millis(self.expiry_ms))
    }

    /// A host behind this translator knows the address others see it at before it sends to them.
    fn is_predictable(self) -> bool {
        self.mapping == Dependence::Endpoint
    }

    /// A packet of a host whose port nobody could know reaches this one, which has sent to its address before.
    fn admits_unknown_port(self) -> bool {
        self.filtering != Dependence::AddressAndPort
    }
}

/// Whether two hosts that check each other's reflexive addresses (RFC 8445) find a pair that works. Hosts without a translator are `None`.
#[must_use]
pub fn connects(a: Option<Nat>, b: Option<Nat>) -> bool {
    match (a, b) {
        (None, _) | (_, None) => true,
        // Each sends to where the other is seen, which opens its own filter for exactly that.
        (Some(a), Some(b)) if a.is_predictable() && b.is_predictable() => true,
        // One side's port is news to the other, whose own port is known.
        (Some(a), Some(_)) if a.is_predictable() => a.admits_unknown_port(),
        (Some(_), Some(b)) if b.is_predictable() => b.admits_unknown_port(),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONE: Nat = Nat { mapping: Dependence::Endpoint, filtering: Dependence::Endpoint, expiry_ms: 0 };
    const PORT_RESTRICTED: Nat = Nat { filtering: Dependence::AddressAndPort, ..CONE };
    const SYMMETRIC: Nat = Nat { mapping: Dependence::AddressAndPort, ..PORT_RESTRICTED };

    #[test]
    fn two_symmetric_ones_never_meet_and_two_cones_always_do() {
        assert!(connects(Some(CONE), Some(PORT_RESTRICTED)));
        assert!(connects(Some(PORT_RESTRICTED), Some(PORT_RESTRICTED)));
        assert!(connects(Some(SYMMETRIC), Some(CONE)));
        assert!(connects(Some(SYMMETRIC), None));
        assert!(!connects(Some(SYMMETRIC), Some(PORT_RESTRICTED)));
        assert!(!connects(Some(SYMMETRIC), Some(SYMMETRIC)));
    }
}
