"""Every misuse gets an exception of this package, with a sentence that says what to do."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from stage import HEIGHT, LOOPBACK, WIDTH, Player, Stage, draw, eventually

import segue


def test_addresses_and_tokens_that_cannot_be_used() -> None:
    async def connect(url: str, token: object) -> None:
        await segue.Room.connect(url, token)  # type: ignore[arg-type]

    for url in ("", "nonsense", "ftp://relay.example"):
        with pytest.raises(segue.InvalidArgumentError, match="address"):
            asyncio.run(connect(url, "x"))
    with pytest.raises(segue.InvalidArgumentError, match="coroutine"):
        asyncio.run(connect("ws://localhost", 7))
    with pytest.raises(segue.InvalidArgumentError, match="timeout"):
        asyncio.run(segue.Room.connect("ws://localhost", "x", segue.RoomOptions(connect_timeout=-1)))


async def test_a_relay_that_does_not_answer(stage: Stage) -> None:
    options = segue.RoomOptions(interfaces=segue.Interfaces.LOOPBACK_ONLY, connect_timeout=0.5)
    for place in ((await stage.ask("places"))["dead"], "ws://127.0.0.1:9/v1/connect"):
        with pytest.raises(segue.ConnectTimeoutError, match="check its address") as raised:
            await segue.Room.connect(place, "token", options)
        assert raised.value.code == "timeout"
        assert isinstance(raised.value, TimeoutError)


def test_sources_of_a_shape_that_cannot_be() -> None:
    for width, height in ((33, 16), (0, 0), (10_000, 16), (-2, 16)):
        with pytest.raises(segue.InvalidArgumentError):
            segue.VideoSource(width, height)
    with pytest.raises(segue.InvalidArgumentError, match="frame rate"):
        segue.VideoSource(64, 64, fps=0)
    with pytest.raises(segue.InvalidArgumentError, match="encodings"):
        segue.VideoSource(64, 64, encodings=4)
    with pytest.raises(segue.InvalidArgumentError, match="channels"):
        segue.AudioSource(3)
    with pytest.raises(segue.InvalidArgumentError):
        segue.EncodedVideoSource([])
    with pytest.raises(ValueError):
        segue.VideoBuffer(3, 3)


def test_pictures_and_sound_of_a_wrong_shape() -> None:
    source = segue.VideoSource(64, 32)
    for picture in (b"", bytes(64 * 32), np.zeros((32, 64), np.uint8), bytearray(7)):
        with pytest.raises(segue.InvalidArgumentError, match="3072"):
            source.push(picture)
    with pytest.raises(segue.InvalidArgumentError, match="uint8"):
        source.push(np.zeros(64 * 48, np.float64))  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidArgumentError):
        source.push("a picture")  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidArgumentError, match="RGB|height, width"):
        source.push(np.zeros((32, 64, 4), np.uint8))
    y, u = np.zeros((32, 64), np.uint8), np.zeros((16, 32), np.uint8)
    assert source.push_planes(y, u, u) is False
    with pytest.raises(segue.InvalidArgumentError, match="plane"):
        source.push_planes(y, y, u)
    with pytest.raises(segue.InvalidArgumentError, match="one after the other"):
        source.push_planes(np.zeros((32, 128), np.uint8)[:, ::2], u, u)
    sound = segue.AudioSource(2)
    with pytest.raises(segue.InvalidArgumentError):
        sound.push(b"123")
    with pytest.raises(segue.InvalidArgumentError, match="int16"):
        sound.push(np.zeros(4, np.int64))  # type: ignore[arg-type]
    with pytest.raises(segue.InvalidArgumentError, match="channels"):
        sound.push(np.zeros((10, 1), np.int16))
    with pytest.raises(segue.InvalidArgumentError, match="other kind|encoding"):
        segue.EncodedVideoSource([segue.VideoEncoding(64, 32, 100)]).push(b"x", 0, keyframe=True, encoding=1)


async def test_publishing_twice(stage: Stage, room_name: str, players: list[Player]) -> None:
    player = Player(await stage.join(room_name, "bob"))
    players.append(player)
    local, source = player.room.local_participant, segue.AudioSource()
    first, second = await asyncio.gather(local.publish(source), local.publish(source), return_exceptions=True)
    publication = first if isinstance(first, segue.LocalTrackPublication) else second
    failure = second if publication is first else first
    assert isinstance(publication, segue.LocalTrackPublication)
    assert isinstance(failure, segue.InvalidStateError) and failure.code == "already_published"
    with pytest.raises(segue.InvalidStateError, match="unpublish it first"):
        await local.publish(source)
    await publication.unpublish()
    await eventually("the source being free again", lambda: not source.is_published)
    await local.publish(source)
    with pytest.raises(segue.InvalidArgumentError, match="no source"):
        await local.publish("microphone")  # type: ignore[arg-type]


async def test_times_that_do_not_grow(stage: Stage, room_name: str, players: list[Player]) -> None:
    players.append(Player(await stage.join(room_name, "bob")))
    source = segue.VideoSource(WIDTH, HEIGHT)
    await players[0].room.local_participant.publish(source)
    assert source.push(draw("bob", 0), 1_000)
    with pytest.raises(segue.InvalidArgumentError, match="grow"):
        source.push(draw("bob", 1), 1_000)
    assert source.push(draw("bob", 2), 50_000)


async def test_messages_that_are_too_long(stage: Stage, room_name: str, players: list[Player]) -> None:
    players.append(Player(await stage.join(room_name, "bob")))
    local = players[0].room.local_participant
    for size, reliable in ((60_001, True), (16_000, False)):
        with pytest.raises(segue.InvalidArgumentError, match="split it") as raised:
            await local.send_data(bytes(size), reliable=reliable)
        assert raised.value.code == "data_too_long"


async def test_a_token_provider_that_fails(stage: Stage, room_name: str) -> None:
    async def provide() -> str:
        raise LookupError("nobody is logged in")

    with pytest.raises(segue.CallbackError, match="nobody is logged in") as raised:
        await segue.Room.connect(await stage.url(), provide, LOOPBACK)
    assert raised.value.code == "token_provider"


async def test_a_token_provider_is_asked_at_first_and_again(stage: Stage, room_name: str, players: list[Player]) -> None:
    asked = 0

    async def provide() -> str:
        nonlocal asked
        asked += 1
        return await stage.token(room_name, "bob")

    player = Player(await segue.Room.connect(await stage.url(), provide, LOOPBACK))
    players.append(player)
    assert (player.room.local_participant.identity, asked) == ("bob", 1)
    await stage.ask("tear")
    await eventually("the provider being asked again", lambda: asked >= 2)
    await eventually("being back", lambda: player.room.state is segue.ConnectionState.CONNECTED)


async def test_frames_that_were_released(stage: Stage, room_name: str, players: list[Player]) -> None:
    await stage.ask("guest_join", room=room_name, name="ada")
    player = Player(await stage.join(room_name, "bob"))
    players.append(player)
    track = await eventually("a track", lambda: next((t for t in player.tracks().values() if t.kind is segue.TrackKind.VIDEO), None))
    assert isinstance(track, segue.RemoteVideoTrack)
    with pytest.raises(segue.InvalidArgumentError, match="queue"):
        track.frames(max_queue=0)
    with pytest.raises(segue.InvalidArgumentError, match="queue"):
        track.frames(max_queue=2**40)
    async with track.frames() as frames:
        frame = await anext(aiter(frames))
        view, copy = frame.y, frame.y.copy()
        with pytest.raises(ValueError):
            view[0, 0] = 1
        frame.release()
        with pytest.raises(segue.InvalidStateError, match="released"):
            _ = frame.y
        with pytest.raises(segue.InvalidStateError, match="released"):
            segue.VideoSource(frame.width, frame.height).push(frame)
        # The view keeps the memory: it is neither freed nor written over.
        await anext(aiter(frames))
        gc.collect()
        assert np.array_equal(view, copy)
    with pytest.raises(StopAsyncIteration):
        await anext(aiter(frames))


async def test_a_slow_reader_gets_the_newest(stage: Stage, room_name: str, players: list[Player]) -> None:
    await stage.ask("guest_join", room=room_name, name="ada")
    player = Player(await stage.join(room_name, "bob"))
    players.append(player)
    track = await eventually("a track", lambda: next((t for t in player.tracks().values() if t.kind is segue.TrackKind.AUDIO), None))
    frames = track.frames(max_queue=2)
    await eventually("frames being dropped", lambda: frames.dropped > 20)
    first, second = frames.try_next(), frames.try_next()
    assert first is not None and second is not None
    assert 10_000 < second.timestamp_us - first.timestamp_us < 30_000
    frames.close()


def test_a_loop_that_is_closed(stage: Stage, room_name: str) -> None:
    room = asyncio.run(stage.join(room_name, "bob"))
    with pytest.raises(segue.InvalidStateError, match="loop"):
        asyncio.run(room.stats())
    with pytest.raises(segue.InvalidStateError, match="loop"):
        room.events()
    state = room.state
    assert state in segue.ConnectionState
    del room
    gc.collect()
    # Nobody holds it: it has left by itself, and its events found no loop to go to.
    asyncio.run(stage.ask("guest_join", room=room_name, name="ada", silent=True))
    asyncio.run(stage.ask("guest_knows", room=room_name, name="ada", identities=[]))


async def test_two_rooms_at_once(stage: Stage, room_name: str, players: list[Player]) -> None:
    names = [f"{room_name}-{number}" for number in range(2)]
    for name in names:
        await stage.ask("guest_join", room=name, name="ada")
        players.append(Player(await stage.join(name, "bob")))
    for player in players:
        await player.publish()
    for player in players:
        await player.sees("ada")
    for name in names:
        await stage.ask("guest_perceives", room=name, name="ada", whom="bob")
    await players[0].leave()
    await players[1].hears("ada")


async def test_rooms_go_when_nobody_holds_them(stage: Stage, room_name: str) -> None:
    await stage.ask("guest_join", room=room_name, name="ada", silent=True)
    room = await stage.join(room_name, "bob")
    await stage.ask("guest_knows", room=room_name, name="ada", identities=["bob"])
    gone = weakref.ref(room)
    del room
    gc.collect()
    assert gone() is None
    await stage.ask("guest_knows", room=room_name, name="ada", identities=[])


async def test_a_logger_that_fails_ends_nothing(stage: Stage, room_name: str, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no disk")

    logger = logging.getLogger("segue")
    handler = Failing()
    logger.addHandler(handler)
    try:
        segue.enable_logging(logging.DEBUG)
        with caplog.at_level(logging.DEBUG, "segue"):
            room = await stage.join(room_name, "bob")
            await room.stats()
            await room.leave()
    finally:
        logger.removeHandler(handler)
        segue.enable_logging(logging.CRITICAL + 1)


def test_tokens_that_no_relay_takes() -> None:
    token = segue.AccessToken("key", "s" * 32, room="standup")
    assert token.to_jwt().count(".") == 2
    with pytest.raises(segue.InvalidArgumentError, match="32"):
        segue.AccessToken("key", "short", room="standup").to_jwt()
    with pytest.raises(segue.InvalidArgumentError, match="room"):
        segue.AccessToken("key", "s" * 32).to_jwt()
    with pytest.raises(segue.InvalidArgumentError, match="time to live"):
        import datetime

        token.with_ttl(datetime.timedelta()).to_jwt()
    assert "s" * 32 not in repr(token)


def test_library_and_bindings_of_different_builds(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("segue")
    assert spec is not None and spec.submodule_search_locations
    package = Path(next(iter(spec.submodule_search_locations)))
    copy = tmp_path / "segue"
    copy.mkdir()
    for path in [*package.glob("*.py"), package / "_native"]:
        (copy / path.name).symlink_to(path)
    (copy / "_native").unlink()
    (copy / "_native").mkdir()
    for path in (package / "_native").iterdir():
        (copy / "_native" / path.name).symlink_to(path)
    (copy / "_native/version.py").unlink()
    (copy / "_native/version.py").write_text('SDK_VERSION = "9.9.9+00000000"\n')
    script = "import sys; sys.path.insert(0, sys.argv[1])\ntry:\n import segue\nexcept ImportError as e:\n print(e.code, e)"
    output = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert output.stdout.startswith("build the native library is ") and "9.9.9+00000000" in output.stdout, output


def test_a_process_that_ends_in_the_middle_of_a_call_ends_quietly(stage: Stage, room_name: str) -> None:
    script = """
import asyncio, sys, segue, numpy as np
async def main():
    room = await segue.Room.connect(sys.argv[1], sys.argv[2], segue.RoomOptions(interfaces=segue.Interfaces.LOOPBACK_ONLY))
    sound = segue.AudioSource()
    await room.local_participant.publish(sound)
    sound.push(np.zeros(4800, np.int16))
    global keep
    keep = (room, room.events())
asyncio.run(main())
"""
    url, token = asyncio.run(stage.url()), asyncio.run(stage.token(room_name, "bob"))
    output = subprocess.run([sys.executable, "-c", script, url, token], capture_output=True, text=True, timeout=60, check=False)
    assert (output.returncode, output.stderr) == (0, "")
