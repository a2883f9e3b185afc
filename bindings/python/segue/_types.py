"""Words shared by everything: enumerations and plain values."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class TrackKind(enum.Enum):
    """Audio or video."""

    AUDIO = "audio"
    VIDEO = "video"


class TrackSource(enum.Enum):
    """Where a track comes from."""

    MICROPHONE = "microphone"
    CAMERA = "camera"
    SCREEN = "screen"
    SCREEN_AUDIO = "screen_audio"


class Quality(enum.Enum):
    """The most that is wanted of a track."""

    OFF = "off"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Topology(enum.Enum):
    """What the edges of a room are, taken together."""

    MESH = "mesh"
    MIXED = "mixed"
    RELAYED = "relayed"


class TopologyPolicy(enum.Enum):
    """Which paths an application allows."""

    AUTO = "auto"
    MESH_ONLY = "mesh_only"
    RELAY_ONLY = "relay_only"
    HIDE_ADDRESS = "hide_address"


class MediaPath(enum.Enum):
    """The way media takes along one edge (publisher to subscriber)."""

    DIRECT = "direct"
    RELAYED = "relayed"


class Interfaces(enum.Enum):
    """Which local addresses are used for media."""

    AUTOMATIC = "automatic"
    ALL = "all"
    ALL_AND_LOOPBACK = "all_and_loopback"
    LOOPBACK_ONLY = "loopback_only"


class ConnectionState(enum.Enum):
    """This participant's own connection."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"


class LeaveReason(enum.Enum):
    """Why somebody is not in the room any more."""

    UNKNOWN = "unknown"
    LEFT = "left"
    TIMEOUT = "timeout"
    REPLACED = "replaced"
    KICKED = "kicked"
    ROOM_CLOSED = "room_closed"
    SHUTDOWN = "shutdown"
    TOO_SLOW = "too_slow"
    REFUSED = "refused"


class VideoContent(enum.Enum):
    """What pictures show."""

    CAMERA = "camera"
    """Faces and rooms: every picture is sent, coarser if need be."""
    SCREEN = "screen"
    """Text and windows: sharp, at the cost of pictures left out."""


class Playout(enum.Enum):
    """Where 20 ms of sound come from."""

    DECODED = "decoded"
    RECOVERED = "recovered"
    CONCEALED = "concealed"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class VideoEncoding:
    """One encoding of a track: its size in pixels and the upper end of its rate in kbit/s."""

    width: int
    height: int
    max_kbps: int


@dataclass(frozen=True, slots=True)
class PathInfo:
    """The truth about one direction between this participant and another."""

    publisher: int
    subscriber: int
    path: MediaPath
    active: bool
    moving: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who speaks: ``level`` is -dBov, 0 loudest, 127 silent (RFC 6464)."""

    participant: int
    level: int


@dataclass(frozen=True, slots=True)
class EdgeStats:
    """One direction between this participant and another; rates in kbit/s, times in milliseconds, ``loss`` from 0 to 1."""

    publisher: int
    subscriber: int
    path: MediaPath
    kbps: float
    loss: float
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class LegStats:
    """One transport. ``participant`` is at its other end; ``None``: the relay."""

    participant: int | None
    publisher: bool
    up: bool
    send_kbps: float
    estimate_kbps: float | None
    target_kbps: float
    queue_ms: float
    receive_kbps: float
    packets_sent: int
    packets_retransmitted: int
    packets_received: int
    packets_lost: int
    loss: float
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class TrackStats:
    """One track received."""

    track: int
    participant: int
    kind: TrackKind
    kbps: float
    frames: int
    keyframes: int
    gaps: int
    longest_gap_ms: float
    delay_ms: float
    duplicates: int
    decoded: int
    undecoded: int
    concealed: int
    recovered: int
    keyframe_requests: int


@dataclass(frozen=True, slots=True)
class PublicationStats:
    """One track sent. ``target_kbps`` is what its encoders are to make at most now."""

    track: int
    kind: TrackKind
    kbps: float
    target_kbps: float
    frames: int
    keyframes: int
    dropped: int


@dataclass(frozen=True, slots=True)
class RoomStats:
    """Everything a room measures, at one moment. ``uplink_kbps`` is what the uplink is thought to bear."""

    uplink_kbps: float
    edges: tuple[EdgeStats, ...]
    legs: tuple[LegStats, ...]
    tracks: tuple[TrackStats, ...]
    publications: tuple[PublicationStats, ...]



def from_native(kind: type[enum.Enum], value: Any) -> Any:
    """The member of the same name."""
    return kind[value.name]


def to_native(native: Any, value: enum.Enum | None) -> Any:
    """The generated enumeration's member of the same name."""
    return None if value is None else getattr(native, type(value).__name__)[value.name]


def record(kind: Any, value: Any, /, **changes: Any) -> Any:
    """A dataclass from the generated record with the same fields."""
    fields = {name: getattr(value, name) for name in kind.__dataclass_fields__ if name not in changes}
    return kind(**fields, **changes)
