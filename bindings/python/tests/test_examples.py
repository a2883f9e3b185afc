"""What people copy works: the README, the examples, the command, from a folder that has nothing but the installed wheel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from stage import HEIGHT, WIDTH, Player, Stage, draw, eventually, tone

import segue

TOP = Path(os.environ.get("SEGUE_TOP", Path(__file__).resolve().parents[3]))
EXAMPLES = TOP / "examples/python"


@contextlib.asynccontextmanager
async def running(*words: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program, which ends with this."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=cwd, stdout=pipe, stderr=pipe)
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


async def test_the_readme_shows_a_call_that_works(stage: Stage, room_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    await stage.ask("guest_join", room=room_name, name="ada")
    blocks = re.findall(r"```python\n(.*?)```", (TOP / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) <= 22
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(blocks[0], "README.md", "exec"), names)
    call = names["call"]
    assert callable(call)
    calling = asyncio.create_task(call(await stage.url(), await stage.token(room_name, "bob")))
    out = ""

    def shown() -> bool:
        nonlocal out
        out += capsys.readouterr().out
        return out.count(f"{WIDTH} x {HEIGHT} brightness") > 5

    await eventually("pictures being shown", shown)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await stage.ask("guest_knows", room=room_name, name="ada", identities=[])


async def test_the_command_plays_a_clip_and_records_the_others(
    stage: Stage, room_name: str, tmp_path: Path, players: list[Player]
) -> None:
    clip = tmp_path / "clip.y4m"
    with clip.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F15:1 C420jpeg\n".encode())
        for number in range(30):
            file.write(b"FRAME\n" + draw("cyd", number).data.tobytes())
    await stage.ask("guest_join", room=room_name, name="ada")
    players.append(Player(await stage.join(room_name, "bob")))
    words = ["-m", "segue", "join", await stage.url(), "--token", await stage.token(room_name, "cyd")]
    async with running(*words, "--video", str(clip), "--record", "out", "--seconds", "8", cwd=tmp_path) as program:
        # The clip is played in a loop, so its numbers start over: that somebody sees it is enough.
        await eventually("the clip being seen", lambda: players[0].perceived.get("cyd") and players[0].perceived["cyd"].pictures > 10)
        output, errors = await program.communicate()
        assert (program.returncode, errors) == (0, b""), (output, errors)
    assert f"joined {room_name} as cyd".encode() in output
    pictures, sound = next((tmp_path / "out").glob("ada-*.y4m")), next((tmp_path / "out").glob("ada-*.wav"))
    assert pictures.read_bytes().count(b"FRAME\n") > 15
    with wave.open(str(sound)) as file:
        assert file.getframerate() == segue.SAMPLE_RATE
        assert file.getnframes() > segue.SAMPLE_RATE


async def test_the_command_says_why_it_was_refused(stage: Stage, room_name: str, tmp_path: Path) -> None:
    token = await stage.token(room_name, "bob", "expired")
    async with running("-m", "segue", "join", await stage.url(), "--token", token, cwd=tmp_path) as program:
        _, errors = await program.communicate()
        assert program.returncode == 1
        assert errors.startswith(b"token_expired: ")


async def test_the_bot_records_and_answers(stage: Stage, room_name: str, tmp_path: Path, players: list[Player]) -> None:
    player = Player(await stage.join(room_name, "bob"))
    players.append(player)
    voice = segue.AudioSource()
    await player.room.local_participant.publish(voice)
    bot = str(EXAMPLES / "bot.py")
    async with running(bot, await stage.url(), await stage.token(room_name, "cyd"), "said", cwd=tmp_path):
        track = await eventually("the bot's voice", lambda: next(iter(player.tracks().values()), None))
        assert isinstance(track, segue.RemoteAudioTrack) and track.name == "answers"
        heard = track.frames(max_queue=100)

        async def speak() -> None:
            while True:
                for number in range(150):
                    voice.push(tone("bob", number) if number < 50 else np.zeros(960, np.int16))
                    await asyncio.sleep(0.02)

        speaking = asyncio.create_task(speak())
        loud = 0
        async with asyncio.timeout(60) if sys.version_info >= (3, 11) else contextlib.nullcontext():
            async for frame in heard:
                loud += int(np.abs(frame.samples).max()) > 1_000
                if loud > 25:
                    break
        speaking.cancel()
        files = await eventually("a recording", lambda: list((tmp_path / "said").glob("bob-*.wav")))
    with wave.open(str(files[0])) as file:
        assert file.getnframes() > segue.SAMPLE_RATE // 4


async def test_the_filter_sends_the_negative(stage: Stage, room_name: str, tmp_path: Path, players: list[Player]) -> None:
    await stage.ask("guest_join", room=room_name, name="ada")
    player = Player(await stage.join(room_name, "bob"))
    players.append(player)
    script = str(EXAMPLES / "frame_filter.py")
    async with running(script, await stage.url(), await stage.token(room_name, "cyd"), cwd=tmp_path):
        found = lambda: next((t for t in player.tracks().values() if t.name == "negative of ada"), None)  # noqa: E731
        track = await eventually("the negative", found)
        assert isinstance(track, segue.RemoteVideoTrack)
        original = next(t for t in player.tracks().values() if t.participant.identity == "ada" and t.kind is segue.TrackKind.VIDEO)
        assert isinstance(original, segue.RemoteVideoTrack)
        brightness = [(await anext(aiter(one.frames()))).y[HEIGHT // 2 :].mean() for one in (original, track)]
    assert abs(sum(brightness) - 255) < 25, brightness


async def test_the_load_script_counts_what_arrives(stage: Stage, tmp_path: Path) -> None:
    places = await stage.ask("places")
    words = [str(EXAMPLES / "load.py"), places["url"], places["key"], places["secret"], "3", "4"]
    async with running(*words, cwd=tmp_path) as program:
        output, errors = await program.communicate()
        assert (program.returncode, errors) == (0, b""), (output, errors)
    counts = [int(count) for count in re.findall(rb": (\d+) frames", output)]
    assert len(counts) == 3
    assert all(count > 50 for count in counts), output
