"""The SDK's log in :mod:`logging`."""

from __future__ import annotations

import logging
from typing import Any

from ._ffi import FAILURES, fail, native

_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO, "DEBUG": logging.DEBUG, "TRACE": 5}


class _Logger(native.Logger):  # type: ignore[misc]
    def log(self, record: Any) -> None:
        logger = logging.getLogger(record.target.replace("::", "."))
        if record.missed:
            logger.warning("%d records left out", record.missed)
        logger.log(_LEVELS[record.level.name], "%s", record.message)


def enable_logging(level: int = logging.INFO) -> None:
    """Hands what the SDK logs to :mod:`logging`, under names that begin with ``segue``. ``logging.CRITICAL`` and above: nothing."""
    wanted = next((name for name, value in reversed(_LEVELS.items()) if value >= level), "OFF")
    try:
        native.set_logger(_Logger(), native.LogLevel[wanted])
    except FAILURES as error:
        fail(error)
