"""Rooms and who is in them."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from . import _events as events
from ._audio import AudioSource
from ._encoded import EncodedAudioSource, EncodedVideoSource
from ._errors import InvalidArgumentError, InvalidStateError
from ._events import RoomEvent
from ._ffi import FAILURES, fail, native
from ._loop import BACKGROUND, TokenProvider, call_soon, require_running
from ._tracks import RemoteTrack, remote_track, track_stats
from ._types import (
    ConnectionState,
    EdgeStats,
    Interfaces,
    LeaveReason,
    LegStats,
    MediaPath,
    PathInfo,
    PublicationStats,
    RoomStats,
    Speaker,
    Topology,
    TopologyPolicy,
    TrackKind,
    TrackSource,
    from_native,
    record,
    to_native,
)
from ._video import VideoSource

MAX_EVENTS = 4_096
"""Events that may wait for a reader: a room of 512 joins and publishes within this. The newest win."""

Source: TypeAlias = VideoSource | AudioSource | EncodedVideoSource | EncodedAudioSource
"""What :meth:`LocalParticipant.publish` takes."""

Token: TypeAlias = str | Callable[[], Awaitable[str]]
"""A join token, or a coroutine function that gives one: asked now, and whenever the connection to the relay is lost."""


@dataclass(frozen=True, slots=True)
class RoomOptions:
    """How a room is joined. What is left out is chosen well for a call between people."""

    name: str = ""
    """Shown to others; empty: the token's name."""
    metadata: str = ""
    """The application's own, shown to others; at most 4 KiB."""
    topology: TopologyPolicy = TopologyPolicy.AUTO
    """Which paths are allowed."""
    interfaces: Interfaces = Interfaces.AUTOMATIC
    """Which local addresses are used for media."""
    turn_only: bool = False
    """Only candidates of TURN servers are used and told."""
    auto_subscribe: bool = True
    """Every track is received from the moment it is published."""
    direct: bool = True
    """May build legs to other participants; false: everything through the relay."""
    trust_any_certificate: bool = False
    """Any certificate of the relay is taken. For development."""
    connect_timeout: float = 15.0
    """How long connecting may take, in seconds."""


class RemoteParticipant:
    """Somebody else in the room: the same object for as long as they stay."""

    def __init__(self, info: Any) -> None:
        self._info = info
        self._tracks: dict[int, RemoteTrack] = {}

    @property
    def id(self) -> int:
        """Given by the room, never reused in it."""
        return int(self._info.id)

    @property
    def identity(self) -> str:
        """Who it is, from the token."""
        return str(self._info.identity)

    @property
    def name(self) -> str:
        """For people."""
        return str(self._info.name)

    @property
    def metadata(self) -> str:
        """The application's own."""
        return str(self._info.metadata)

    @property
    def is_native(self) -> bool:
        """A participant of this SDK; others are browsers."""
        return bool(self._info.native)

    @property
    def tracks(self) -> tuple[RemoteTrack, ...]:
        """What it sends at this moment."""
        return tuple(self._tracks.values())

    def __repr__(self) -> str:
        return f"RemoteParticipant({self.id}, {self.identity!r})"


class LocalTrackPublication:
    """A published track. It stays published when this object goes."""

    def __init__(self, room: Room, publication: Any, source: Source) -> None:
        self._room = room
        self._native = publication
        self.source = source
        """What is published."""

    @property
    def id(self) -> int:
        """Given by the room."""
        return int(self._native.id())

    @property
    def kind(self) -> TrackKind:
        """Audio or video."""
        kind: TrackKind = from_native(TrackKind, self._native.kind())
        return kind

    async def set_muted(self, muted: bool) -> None:
        """Silences the track, or not any more: nothing is encoded or sent while it is silent, and everybody is told."""
        await self._room._ask(self._native.set_muted(muted))

    async def unpublish(self) -> None:
        """Takes the track back. Its source may be published again."""
        await self._room._ask(self._native.unpublish())

    async def stats(self) -> PublicationStats:
        """What it measures."""
        return _publication_stats(await self._room._ask(self._native.stats()))

    def __repr__(self) -> str:
        return f"LocalTrackPublication({self.id}, {self.kind.name})"


class LocalParticipant:
    """This participant."""

    def __init__(self, room: Room) -> None:
        self._room = room

    @property
    def id(self) -> int:
        """Given by the room."""
        return int(self._info.id)

    @property
    def identity(self) -> str:
        """Who this is, from the token."""
        return str(self._info.identity)

    @property
    def name(self) -> str:
        """For people."""
        return str(self._info.name)

    @property
    def _info(self) -> Any:
        return self._room._native.local_participant()

    async def publish(
        self, track: Source, *, name: str = "", source: TrackSource | None = None, muted: bool = False
    ) -> LocalTrackPublication:
        """Publishes a source. ``source``: what it shows or sounds, left out: camera or microphone, by kind. It is sent until it is
        unpublished or the room left.
        """
        room = self._room._native
        options = native.PublishOptions(source=to_native(native, source), name=name, muted=muted)
        if isinstance(track, VideoSource):
            call = room.publish_video
        elif isinstance(track, AudioSource):
            call = room.publish_audio
        elif isinstance(track, EncodedVideoSource | EncodedAudioSource):
            call = room.publish_encoded
        else:
            raise InvalidArgumentError(f"{type(track).__name__} is no source: make a VideoSource or an AudioSource", "kind")
        publication = await self._room._ask(call(track._native, options, None))
        return LocalTrackPublication(self._room, publication, track)

    async def send_data(
        self, payload: bytes | bytearray | memoryview | str, *, topic: str = "", reliable: bool = True, to: RemoteParticipant | None = None
    ) -> None:
        """Sends a message: reliable ones to everybody, once and in order, at most 60,000 bytes; lossy ones as they come, at most
        15 KiB, to one participant where ``to`` is given.
        """
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        recipient = None if to is None else to.id
        await self._room._ask(self._room._native.send_data(topic, data, reliable, recipient))


class Events:
    """What happens in a room: an asynchronous iterator that ends when the room was left."""

    def __init__(self) -> None:
        self._waiting: deque[RoomEvent] = deque(maxlen=MAX_EVENTS)
        self._wake = asyncio.Event()
        self._ended = False
        self.dropped = 0
        """Events dropped because they were not taken in time."""

    def _push(self, event: RoomEvent) -> None:
        if len(self._waiting) == MAX_EVENTS:
            self.dropped += 1
        self._waiting.append(event)
        self._wake.set()

    def _end(self) -> None:
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[RoomEvent]:
        return self

    async def __anext__(self) -> RoomEvent:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class _Listener(native.RoomListener):  # type: ignore[misc]
    """Takes events on the SDK's thread and hands them to the room's loop, at most one wake-up at a time. What UniFFI calls a
    ``RoomListener``.
    """

    def __init__(self, room: Room, loop: asyncio.AbstractEventLoop) -> None:
        # The SDK holds the listener: a room that nobody else holds goes, and leaves.
        self._room = weakref.ref(room)
        self._loop = loop
        self._inbox: deque[Any] = deque(maxlen=MAX_EVENTS)

    def on_event(self, event: Any) -> None:
        self._put(event)

    def on_end(self) -> None:
        self._put(None)

    def _put(self, event: Any) -> None:
        first = not self._inbox
        self._inbox.append(event)
        if first:
            call_soon(self._loop, self._drain)

    def _drain(self) -> None:
        room = self._room()
        while self._inbox:
            event = self._inbox.popleft()
            if room is None:
                continue
            if event is None:
                room._finish()
            else:
                room._emit(room._convert(event))


def _let_go(joining: asyncio.Future[Any]) -> None:
    """Nobody waits for a join any more: a room that came of it is left when it goes out of use."""
    if not joining.cancelled():
        joining.exception()


class Room:
    """A call. Mesh, mixed or relayed, it is one room with the same participants and tracks from the first second to the last::

        async with await Room.connect("wss://relay.example/v1/connect", token) as room:
            async for event in room.events():
                match event:
                    case TrackPublished(track=RemoteVideoTrack() as track): ...

    It belongs to the event loop it was joined on.
    """

    def __init__(self, room: Any, loop: asyncio.AbstractEventLoop) -> None:
        """Use :meth:`connect`."""
        self._native = room
        self._loop = loop
        self._participants: dict[int, RemoteParticipant] = {}
        self._streams: list[Events] = []
        self._early: deque[RoomEvent] = deque(maxlen=MAX_EVENTS)
        self._listened = False
        self._ended = False
        self.local_participant = LocalParticipant(self)
        """This participant."""
        for info in room.participants():
            self._participant(info)
        for track in room.tracks():
            self._track(track)
        self._subscription = room.add_listener(_Listener(self, loop))

    @classmethod
    async def connect(cls, url: str, token: Token, options: RoomOptions | None = None) -> Room:
        """Joins the room a token is for, at the relay ``url`` (``wss://``, ``https://``; ``ws://`` and ``http://`` for
        development). Returns once the relay has let this participant in. Cancelled, it leaves nobody behind in the room.
        """
        loop = asyncio.get_running_loop()
        chosen = options or RoomOptions()
        provider = None
        if callable(token):
            BACKGROUND.start()
            provider = TokenProvider(loop, token)
        elif not isinstance(token, str):
            raise InvalidArgumentError("a token is a string, or a coroutine function that gives one", "token")
        given = None if provider else token
        # Whoever cancels cancels the call by its token and lets it end by itself: between its end and the moment it is taken there may be a room
        # already, and a call dropped then would keep it for ever.
        cancel = native.CancelToken()
        joining = asyncio.ensure_future(native.Room.connect(url, given, provider, _connect_options(chosen), cancel))
        try:
            return cls(await asyncio.shield(joining), loop)
        except asyncio.CancelledError:
            cancel.cancel()
            joining.add_done_callback(_let_go)
            raise
        except FAILURES as error:
            fail(error)

    @property
    def name(self) -> str:
        """Name of the room, from the token."""
        return str(self._native.name())

    @property
    def participants(self) -> tuple[RemoteParticipant, ...]:
        """The others."""
        return tuple(self._participants.values())

    def participant(self, identity: str) -> RemoteParticipant | None:
        """One of the others, by identity."""
        return next((one for one in self._participants.values() if one.identity == identity), None)

    @property
    def state(self) -> ConnectionState:
        """This participant's connection."""
        return _state(self._native.state())

    @property
    def topology(self) -> Topology:
        """Mesh, mixed or relayed, as it stands."""
        topology: Topology = from_native(Topology, self._native.topology())
        return topology

    @property
    def paths(self) -> tuple[PathInfo, ...]:
        """Which path each direction between this participant and another takes, and why."""
        return tuple(record(PathInfo, info, path=from_native(MediaPath, info.path)) for info in self._native.path_info())

    def events(self) -> Events:
        """What happens from now on; the first iterator also tells what happened since :meth:`connect`."""
        require_running(self._loop)
        stream = Events()
        if not self._listened:
            self._listened = True
            for event in self._early:
                stream._push(event)
            self._early.clear()
        if self._ended:
            stream._end()
        else:
            self._streams.append(stream)
        return stream

    async def stats(self) -> RoomStats:
        """What the room measures about itself."""
        stats = await self._ask(self._native.stats())
        return RoomStats(
            stats.uplink_kbps,
            tuple(record(EdgeStats, edge, path=from_native(MediaPath, edge.path)) for edge in stats.edges),
            tuple(record(LegStats, leg) for leg in stats.legs),
            tuple(track_stats(track) for track in stats.tracks),
            tuple(_publication_stats(publication) for publication in stats.publications),
        )

    async def network_changed(self) -> None:
        """The network of this host changed (another Wi-Fi): every path is sought anew at once, before its loss is noticed."""
        await self._ask(self._native.network_changed())

    async def leave(self) -> None:
        """Leaves, after telling the relay and the others so. Streams end; leaving twice does no harm."""
        await self._ask(self._native.leave())

    async def __aenter__(self) -> Room:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    def __repr__(self) -> str:
        return f"Room({self.name!r}, {self.state.name})"

    async def _ask(self, call: Awaitable[Any]) -> Any:
        try:
            require_running(self._loop)
        except InvalidStateError:
            close = getattr(call, "close", None)
            if close is not None:
                close()
            raise
        try:
            return await call
        except FAILURES as error:
            fail(error)

    def _emit(self, event: RoomEvent | None) -> None:
        if event is None:
            return
        if not self._listened:
            self._early.append(event)
        for stream in self._streams:
            stream._push(event)

    def _finish(self) -> None:
        self._ended = True
        for stream in self._streams:
            stream._end()
        self._streams.clear()

    def _participant(self, info: Any) -> RemoteParticipant:
        return self._participants.setdefault(info.id, RemoteParticipant(info))

    def _track(self, track: Any) -> RemoteTrack | None:
        info = track.info()
        owner = self._participants.get(info.participant)
        if owner is None:
            return None
        known = owner._tracks.get(info.id)
        if known is None:
            known = owner._tracks[info.id] = remote_track(track, owner)
        return known

    def _convert(self, event: Any) -> RoomEvent | None:
        convert = _CONVERT.get(type(event).__name__.rpartition(".")[2])
        return None if convert is None else convert(self, event)

    def _joined(self, event: Any) -> RoomEvent:
        return events.ParticipantJoined(self._participant(event.participant))

    def _left(self, event: Any) -> RoomEvent:
        participant = self._participant(event.participant)
        self._participants.pop(participant.id, None)
        return events.ParticipantLeft(participant, from_native(LeaveReason, event.reason))

    def _published(self, event: Any) -> RoomEvent | None:
        participant = self._participant(event.participant)
        track = self._track(event.track)
        return None if track is None else events.TrackPublished(participant, track)

    def _unpublished(self, event: Any) -> RoomEvent | None:
        participant = self._participant(event.participant)
        track = self._track(event.track)
        if track is None:
            return None
        participant._tracks.pop(track.id, None)
        return events.TrackUnpublished(participant, track)

    def _muted(self, event: Any) -> RoomEvent | None:
        track = self._track(event.track)
        return None if track is None else events.TrackMuted(track, event.muted)

    def _state_changed(self, event: Any) -> RoomEvent:
        state = _state(event.state)
        if state is not ConnectionState.DISCONNECTED:
            return events.ConnectionStateChanged(state)
        why = event.state
        return events.Disconnected(from_native(LeaveReason, why.reason), why.code, why.detail)

    def _topology_changed(self, event: Any) -> RoomEvent:
        before, now = from_native(Topology, event.previous), from_native(Topology, event.current)
        return events.TopologyChanged(before, now, event.reason)

    def _path_changed(self, event: Any) -> RoomEvent:
        path = from_native(MediaPath, event.path)
        return events.PathChanged(event.publisher, event.subscriber, path, event.reason)

    def _data(self, event: Any) -> RoomEvent:
        sender = self._participants.get(event.sender)
        return events.DataReceived(sender, event.topic, event.payload, event.reliable)

    def _speakers(self, event: Any) -> RoomEvent:
        return events.SpeakersChanged(tuple(record(Speaker, speaker) for speaker in event.speakers))

    def _warning(self, event: Any) -> RoomEvent:
        return events.RelayWarning(event.code, event.detail)


_CONVERT: dict[str, Callable[[Room, Any], RoomEvent | None]] = {
    "CONNECTION_STATE_CHANGED": Room._state_changed,
    "PARTICIPANT_JOINED": Room._joined,
    "PARTICIPANT_LEFT": Room._left,
    "TRACK_PUBLISHED": Room._published,
    "TRACK_UNPUBLISHED": Room._unpublished,
    "TRACK_MUTED": Room._muted,
    "TOPOLOGY_CHANGED": Room._topology_changed,
    "PATH_CHANGED": Room._path_changed,
    "DATA_RECEIVED": Room._data,
    "SPEAKERS_CHANGED": Room._speakers,
    "WARNING": Room._warning,
}


def _state(state: Any) -> ConnectionState:
    return ConnectionState[type(state).__name__.rpartition(".")[2]]


def _publication_stats(value: Any) -> PublicationStats:
    stats: PublicationStats = record(PublicationStats, value, kind=from_native(TrackKind, value.kind))
    return stats


def _connect_options(options: RoomOptions) -> Any:
    if not 0 < options.connect_timeout < 86_400:
        raise InvalidArgumentError(f"a timeout of {options.connect_timeout} s: give more than 0 and less than a day", "timeout")
    return native.ConnectOptions(
        name=options.name,
        metadata=options.metadata,
        policy=to_native(native, options.topology),
        interfaces=to_native(native, options.interfaces),
        turn_only=options.turn_only,
        auto_subscribe=options.auto_subscribe,
        direct=options.direct,
        trust_any_certificate=options.trust_any_certificate,
        connect_timeout_ms=int(options.connect_timeout * 1000),
    )
