"""Frames that the application's own codecs make and take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._errors import InvalidArgumentError
from ._ffi import FAILURES, fail, native
from ._types import TrackKind, VideoEncoding, from_native

_MAX_UINT8 = 255


class EncodedFrame:
    """An encoded frame as it was received: an H.264 access unit in Annex B form, or an Opus packet."""

    __slots__ = ("encoding", "keyframe", "kind", "number", "payload", "temporal", "timestamp_us")

    def __init__(self, frame: Any) -> None:
        self.payload: bytes = frame.payload
        """The encoded bytes."""
        self.kind: TrackKind = from_native(TrackKind, frame.kind)
        """Audio or video."""
        self.keyframe: bool = frame.keyframe
        """Can be decoded without any frame before it."""
        self.encoding: int = frame.encoding
        """Which encoding, 0 the largest."""
        self.temporal: int = frame.temporal
        """Which temporal layer."""
        self.number: int = frame.number
        """Counts the frames of the encoding."""
        self.timestamp_us: int = frame.timestamp_us
        """Capture time in microseconds, from a zero of the publisher's own."""

    def __repr__(self) -> str:
        return f"EncodedFrame({self.kind.name}, {len(self.payload)} bytes, keyframe={self.keyframe})"


class EncodedVideoSource:
    """H.264 access units to publish (Annex B, constrained baseline). ``encodings``: largest first, one to three."""

    def __init__(self, encodings: Sequence[VideoEncoding]) -> None:
        for side in (side for encoding in encodings for side in (encoding.width, encoding.height, encoding.max_kbps)):
            if not 0 <= side < 2**31:
                raise InvalidArgumentError(f"{side} is no number of pixels or kbit/s", "size")
        announced = [native.VideoEncoding(width=e.width, height=e.height, max_kbps=e.max_kbps) for e in encodings]
        try:
            self._native: Any = native.EncodedSource.video(announced)
        except FAILURES as error:
            fail(error)

    def push(
        self,
        payload: bytes,
        timestamp_us: int,
        *,
        keyframe: bool,
        encoding: int = 0,
        temporal: int = 0,
        discardable: bool = False,
        refers_back: int | None = None,
    ) -> bool:
        """Adds an access unit; false while the source is not published. ``refers_back``: how many frames of the same encoding back
        lies the one it refers to; left out: the one before, none for a keyframe.
        """
        back = (0 if keyframe else 1) if refers_back is None else refers_back
        for value in (encoding, temporal, back):
            if not 0 <= value <= _MAX_UINT8:
                raise InvalidArgumentError(f"{value} is no number of an encoding, a layer or a frame", "size")
        try:
            push = self._native.push_video
            return bool(push(bytes(payload), timestamp_us, encoding, temporal, keyframe, discardable, back))
        except FAILURES as error:
            fail(error)

    def take_keyframe_requests(self) -> list[int]:
        """Encodings whose next frame should be a keyframe, each once for a request. Ask before you encode a frame."""
        return [int(encoding) for encoding in self._native.take_keyframe_requests()]

    @property
    def is_published(self) -> bool:
        """Somebody takes what is pushed."""
        return bool(self._native.is_published())


class EncodedAudioSource:
    """Opus packets of 20 ms to publish."""

    def __init__(self) -> None:
        self._native: Any = native.EncodedSource.audio()

    def push(self, payload: bytes, timestamp_us: int, *, level: int = 40, voice: bool = True) -> bool:
        """Adds a packet; false while the source is not published. ``level``: -dBov, 0 loudest, 127 silent (RFC 6464)."""
        if not 0 <= level <= 127:
            raise InvalidArgumentError(f"a level of {level}: give 0 (loudest) to 127 (silent)", "size")
        try:
            return bool(self._native.push_audio(bytes(payload), timestamp_us, level, voice))
        except FAILURES as error:
            fail(error)

    @property
    def is_published(self) -> bool:
        """Somebody takes what is pushed."""
        return bool(self._native.is_published())
