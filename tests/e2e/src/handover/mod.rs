//! `bench handover --real`: what a change of path costs over real sockets with real codecs, measured on what was decoded and played.
//!
//! Every scenario is played twice, with and without the change, over a network that loses the same packets ([`crate::fabric`]). Pictures carry
//! their number and voices are bursts that follow each other in a known order ([`signal`]), so that what was missed is read from pictures and samples. The relay is a process.

pub mod caller;
pub mod compare;
pub mod record;
pub mod relay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod signal;
