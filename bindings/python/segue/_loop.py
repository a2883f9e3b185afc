"""Between the SDK's thread and an event loop. Internal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._errors import InvalidStateError
from ._ffi import FAILURES, fail, native

T = TypeVar("T")
S = TypeVar("S", bound="Stream[Any]")


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
    """Runs something on a loop, from any thread; false where the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def require_running(loop: asyncio.AbstractEventLoop) -> None:
    """Raises where an object is used from another loop than its own."""
    if loop.is_closed():
        raise InvalidStateError("the event loop this room was joined on is closed: join again on a loop that runs", "loop")
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is not loop:
        raise InvalidStateError("a room is used on the event loop it was joined on, and on no other", "loop")


class Ready(native.ReadyListener):  # type: ignore[misc]
    """Wakes a reader on its loop. What UniFFI calls a ``ReadyListener``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.event = asyncio.Event()

    def on_ready(self) -> None:
        call_soon(self._loop, self.event.set)


class Stream(Generic[T]):
    """Frames of a track, in order: an asynchronous iterator. When the reader is slower than the track, the oldest are dropped and
    counted. Leaving the loop by ``break`` does not end the stream; :meth:`close` does, and so does ``async with``.
    """

    def __init__(self, open_native: Callable[[Ready], Any], convert: Callable[[Any], T]) -> None:
        self._ready = Ready(asyncio.get_running_loop())
        self._convert = convert
        try:
            self._native = open_native(self._ready)
        except FAILURES as error:
            fail(error)

    @property
    def dropped(self) -> int:
        """Frames dropped so far because they were not taken in time."""
        return int(self._native.dropped())

    def try_next(self) -> T | None:
        """The oldest frame that waits, if there is one now."""
        item = self._native.try_next()
        return None if item is None else self._convert(item)

    def close(self) -> None:
        """Ends the stream; nothing is decoded for it any more."""
        self._native.stop()
        self._ready.event.set()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        event = self._ready.event
        while True:
            event.clear()
            item = self._native.try_next()
            if item is not None:
                return self._convert(item)
            if self._native.has_ended():
                raise StopAsyncIteration
            await event.wait()

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Background:
    """A loop of our own on which UniFFI runs asynchronous callbacks. UniFFI itself knows one loop for everything in the process, while
    applications may have several, and close them: calls stay on the loop they are made on, callbacks come here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="segue-callbacks", daemon=True).start()
                native._uniffi_get_event_loop = self._find

    def _find(self) -> asyncio.AbstractEventLoop | None:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return self._loop


BACKGROUND = _Background()


class TokenProvider(native.TokenProvider):  # type: ignore[misc]
    """Asks the application for a token on the application's own loop. What UniFFI calls a ``TokenProvider``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, provide: Callable[[], Awaitable[str]]) -> None:
        self._loop = loop
        self._provide = provide

    async def token(self) -> str:
        async def ask() -> str:
            return str(await self._provide())

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(), self._loop))
