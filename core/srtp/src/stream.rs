//! The table of streams of one direction.

use segue_model::Ssrc;

/// How many SSRCs one direction of one transport may use during its life. A stream is never forgotten, since its window is what
/// keeps a nonce from repeating. A camera with three encodings and their repair streams takes six, so this is 170 of them one after
/// another; at about 160 bytes each the table stays under 160 KiB.
pub const MAX_STREAMS: usize = 1024;

/// State by SSRC, bounded by [`MAX_STREAMS`]. Ordered by SSRC; the entry used last is tried first, since packets come in runs.
#[derive(Debug)]
pub(crate) struct StreamTable<T> {
    entries: Vec<(Ssrc, T)>,
    last: usize,
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> StreamTable<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), last: 0 }
    }

    /// The state of `ssrc`.
    pub(crate) fn get_mut(&mut self, ssrc: Ssrc) -> Option<&mut T> {
        if self.entries.get(self.last).is_none_or(|(entry, _)| *entry != ssrc) {
            self.last = self.entries.binary_search_by_key(&ssrc, |(entry, _)| *entry).ok()?;
        }
        self.entries.get_mut(self.last).map(|(_, state)| state)
    }

    /// Whether one more stream fits.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < MAX_STREAMS
    }

    /// Puts `state` under `ssrc`, over what was there.
    pub(crate) fn insert(&mut self, ssrc: Ssrc, state: T) -> Result<(), Full> {
        match self.entries.binary_search_by_key(&ssrc, |(entry, _)| *entry) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = state;
                }
            }
            Err(at) if self.has_room() => self.entries.insert(at, (ssrc, state)),
            Err(_) => return Err(Full),
        }
        Ok(())
    }

    /// How many streams there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_and_is_bounded() {
        let mut table = StreamTable::new();
        for n in (0..MAX_STREAMS as u32).rev() {
            table.insert(Ssrc(n * 7), n).unwrap();
        }
        assert_eq!(table.insert(Ssrc(3), 0), Err(Full));
        assert_eq!(table.len(), MAX_STREAMS);
        for n in 0..MAX_STREAMS as u32 {
            assert_eq!(table.get_mut(Ssrc(n * 7)), Some(&mut n.clone()));
        }
        assert_eq!(table.get_mut(Ssrc(3)), None);
    }
}
