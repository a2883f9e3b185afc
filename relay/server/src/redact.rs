//! What must not stand in a log: addresses, session descriptions, keys.

use std::fmt;

/// Shows that there is something, and how long it is, but not what. Wrap addresses, SDP, tokens and keys in it before they meet a log
/// line or an error text.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[redacted, {} characters]", self.0.to_string().chars().count())
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_neither_value_nor_debug_form() {
        let address = Redacted("203.0.113.9:4000");
        assert_eq!(format!("{address}"), "[redacted, 16 characters]");
        assert_eq!(format!("{address:?}"), "[redacted]");
    }
}
