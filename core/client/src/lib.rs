//! Segue: video calls that start as a direct mesh and grow into a relay without a gap.

mod clock;
mod net;
