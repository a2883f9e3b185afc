//! Random numbers: one draw from the system, everything else from that seed.

use ring::rand::{SecureRandom, SystemRandom};

/// A sequence of numbers that differ much (SplitMix64). Not for keys.
pub(super) struct Seeds(u64);

impl Seeds {
    /// Seeded by the system; a system without randomness seeds with zero, which harms uniqueness between runs only.
    pub(super) fn from_system() -> Self {
        let mut bytes = [0; 8];
        let _ = SystemRandom::new().fill(&mut bytes);
        Self::new(u64::from_le_bytes(bytes))
    }

    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An SSRC; never 0, which some stacks take for none.
    pub(super) fn ssrc(&mut self) -> u32 {
        (self.next() as u32).max(1)
    }
}
