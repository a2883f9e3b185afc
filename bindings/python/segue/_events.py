"""What happens in a room: what ``async for event in room.events()`` gives, for ``match``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ._types import ConnectionState, LeaveReason, MediaPath, Speaker, Topology

if TYPE_CHECKING:
    from ._room import RemoteParticipant
    from ._tracks import RemoteTrack


@dataclass(frozen=True, slots=True)
class ConnectionStateChanged:
    """This participant's own connection changed. Its end is :class:`Disconnected`."""

    state: ConnectionState


@dataclass(frozen=True, slots=True)
class Disconnected:
    """This participant is out of the room for good; no event follows."""

    reason: LeaveReason
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ParticipantJoined:
    """Somebody came, or was there before us."""

    participant: RemoteParticipant


@dataclass(frozen=True, slots=True)
class ParticipantLeft:
    """Somebody went; their tracks end with them."""

    participant: RemoteParticipant
    reason: LeaveReason


@dataclass(frozen=True, slots=True)
class TrackPublished:
    """Somebody published a track."""

    participant: RemoteParticipant
    track: RemoteTrack


@dataclass(frozen=True, slots=True)
class TrackUnpublished:
    """A track ended."""

    participant: RemoteParticipant
    track: RemoteTrack


@dataclass(frozen=True, slots=True)
class TrackMuted:
    """A track was silenced by its publisher, or not any more."""

    track: RemoteTrack
    muted: bool


@dataclass(frozen=True, slots=True)
class TopologyChanged:
    """The room moved between mesh and relay. Tracks and participants stay the same objects."""

    from_: Topology
    to: Topology
    reason: str


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The media of one direction between two participants moved."""

    publisher: int
    subscriber: int
    path: MediaPath
    reason: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A message of somebody. ``sender`` is ``None`` where they have left meanwhile."""

    sender: RemoteParticipant | None
    topic: str
    payload: bytes
    reliable: bool


@dataclass(frozen=True, slots=True)
class SpeakersChanged:
    """Who speaks, loudest first."""

    speakers: tuple[Speaker, ...]


@dataclass(frozen=True, slots=True)
class RelayWarning:
    """The relay refused something that nobody waits for."""

    code: str
    message: str


RoomEvent: TypeAlias = (
    ConnectionStateChanged
    | Disconnected
    | ParticipantJoined
    | ParticipantLeft
    | TrackPublished
    | TrackUnpublished
    | TrackMuted
    | TopologyChanged
    | PathChanged
    | DataReceived
    | SpeakersChanged
    | RelayWarning
)
