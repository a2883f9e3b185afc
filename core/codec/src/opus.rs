//! Opus (RFC 6716) by libopus.
