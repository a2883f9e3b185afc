"""Tracks of others, and what comes out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._audio import AudioFrame
from ._encoded import EncodedFrame
from ._ffi import FAILURES, fail, native
from ._loop import Stream
from ._types import Quality, TrackKind, TrackSource, TrackStats, VideoEncoding, from_native, record, to_native
from ._video import VideoFrame, encoding_of

if TYPE_CHECKING:
    from ._room import RemoteParticipant

MAX_QUEUE = 1_024
"""Most frames that may wait for a reader."""


class VideoStream(Stream[VideoFrame]):
    """Decoded pictures of a track."""


class AudioStream(Stream[AudioFrame]):
    """Decoded sound of a track, 20 ms at a time, losses made up for."""


class EncodedStream(Stream[EncodedFrame]):
    """Encoded frames of a track."""


class RemoteTrack:
    """A track of somebody else: the same object from publication to end, whatever path it takes."""

    def __init__(self, track: Any, participant: RemoteParticipant) -> None:
        self._native = track
        self._info = track.info()
        self.participant = participant
        """Who publishes it."""

    @property
    def id(self) -> int:
        """Given by the room, and again only long after the track is gone."""
        return int(self._info.id)

    @property
    def kind(self) -> TrackKind:
        """Audio or video."""
        kind: TrackKind = from_native(TrackKind, self._info.kind)
        return kind

    @property
    def source(self) -> TrackSource:
        """What it shows or sounds."""
        source: TrackSource = from_native(TrackSource, self._info.source)
        return source

    @property
    def name(self) -> str:
        """The publisher's name for it."""
        return str(self._info.name)

    @property
    def is_muted(self) -> bool:
        """Silenced by its publisher."""
        return bool(self._native.info().muted)

    @property
    def has_ended(self) -> bool:
        """Unpublished, or its publisher left."""
        return bool(self._native.info().ended)

    def set_subscribed(self, subscribed: bool) -> None:
        """Whether the track is to be sent here at all."""
        self._native.set_subscribed(subscribed)

    def encoded_frames(self, max_queue: int = 120) -> EncodedStream:
        """Encoded frames from now on, beginning at a keyframe, for decoders of the application's own."""
        return EncodedStream(lambda ready: self._native.encoded_frames(_queue(max_queue), ready), EncodedFrame)

    async def stats(self) -> TrackStats:
        """What it measures."""
        try:
            return track_stats(await self._native.stats())
        except FAILURES as error:
            fail(error)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, of {self.participant.identity!r})"


class RemoteVideoTrack(RemoteTrack):
    """Pictures of somebody else."""

    @property
    def encodings(self) -> tuple[VideoEncoding, ...]:
        """The encodings announced, largest first."""
        return tuple(encoding_of(encoding) for encoding in self._info.encodings)

    def frames(self, max_queue: int = 2) -> VideoStream:
        """Decoded pictures from now on, of which at most ``max_queue`` wait: the newest win. Nothing is decoded while nobody
        asks.
        """
        return VideoStream(lambda ready: self._native.video_frames(_queue(max_queue), ready), VideoFrame)

    def set_quality(self, quality: Quality) -> None:
        """The most that is wanted of the track."""
        self._native.set_quality(to_native(native, quality))

    def request_keyframe(self) -> None:
        """For a decoder of the application's own that lost its way."""
        self._native.request_keyframe()


class RemoteAudioTrack(RemoteTrack):
    """Sound of somebody else."""

    def frames(self, max_queue: int = 10) -> AudioStream:
        """Decoded sound from now on, 20 ms at a time, of which at most ``max_queue`` frames wait."""
        return AudioStream(lambda ready: self._native.audio_frames(_queue(max_queue), ready), AudioFrame)


def remote_track(track: Any, participant: RemoteParticipant) -> RemoteTrack:
    """The public form of a generated track."""
    video = track.kind() == native.TrackKind.VIDEO
    return RemoteVideoTrack(track, participant) if video else RemoteAudioTrack(track, participant)


def track_stats(value: Any) -> TrackStats:
    """The public form of a generated record."""
    stats: TrackStats = record(TrackStats, value, kind=from_native(TrackKind, value.kind))
    return stats


def _queue(length: int) -> int:
    # The seam refuses what is out of range, with a sentence; what is no 32-bit number does not get that far.
    return min(max(length, 0), MAX_QUEUE + 1)
