"""Everything this package raises.

Each error has a stable ``code`` for programs and a sentence that says what to do.
"""

from __future__ import annotations


class SegueError(Exception):
    """The root of all errors of this package."""

    code: str
    """Stable, such as ``token_expired``."""

    def __init__(self, message: str, code: str = "unknown") -> None:
        super().__init__(message)
        self.code = code


class InvalidArgumentError(SegueError, ValueError):
    """What was passed cannot be used: an address, a size, a stride, a time."""


class InvalidStateError(SegueError, RuntimeError):
    """The call does not fit what was before: published twice, a frame that was released, a loop that is closed."""


class RoomLeftError(SegueError):
    """The room was left, or its connection ended for good: connect again."""


class ConnectTimeoutError(SegueError, TimeoutError):
    """The relay did not answer in time."""


class RefusedError(SegueError):
    """The relay said no; ``code`` is its own, such as ``token_invalid`` or ``room_full``."""


class CallbackError(SegueError):
    """A function of the application that the SDK called has failed, such as a token provider."""


class CallCancelledError(SegueError):
    """The call was cancelled from inside the SDK. A cancelled task raises :class:`asyncio.CancelledError` instead."""


class InternalError(SegueError):
    """Not the application's fault."""


class BuildMismatchError(SegueError, ImportError):
    """The native library and what was generated for it are of different builds: install the package anew."""
