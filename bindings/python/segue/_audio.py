"""Sound in and out: signed 16-bit samples at 48 kHz."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgumentError
from ._ffi import FAILURES, fail, native
from ._types import Playout

Samples: TypeAlias = "npt.NDArray[np.int16]"

SAMPLE_RATE = 48_000
"""Samples per second and channel, everywhere."""

_PLAYOUT = {value: Playout[value.name] for value in native.Playout}


class AudioFrame:
    """Sound to play, normally 20 ms."""

    __slots__ = ("_bytes", "channels", "playout", "timestamp_us")

    def __init__(self, frame: Any) -> None:
        self._bytes: bytes = frame.samples
        self.channels: int = frame.channels
        """1 or 2."""
        self.timestamp_us: int = frame.timestamp_us
        """Time of the first sample in microseconds, from a zero of the publisher's own."""
        self.playout: Playout = _PLAYOUT[frame.playout]
        """Whether it was sent like this, rebuilt, made up, or is silence."""

    @property
    def samples(self) -> Samples:
        """``(samples, channels)``, a view without a copy, read-only."""
        samples: Samples = np.frombuffer(self._bytes, "<i2").reshape(-1, self.channels)
        return samples

    @property
    def data(self) -> bytes:
        """The same as bytes, little-endian, channels interleaved."""
        return self._bytes

    def __repr__(self) -> str:
        return f"AudioFrame({len(self._bytes) // 2 // self.channels} samples, {self.channels} channels, {self.playout.name})"


class AudioSource:
    """Sound to publish: ``await room.local_participant.publish(source)``, then :meth:`push` from any thread as it is captured."""

    def __init__(self, channels: int = 1) -> None:
        if channels not in (1, 2):
            raise InvalidArgumentError(f"{channels} channels: give 1 or 2", "channels")
        self._native: Any = native.AudioSource(channels)
        self.channels = channels

    def push(self, samples: Samples | npt.NDArray[np.float32] | bytes | bytearray | memoryview | AudioFrame) -> bool:
        """Adds samples captured just now, any number of them; false while the source is not published.

        Takes arrays of ``int16`` or ``float32`` (-1 to 1), flat and interleaved or ``(samples, channels)``; bytes of ``int16``,
        little-endian; or an :class:`AudioFrame` as it came.
        """
        try:
            if isinstance(samples, AudioFrame):
                if samples.channels != self.channels:
                    raise InvalidArgumentError(
                        f"a frame of {samples.channels} channels for a source of {self.channels}", "channels"
                    )
                return bool(self._native.push(samples.data))
            if not isinstance(samples, np.ndarray):
                return bool(self._native.push(bytes(samples)))
            if samples.ndim > 2 or (samples.ndim == 2 and samples.shape[1] != self.channels):
                raise InvalidArgumentError(f"samples of {samples.shape} for a source of {self.channels} channels", "channels")
            if samples.dtype != np.int16:
                samples = _to_int16(samples)
            data = np.ascontiguousarray(samples)
            if data.size == 0:
                return self.is_published
            return bool(self._native.push_at(data.__array_interface__["data"][0], data.size))
        except FAILURES as error:
            fail(error)

    @property
    def dropped(self) -> int:
        """Frames of 20 ms that went nowhere because the encoder had no time."""
        return int(self._native.dropped())

    @property
    def is_published(self) -> bool:
        """Somebody takes what is pushed."""
        return bool(self._native.is_published())


def _to_int16(samples: npt.NDArray[Any]) -> Samples:
    if not np.issubdtype(samples.dtype, np.floating):
        raise InvalidArgumentError(f"samples of {samples.dtype}: give int16 or float32", "kind")
    converted: Samples = (samples * 32_767.0).clip(-32_768, 32_767).astype(np.int16)
    return converted
