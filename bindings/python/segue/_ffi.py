"""The native library, checked at load. Internal."""

from __future__ import annotations

import atexit
from typing import Any, NoReturn

from . import _errors

try:
    from ._native import segue_ffi, version

    expected: str = version.SDK_VERSION
    found = str(segue_ffi.sdk_version())
except ImportError as missing:
    raise ImportError(
        "the native library of segue is not here: install a wheel, or build one with `cargo xtask bindings`"
    ) from missing
except AttributeError as stale:
    raise _errors.BuildMismatchError(
        f"the native library lacks what the bindings need ({stale}): install the package anew", "build"
    ) from stale
except Exception as stale:  # what UniFFI raises where a checksum differs is a plain exception
    raise _errors.BuildMismatchError(
        f"the native library and its bindings do not fit ({stale}): install the package anew", "build"
    ) from stale

if found != expected:
    raise _errors.BuildMismatchError(
        f"the native library is {found}, the bindings are for {expected}: install the package anew", "build"
    )

# The interpreter cannot be called while it ends.
atexit.register(segue_ffi.shut_down)

native: Any = segue_ffi
"""What was generated. Nothing of it is public."""

CallError: Any = segue_ffi.CallError
Panic: Any = segue_ffi.InternalError

FAILURES: tuple[Any, ...] = (CallError, Panic)
"""For ``except``, to be handed to :func:`fail`."""

_KINDS: dict[str, type[_errors.SegueError]] = {
    "InvalidArgument": _errors.InvalidArgumentError,
    "InvalidState": _errors.InvalidStateError,
    "Left": _errors.RoomLeftError,
    "Timeout": _errors.ConnectTimeoutError,
    "Refused": _errors.RefusedError,
    "Cancelled": _errors.CallCancelledError,
    "Callback": _errors.CallbackError,
    "Internal": _errors.InternalError,
}


def translate(error: BaseException) -> _errors.SegueError:
    """The public form of what the native library raised."""
    if not isinstance(error, CallError):
        return _errors.InternalError(f"the SDK failed: {error}", "panic")
    kind = _KINDS.get(type(error).__name__, _errors.InternalError)
    return kind(str(getattr(error, "detail", error)), str(getattr(error, "code", "unknown")))


def fail(error: BaseException) -> NoReturn:
    """Raises the public form of what the native library raised."""
    raise translate(error) from None
