//! The rooms of a shard: by key for the control plane, by place for what happens per datagram.

use std::collections::BTreeMap;

use super::room::Room;
use crate::media_plane::RoomKey;

/// All rooms of a shard.
#[derive(Default)]
pub(super) struct Rooms {
    places: BTreeMap<RoomKey, usize>,
    entries: Vec<Option<Room>>,
    free: Vec<usize>,
}

impl Rooms {
    pub(super) fn insert(&mut self, key: RoomKey, room: Room) {
        let place = self.free.pop().unwrap_or(self.entries.len());
        if self.entries.len() <= place {
            self.entries.push(None);
        }
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = Some(room);
        }
        self.places.insert(key, place);
    }

    pub(super) fn remove(&mut self, key: RoomKey) -> Option<Room> {
        let place = self.places.remove(&key)?;
        let room = self.entries.get_mut(place)?.take()?;
        self.free.push(place);
        Some(room)
    }

    /// Where a room is until it is removed.
    pub(super) fn place(&self, key: RoomKey) -> Option<usize> {
        self.places.get(&key).copied()
    }

    pub(super) fn get(&self, key: RoomKey) -> Option<&Room> {
        self.entries.get(self.place(key)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: RoomKey) -> Option<&mut Room> {
        self.at_mut(self.place(key)?)
    }

    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Room> {
        self.entries.get_mut(place)?.as_mut()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = RoomKey> + '_ {
        self.places.keys().copied()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Room> {
        self.entries.iter().flatten()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Room> {
        self.entries.iter_mut().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}
