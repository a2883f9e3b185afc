"""The stage the suite plays on (tests/e2e/README.md), pictures and tones that can be recognised, and patience."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import segue

PATIENCE = 60.0
"""How long anything may take on a busy machine. Nothing is measured by it."""

PICTURES, TONES = 15, 10
WIDTH, HEIGHT, FPS, MAX_KBPS = 320, 192, 15, 250
NAMES = ["ada", "bob", "cyd", "dan", "eve", "fay"]
LOOPBACK = segue.RoomOptions(interfaces=segue.Interfaces.LOOPBACK_ONLY)

_COLUMNS, _ROWS, _BLACK, _WHITE, _MIDDLE = 32, 2, 24, 226, 125
_WINDOW = 4_800


class Stage:
    """Asks the stage."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.partition(":")
        self.port = int(port)

    async def ask(self, do: str, **request: Any) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(json.dumps({"do": do, **request}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
        finally:
            writer.close()
        assert "error" not in answer, answer["error"]
        return answer

    async def url(self) -> str:
        return str((await self.ask("places"))["url"])

    async def token(self, room: str, identity: str, kind: str = "good") -> str:
        return str((await self.ask("token", room=room, identity=identity, kind=kind))["token"])

    async def join(self, room: str, identity: str, options: segue.RoomOptions = LOOPBACK) -> segue.Room:
        return await segue.Room.connect(await self.url(), await self.token(room, identity), options)


async def eventually(what: str, look: Callable[[], Any]) -> Any:
    """Waits for a condition, never for a time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert loop.time() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.02)


def index_of(identity: str) -> int:
    return NAMES.index(identity) if identity in NAMES else len(NAMES)


def _crc(content: bytes) -> int:
    crc = 0xFFFF
    for byte in content:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
    return crc


def draw(identity: str, number: int) -> segue.VideoBuffer:
    """A picture that says whose it is and which."""
    buffer = segue.VideoBuffer(WIDTH, HEIGHT)
    buffer.y[...] = (np.arange(WIDTH)[None, :] // 2 + np.arange(HEIGHT)[:, None] // 3 + number) % 128 + 60
    buffer.u[...] = 100
    content = (number ^ (number >> 1)) | (index_of(identity) + 100) << 32
    cells = content | _crc(content.to_bytes(6, "little")) << 48
    side = WIDTH // _COLUMNS
    bits = [(_WHITE if cells >> cell & 1 else _BLACK) for cell in range(_COLUMNS * _ROWS)]
    band = np.array(bits, np.uint8).reshape(_ROWS, _COLUMNS).repeat(side, 0).repeat(side, 1)
    buffer.y[: _ROWS * side, :] = band
    buffer.u[: _ROWS * side // 2, :] = 128
    return buffer


def read(frame: segue.VideoFrame) -> tuple[int, int] | None:
    """Source and number of a picture."""
    if frame.width % _COLUMNS or frame.width < 64:
        return None
    side = frame.width // _COLUMNS
    inner = slice(math.ceil(side / 4), max(side * 3 // 4, math.ceil(side / 4) + 1))
    band = frame.y[: _ROWS * side].reshape(_ROWS, side, _COLUMNS, side)[:, inner, :, inner].mean(axis=(1, 3))
    cells = sum(1 << cell for cell, mean in enumerate(band.reshape(-1)) if mean > _MIDDLE)
    content = cells & ((1 << 48) - 1)
    if _crc(content.to_bytes(6, "little")) != cells >> 48:
        return None
    number = content & 0xFFFFFFFF
    for shift in (16, 8, 4, 2, 1):
        number ^= number >> shift
    return content >> 32, number


def tone(identity: str, frame: int) -> npt.NDArray[np.int16]:
    """20 ms of somebody's tone."""
    at = np.arange(960) + 960 * frame
    turns = at * (300 + 200 * index_of(identity)) / 48_000
    return (0.15 * 32_767 * np.sin(2 * np.pi * turns)).astype(np.int16)


def has_tone(samples: npt.NDArray[np.int16], identity: str) -> bool:
    """More than half of the power is at somebody's frequency."""
    wave = samples.astype(np.float64)
    power = float(np.dot(wave, wave))
    if power == 0:
        return False
    turn = np.exp(-2j * np.pi * (300 + 200 * index_of(identity)) / 48_000 * np.arange(len(wave)))
    return 2 * abs(np.dot(wave, turn)) ** 2 / (power * len(wave)) > 0.5


class Perception:
    """What one participant saw and heard of another."""

    def __init__(self) -> None:
        self.pictures = 0
        self.tones = 0
        self.strange = 0
        self.backwards = 0
        self.last = -1


class Player:
    """A participant of a test: it notes what it is told, watches and listens to everybody, and can publish what is recognised."""

    def __init__(self, room: segue.Room) -> None:
        self.room = room
        self.identity = room.local_participant.identity
        self.events: list[segue.RoomEvent] = []
        self.ended = False
        self.perceived: dict[str, Perception] = {}
        self.publications: dict[str, segue.LocalTrackPublication] = {}
        self._tasks: set[asyncio.Task[None]] = {asyncio.create_task(self._observe())}

    async def _observe(self) -> None:
        async for event in self.room.events():
            self.events.append(event)
            match event:
                case segue.TrackPublished(participant=who, track=segue.RemoteVideoTrack() as track):
                    self.perceived.setdefault(who.identity, Perception()).last = -1
                    self._tasks.add(asyncio.create_task(self._watch(track, who.identity)))
                case segue.TrackPublished(participant=who, track=segue.RemoteAudioTrack() as track):
                    self._tasks.add(asyncio.create_task(self._listen(track, who.identity)))
        self.ended = True

    async def _watch(self, track: segue.RemoteVideoTrack, identity: str) -> None:
        async for frame in track.frames():
            found = read(frame)
            if found is None:
                continue
            seen = self.perceived.setdefault(identity, Perception())
            if found[0] != index_of(identity) + 100:
                seen.strange += 1
            elif found[1] > seen.last:
                seen.pictures += 1
                seen.last = found[1]
            else:
                seen.backwards += 1

    async def _listen(self, track: segue.RemoteAudioTrack, identity: str) -> None:
        window: list[npt.NDArray[np.int16]] = []
        async for frame in track.frames():
            if frame.playout is not segue.Playout.DECODED:
                window.clear()
                continue
            window.append(frame.samples[:, 0])
            if sum(map(len, window)) >= _WINDOW:
                if has_tone(np.concatenate(window), identity):
                    self.perceived.setdefault(identity, Perception()).tones += 1
                window.clear()

    async def publish(self) -> None:
        pictures = segue.VideoSource(WIDTH, HEIGHT, FPS, encodings=1, max_kbps=MAX_KBPS)
        sound = segue.AudioSource()
        local = self.room.local_participant
        self.publications["video"] = await local.publish(pictures)
        self.publications["audio"] = await local.publish(sound)
        self._tasks.add(asyncio.create_task(self._show(pictures)))
        self._tasks.add(asyncio.create_task(self._sing(sound)))

    async def _show(self, source: segue.VideoSource) -> None:
        async for number in ticks(1 / FPS):
            source.push(draw(self.identity, number))

    async def _sing(self, source: segue.AudioSource) -> None:
        async for number in ticks(0.02):
            source.push(tone(self.identity, number))

    async def sees(self, whom: str) -> None:
        seen = self.perceived.setdefault(whom, Perception())
        before = seen.pictures
        await eventually(f"{self.identity} seeing {whom}", lambda: seen.pictures >= before + PICTURES)
        assert (seen.strange, seen.backwards) == (0, 0)

    async def hears(self, whom: str) -> None:
        heard = self.perceived.setdefault(whom, Perception())
        before = heard.tones
        await eventually(f"{self.identity} hearing {whom}", lambda: heard.tones >= before + TONES)

    def tracks(self) -> dict[int, segue.RemoteTrack]:
        return {track.id: track for who in self.room.participants for track in who.tracks}

    async def leave(self) -> None:
        await self.room.leave()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(segue.SegueError):
            await self.room.leave()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def ticks(interval: float) -> AsyncIterator[int]:
    """Counts, at a pace; what a busy machine misses is made up for."""
    loop = asyncio.get_running_loop()
    due, number = loop.time(), 0
    while True:
        yield number
        number += 1
        due += interval
        await asyncio.sleep(max(0.0, due - loop.time()))
