//! What is said of a whole call.

use segue::{ConnectionState, Path, RoomEvent, Topology};

use crate::guest::Guest;
use crate::wait::eventually;

/// New pictures that count as seeing somebody.
const PICTURES: u64 = 15;

/// New windows of 100 ms that count as hearing somebody.
const TONES: u64 = 10;

fn pairs<'a>(guests: &'a [&'a Guest]) -> impl Iterator<Item = (&'a Guest, &'a Guest)> {
    guests.iter().flat_map(move |one| guests.iter().filter(|other| other.name != one.name).map(move |other| (*one, *other)))
}

/// From now on, everybody gets new pictures and new sound of everybody else.
pub async fn everybody_sees_and_hears_everybody(guests: &[&Guest]) {
    let before: Vec<_> = pairs(guests).map(|(one, other)| one.log.progress(other.name)).collect();
    eventually("everybody seeing and hearing everybody", || {
        let now = pairs(guests).map(|(one, other)| (one, other, one.log.progress(other.name)));
        let missing: Vec<_> = now
            .zip(&before)
            .filter(|((_, _, now), before)| now.0 < before.0 + PICTURES || now.1 < before.1 + TONES)
            .map(|((one, other, now), before)| {
                let (pictures, tones) = (now.0 - before.0, now.1 - before.1);
                let notes = one.log.notes();
                let heard =
                    notes.heard.get(other.name).map(|heard| (heard.decoded, heard.concealed, heard.silent, heard.others));
                let paths: Vec<_> = one.room.path_info();
                let of = other.id();
                let path = paths.iter().find(|info| info.edge.publisher == of).cloned();
                format!(
                    "{} of {}: {pictures} pictures, {tones} tones; {:?}; sound {heard:?}; {path:?}",
                    one.name,
                    other.name,
                    notes.seen.get(other.name)
                )
            })
            .collect();
        (!missing.is_empty()).then_some(missing)
    })
    .await;
}

/// All edges among these come to be on a path.
pub async fn all_edges_on(path: Path, guests: &[&Guest]) {
    eventually(&format!("every edge being {path:?}"), || {
        let wrong: Vec<_> = pairs(guests).flat_map(|(one, other)| one.edges_not_on(path, other)).collect();
        (!wrong.is_empty()).then_some(wrong)
    })
    .await;
}

/// The room comes to be this, for everybody.
pub async fn topology_is(topology: Topology, guests: &[&Guest]) {
    eventually(&format!("the room being {topology:?}"), || {
        let others = guests.iter().filter(|guest| guest.room.topology() != topology);
        let wrong: Vec<_> = others
            .map(|guest| {
                let edges: Vec<_> = guest.room.path_info();
                format!("{}: {:?} {edges:#?}", guest.name, guest.room.topology())
            })
            .collect();
        (!wrong.is_empty()).then_some(wrong)
    })
    .await;
}

/// Everybody's own connection comes to be this.
pub async fn everybody_is(state: ConnectionState, guests: &[&Guest]) {
    eventually(&format!("everybody being {state:?}"), || {
        let others = guests.iter().filter(|guest| guest.room.state() != state);
        let others: Vec<_> = others.map(|guest| (guest.name, guest.room.state())).collect();
        (!others.is_empty()).then_some(others)
    })
    .await;
}

/// Everybody knows of everybody.
pub async fn everybody_is_in(guests: &[&Guest]) {
    let ids: Vec<_> = guests.iter().map(|guest| guest.id()).collect();
    eventually("everybody knowing of everybody", || {
        let lacking: Vec<_> = guests
            .iter()
            .filter(|guest| {
                let mut known: Vec<_> = guest.room.participants().iter().map(segue::RemoteParticipant::id).collect();
                known.push(guest.id());
                !ids.iter().all(|id| known.contains(id))
            })
            .map(|guest| guest.name)
            .collect();
        (!lacking.is_empty()).then_some(lacking)
    })
    .await;
}

/// Nobody saw a picture twice, or an older one after a newer one, or anything else than what its publisher sent.
pub fn assert_pictures_in_order(guests: &[&Guest]) {
    for guest in guests {
        for (of, seen) in guest.log.notes().seen {
            let wrong = (seen.repeated, seen.backwards, seen.strange, seen.unreadable);
            assert_eq!(wrong, (0, 0, 0, 0), "{} of {of}: repeated, backwards, strange, unreadable; {seen:?}", guest.name);
        }
    }
}

/// For those here throughout, every track was published once and never ended.
pub fn assert_tracks_lasted(guests: &[&Guest]) {
    let ids: Vec<_> = guests.iter().map(|guest| guest.id()).collect();
    for guest in guests {
        let mut published: Vec<_> = guest.log.find(|event| match event {
            RoomEvent::TrackPublished { participant, track } if ids.contains(&participant.id()) => Some(track.id()),
            _ => None,
        });
        let ended = guest.log.find(|event| match event {
            RoomEvent::TrackUnpublished { participant, track } if ids.contains(&participant.id()) => Some(track.id()),
            _ => None,
        });
        assert!(ended.is_empty(), "{}: tracks ended: {ended:?}", guest.name);
        published.sort_unstable();
        let count = published.len();
        published.dedup();
        assert_eq!(published.len(), count, "{}: tracks were published again", guest.name);
    }
}
