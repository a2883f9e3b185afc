"""Segue: video calls that start as a direct mesh and grow into a relay without a gap.

:meth:`Room.connect` joins; ``room.local_participant.publish`` sends a :class:`VideoSource` or an :class:`AudioSource`;
``room.events()`` tells who comes and what they send; ``track.frames()`` gives decoded pictures and sound. Whether media goes from
peer to peer or over the relay is the room's affair: participants and tracks stay the same throughout.
"""

from ._audio import SAMPLE_RATE, AudioFrame, AudioSource
from ._encoded import EncodedAudioSource, EncodedFrame, EncodedVideoSource
from ._errors import (
    BuildMismatchError,
    CallbackError,
    CallCancelledError,
    ConnectTimeoutError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    RefusedError,
    RoomLeftError,
    SegueError,
)
from ._events import (
    ConnectionStateChanged,
    DataReceived,
    Disconnected,
    ParticipantJoined,
    ParticipantLeft,
    PathChanged,
    RelayWarning,
    RoomEvent,
    SpeakersChanged,
    TopologyChanged,
    TrackMuted,
    TrackPublished,
    TrackUnpublished,
)
from ._ffi import expected as __build__
from ._log import enable_logging
from ._room import Events, LocalParticipant, LocalTrackPublication, RemoteParticipant, Room, RoomOptions
from ._token import AccessToken
from ._tracks import AudioStream, EncodedStream, RemoteAudioTrack, RemoteTrack, RemoteVideoTrack, VideoStream
from ._types import (
    ConnectionState,
    EdgeStats,
    Interfaces,
    LeaveReason,
    LegStats,
    MediaPath,
    PathInfo,
    Playout,
    PublicationStats,
    Quality,
    RoomStats,
    Speaker,
    Topology,
    TopologyPolicy,
    TrackKind,
    TrackSource,
    TrackStats,
    VideoContent,
    VideoEncoding,
)
from ._video import VideoBuffer, VideoFrame, VideoSource

__version__ = __build__.split("+")[0]

__all__ = [
    "SAMPLE_RATE",
    "AccessToken",
    "AudioFrame",
    "AudioSource",
    "AudioStream",
    "BuildMismatchError",
    "CallCancelledError",
    "CallbackError",
    "ConnectTimeoutError",
    "ConnectionState",
    "ConnectionStateChanged",
    "DataReceived",
    "Disconnected",
    "EdgeStats",
    "EncodedAudioSource",
    "EncodedFrame",
    "EncodedStream",
    "EncodedVideoSource",
    "Events",
    "Interfaces",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "LeaveReason",
    "LegStats",
    "LocalParticipant",
    "LocalTrackPublication",
    "MediaPath",
    "ParticipantJoined",
    "ParticipantLeft",
    "PathChanged",
    "PathInfo",
    "Playout",
    "PublicationStats",
    "Quality",
    "RefusedError",
    "RelayWarning",
    "RemoteAudioTrack",
    "RemoteParticipant",
    "RemoteTrack",
    "RemoteVideoTrack",
    "Room",
    "RoomEvent",
    "RoomLeftError",
    "RoomOptions",
    "RoomStats",
    "SegueError",
    "Speaker",
    "SpeakersChanged",
    "Topology",
    "TopologyChanged",
    "TopologyPolicy",
    "TrackKind",
    "TrackMuted",
    "TrackPublished",
    "TrackSource",
    "TrackStats",
    "TrackUnpublished",
    "VideoBuffer",
    "VideoContent",
    "VideoEncoding",
    "VideoFrame",
    "VideoSource",
    "VideoStream",
    "__version__",
    "enable_logging",
]
