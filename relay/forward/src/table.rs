//! Entries by id for the authority, and by place for what happens per packet: a place is an index, found out once.

use std::collections::BTreeMap;

/// Entries whose place stays theirs until they are removed; then it is given to another.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    places: BTreeMap<K, usize>,
    entries: Vec<Option<(K, T)>>,
    free: Vec<usize>,
}

impl<K: Copy + Ord, T> Table<K, T> {
    pub(crate) const fn new() -> Self {
        Self { places: BTreeMap::new(), entries: Vec::new(), free: Vec::new() }
    }

    /// Puts an entry under an id, over what was there, and gives its place.
    pub(crate) fn insert(&mut self, key: K, value: T) -> usize {
        let place = self.places.get(&key).copied().or_else(|| self.free.pop()).unwrap_or(self.entries.len());
        if self.entries.len() <= place {
            self.entries.push(None);
        }
        self.places.insert(key, place);
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = Some((key, value));
        }
        place
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<(usize, T)> {
        let place = self.places.remove(&key)?;
        let (_, value) = self.entries.get_mut(place)?.take()?;
        self.free.push(place);
        Some((place, value))
    }

    pub(crate) fn place(&self, key: K) -> Option<usize> {
        self.places.get(&key).copied()
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.places.contains_key(&key)
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        self.at(self.place(key)?)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.at_mut(self.place(key)?)
    }

    pub(crate) fn at(&self, place: usize) -> Option<&T> {
        self.entries.get(place)?.as_ref().map(|(_, value)| value)
    }

    pub(crate) fn at_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place)?.as_mut().map(|(_, value)| value)
    }

    /// The id of the entry at a place.
    pub(crate) fn key_at(&self, place: usize) -> Option<K> {
        self.entries.get(place)?.as_ref().map(|(key, _)| *key)
    }

    /// Ids and places, in the order of the ids.
    pub(crate) fn places(&self) -> impl Iterator<Item = (K, usize)> + '_ {
        self.places.iter().map(|(&key, &place)| (key, place))
    }

    /// Entries with their ids, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> + '_ {
        self.places.iter().filter_map(|(&key, &place)| Some((key, self.at(place)?)))
    }

    /// Entries with ids and places, in the order of the places.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = (usize, K, &mut T)> + '_ {
        let entries = self.entries.iter_mut().enumerate();
        entries.filter_map(|(place, entry)| entry.as_mut().map(|(key, value)| (place, *key, value)))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_until_its_entry_goes_and_serves_again() {
        let mut table = Table::new();
        assert_eq!((table.insert(30, 'a'), table.insert(10, 'b'), table.insert(20, 'c')), (0, 1, 2));
        assert_eq!(table.remove(10), Some((1, 'b')));
        assert_eq!(table.remove(10), None);
        assert_eq!((table.at(1), table.place(20), table.get(30)), (None, Some(2), Some(&'a')));
        assert_eq!((table.insert(5, 'd'), table.insert(5, 'e')), (1, 1));
        assert_eq!(table.iter().map(|(key, &value)| (key, value)).collect::<Vec<_>>(), [(5, 'e'), (20, 'c'), (30, 'a')]);
        assert_eq!((table.len(), table.key_at(1), table.contains(10)), (3, Some(5), false));
        let mut places = table.entries_mut().map(|(place, key, _)| (place, key));
        assert_eq!(places.next(), Some((0, 30)));
    }
}
