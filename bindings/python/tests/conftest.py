"""Starts the stage once for the suite."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stage import Player, Stage

_ROOMS = itertools.count()


@pytest.fixture(scope="session")
def stage_address() -> Iterator[str]:
    """``SEGUE_STAGE``: one that runs already; ``SEGUE_STAGE_PROGRAM``: what to start."""
    if "SEGUE_STAGE" in os.environ:
        yield os.environ["SEGUE_STAGE"]
        return
    program = os.environ.get("SEGUE_STAGE_PROGRAM")
    if program is None:
        pytest.fail("no stage to play on: run the suite by `cargo xtask test --only python`", pytrace=False)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield str(json.loads(process.stdout.readline())["stage"])
        process.stdin.close()


@pytest.fixture
def stage(stage_address: str) -> Stage:
    return Stage(stage_address)


@pytest.fixture
def room_name() -> str:
    return f"python-{os.getpid()}-{next(_ROOMS)}"


@pytest.fixture
async def players() -> AsyncIterator[list[Player]]:
    """Everybody in here leaves at the end."""
    everybody: list[Player] = []
    yield everybody
    for player in everybody:
        await player.end()
