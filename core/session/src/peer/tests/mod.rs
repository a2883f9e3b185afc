//! Calls of several participants and a relay, in virtual time.

mod calls;
mod single;
mod world;
