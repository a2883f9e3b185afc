//! What the end-to-end tests share: real sockets, real codecs, real browsers.

pub mod chromium;
