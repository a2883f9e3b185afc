"""Pictures in and out."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgumentError, InvalidStateError
from ._ffi import FAILURES, fail, native
from ._types import VideoContent, VideoEncoding, to_native

Plane: TypeAlias = "npt.NDArray[np.uint8]"

_NOW = -1
_I420 = native.PixelFormat.I420
_LAYOUT = ctypes.c_int64 * 8
_BT601_RED, _BT601_GREEN_U, _BT601_GREEN_V, _BT601_BLUE = 1.596, 0.391, 0.813, 2.018


class _Memory:
    """What numpy makes a view of. It holds the native frame, and every view holds it: the memory outlives whoever looks at it."""

    __slots__ = ("__array_interface__", "_frame")

    def __init__(self, frame: Any, address: int, length: int) -> None:
        self._frame = frame
        self.__array_interface__ = {"version": 3, "shape": (length,), "typestr": "|u1", "data": (address, True)}


class VideoFrame:
    """A decoded picture. :attr:`y`, :attr:`u` and :attr:`v` are views of its memory, without a copy; they stay valid for as long as
    anybody holds them, even after :meth:`release`.

    A frame occupies a buffer of its decoder until it and its views are gone: let it go soon, or copy what you keep.
    """

    __slots__ = ("_layout", "_native", "_planes")

    def __init__(self, frame: Any) -> None:
        self._native: Any = frame
        layout = _LAYOUT()
        frame.write_layout(ctypes.addressof(layout))
        self._layout = layout
        self._planes: tuple[Plane, Plane, Plane] | None = None

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self._layout[0])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self._layout[1])

    @property
    def timestamp_us(self) -> int:
        """Capture time in microseconds, from a zero of the publisher's own."""
        return int(self._layout[6])

    @property
    def y(self) -> Plane:
        """Brightness: ``(height, width)``, read-only."""
        return self.planes[0]

    @property
    def u(self) -> Plane:
        """Blue difference: ``(height // 2, width // 2)``, read-only."""
        return self.planes[1]

    @property
    def v(self) -> Plane:
        """Red difference: ``(height // 2, width // 2)``, read-only."""
        return self.planes[2]

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """All three."""
        if self._planes is not None:
            return self._planes
        frame = self._held()
        width, height, address, length, stride_y, stride_uv, _, _ = self._layout
        memory: Plane = np.asarray(_Memory(frame, address, length))
        luma = stride_y * height
        chroma = luma + stride_uv * (height // 2)
        self._planes = (
            memory[:luma].reshape(height, stride_y)[:, :width],
            memory[luma:chroma].reshape(height // 2, stride_uv)[:, : width // 2],
            memory[chroma:].reshape(height // 2, stride_uv)[:, : width // 2],
        )
        return self._planes

    def copy_with(self, y: Plane | None = None, u: Plane | None = None, v: Plane | None = None) -> VideoBuffer:
        """A copy to change and to push, with some planes replaced."""
        ours = self.planes
        buffer = VideoBuffer(self.width, self.height)
        for target, new, old in zip(buffer.planes, (y, u, v), ours, strict=True):
            source = old if new is None else new
            if source.shape != target.shape:
                raise InvalidArgumentError(f"a plane of {source.shape} for one of {target.shape}", "size")
            target[...] = source
        return buffer

    def to_i420(self) -> bytes:
        """The picture as I420 without gaps, copied."""
        return b"".join(plane.tobytes() for plane in self.planes)

    def to_rgb(self) -> npt.NDArray[np.uint8]:
        """The picture as ``(height, width, 3)``, converted (BT.601, studio range) and copied."""
        return _to_rgb(*self.planes)

    def release(self) -> None:
        """Gives the buffer back now, as far as no view holds it. The frame is of no use after that."""
        self._native = None
        self._planes = None

    def _held(self) -> Any:
        if self._native is None:
            raise InvalidStateError("this frame was released: look at a frame before you release it", "released")
        return self._native

    def __enter__(self) -> VideoFrame:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"VideoFrame({self.width}x{self.height}, {self.timestamp_us} us)"


class VideoBuffer:
    """A picture of the application's own: three planes to write to and to push. It starts black."""

    __slots__ = ("data", "height", "planes", "width")

    def __init__(self, width: int, height: int) -> None:
        if width < 2 or height < 2 or width % 2 or height % 2:
            raise InvalidArgumentError(f"a picture of {width} x {height}: both have to be even and at least 16", "size")
        self.width = width
        self.height = height
        self.data: Plane = np.empty(width * height * 3 // 2, np.uint8)
        luma, chroma = width * height, width * height // 4
        self.planes: tuple[Plane, Plane, Plane] = (
            self.data[:luma].reshape(height, width),
            self.data[luma : luma + chroma].reshape(height // 2, width // 2),
            self.data[luma + chroma :].reshape(height // 2, width // 2),
        )
        self.y[...] = 16
        self.data[luma:] = 128

    @property
    def y(self) -> Plane:
        """Brightness: ``(height, width)``."""
        return self.planes[0]

    @property
    def u(self) -> Plane:
        """Blue difference: ``(height // 2, width // 2)``."""
        return self.planes[1]

    @property
    def v(self) -> Plane:
        """Red difference: ``(height // 2, width // 2)``."""
        return self.planes[2]

    @classmethod
    def from_rgb(cls, rgb: npt.NDArray[np.uint8]) -> VideoBuffer:
        """From ``(height, width, 3)`` (BT.601, studio range)."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise InvalidArgumentError(f"an array of {rgb.dtype} {rgb.shape}: give uint8 (height, width, 3)", "size")
        buffer = cls(rgb.shape[1], rgb.shape[0])
        red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
        buffer.y[...] = 16.5 + 0.257 * red + 0.504 * green + 0.098 * blue
        small = [(c[::2, ::2] + c[1::2, ::2] + c[::2, 1::2] + c[1::2, 1::2]) / 4 for c in (red, green, blue)]
        buffer.u[...] = 128.5 - 0.148 * small[0] - 0.291 * small[1] + 0.439 * small[2]
        buffer.v[...] = 128.5 + 0.439 * small[0] - 0.368 * small[1] - 0.071 * small[2]
        return buffer

    def to_rgb(self) -> npt.NDArray[np.uint8]:
        """As ``(height, width, 3)``, converted and copied."""
        return _to_rgb(*self.planes)


def _to_rgb(y: Plane, u: Plane, v: Plane) -> npt.NDArray[np.uint8]:
    luma = (y.astype(np.float32) - 16) * 1.164
    blue = (u.astype(np.float32) - 128).repeat(2, 0).repeat(2, 1)
    red = (v.astype(np.float32) - 128).repeat(2, 0).repeat(2, 1)
    rgb = np.stack(
        (luma + _BT601_RED * red, luma - _BT601_GREEN_U * blue - _BT601_GREEN_V * red, luma + _BT601_BLUE * blue), axis=2
    )
    clipped: npt.NDArray[np.uint8] = rgb.clip(0, 255).astype(np.uint8)
    return clipped


Picture: TypeAlias = "VideoFrame | VideoBuffer | npt.NDArray[np.uint8] | bytes | bytearray | memoryview"
"""What :meth:`VideoSource.push` takes."""


class VideoSource:
    """Pictures to publish: ``await room.local_participant.publish(source)``, then :meth:`push` from any thread.

    ``encodings``: how many sizes are made, each half of the one before (1 to 3). ``max_kbps``: upper end of the largest one's
    rate, 0 for one chosen by size and frame rate; below it the rate follows the path.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: float = 30.0,
        *,
        encodings: int = 3,
        max_kbps: int = 0,
        content: VideoContent = VideoContent.CAMERA,
    ) -> None:
        if not 1 <= encodings <= 3:
            raise InvalidArgumentError(f"{encodings} encodings: make 1 to 3", "size")
        for side in (width, height, max_kbps):
            if not 0 <= side < 2**31:
                raise InvalidArgumentError(f"{side} is no number of pixels or kbit/s", "size")
        options = native.VideoOptions(
            width=width,
            height=height,
            frame_rate=fps,
            encodings=encodings,
            max_kbps=max_kbps,
            content=to_native(native, content),
        )
        try:
            self._native: Any = native.VideoSource(options)
        except FAILURES as error:
            fail(error)
        self.width = width
        self.height = height

    def push(self, picture: Picture, timestamp_us: int | None = None) -> bool:
        """Adds a picture; ``timestamp_us`` counts from any zero and grows, ``None``: captured just now. False where it goes
        nowhere: the source is not published, or the encoder is behind.

        Takes a :class:`VideoFrame` as it came (shared, not copied), a :class:`VideoBuffer`, an array of ``uint8`` in I420 (flat, or
        ``(height * 3 // 2, width)``) or RGB (``(height, width, 3)``), or bytes in I420.
        """
        time = _NOW if timestamp_us is None else timestamp_us
        try:
            if isinstance(picture, VideoFrame):
                return bool(self._native.push_frame(picture._held(), time))
            if isinstance(picture, bytes):
                return bool(self._native.push_i420(picture, 0, 0, time))
            if isinstance(picture, np.ndarray) and picture.ndim == 3:
                picture = VideoBuffer.from_rgb(picture)
            data = picture.data if isinstance(picture, VideoBuffer) else _as_bytes(picture)
            size = self.width * self.height
            if data.size != size * 3 // 2:
                raise InvalidArgumentError(
                    f"{data.size} bytes for a picture of {self.width} x {self.height}: "
                    f"I420 without gaps takes {size * 3 // 2}",
                    "size",
                )
            address = data.__array_interface__["data"][0]
            width, planes = self.width, self._native.push_planes
            return bool(planes(_I420, address, address + size, address + size * 5 // 4, width, width // 2, time))
        except FAILURES as error:
            fail(error)

    def push_planes(self, y: Plane, u: Plane, v: Plane, timestamp_us: int | None = None) -> bool:
        """Adds a picture whose planes lie anywhere, rows at any distance: what other libraries decode."""
        time = _NOW if timestamp_us is None else timestamp_us
        shapes = ((self.height, self.width), (self.height // 2, self.width // 2), (self.height // 2, self.width // 2))
        for plane, shape in zip((y, u, v), shapes, strict=True):
            if plane.dtype != np.uint8 or plane.shape != shape:
                raise InvalidArgumentError(f"a plane of {plane.dtype} {plane.shape} for one of uint8 {shape}", "size")
            if plane.strides[1] != 1 or plane.strides[0] < shape[1]:
                raise InvalidArgumentError("rows that do not lie one after the other: pass a copy of the plane", "stride")
        if u.strides[0] != v.strides[0]:
            raise InvalidArgumentError("rows of u and v have different distances: pass copies of the planes", "stride")
        addresses = [plane.__array_interface__["data"][0] for plane in (y, u, v)]
        try:
            return bool(self._native.push_planes(_I420, *addresses, y.strides[0], u.strides[0], time))
        except FAILURES as error:
            fail(error)

    @property
    def dropped(self) -> int:
        """Pictures that went nowhere because the encoder had no time."""
        return int(self._native.dropped())

    @property
    def is_published(self) -> bool:
        """Somebody takes what is pushed."""
        return bool(self._native.is_published())


def _as_bytes(picture: Any) -> Plane:
    try:
        data = picture if isinstance(picture, np.ndarray) else np.frombuffer(picture, np.uint8)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"a picture cannot be made of {type(picture).__name__}: {error}", "kind") from None
    if data.dtype != np.uint8:
        raise InvalidArgumentError(f"samples of {data.dtype}: pictures are uint8", "kind")
    return np.ascontiguousarray(data)


def encoding_of(value: Any) -> VideoEncoding:
    """The public form of a generated record."""
    return VideoEncoding(value.width, value.height, value.max_kbps)
