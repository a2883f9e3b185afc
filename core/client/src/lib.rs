//! Segue: video calls that start as a direct mesh and grow into a relay without a gap.

#![expect(dead_code, reason = "the driver that uses the links lands next")]

mod clock;
mod net;
