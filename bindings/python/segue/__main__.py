"""``python -m segue``: joins a room from a terminal."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
import wave
from pathlib import Path
from typing import BinaryIO

import numpy as np

import segue

_FRAME_HEADER = b"FRAME\n"
_FRAME_RATE = 25


class Y4m:
    """A YUV4MPEG2 file (4:2:0), played in a loop."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        header = self._file.readline().decode("ascii", "replace").split()
        if not header or header[0] != "YUV4MPEG2":
            raise SystemExit(f"{path} is no YUV4MPEG2 file: make one with `ffmpeg -i CLIP -pix_fmt yuv420p clip.y4m`")
        fields = {word[0]: word[1:] for word in header[1:]}
        if not fields.get("C", "420").startswith("420"):
            raise SystemExit(f"{path} has colours as {fields['C']}: make it with `-pix_fmt yuv420p`")
        self.width, self.height = int(fields["W"]), int(fields["H"])
        numerator, _, denominator = fields.get("F", "25:1").partition(":")
        self.fps = int(numerator) / int(denominator or 1)
        self._start = self._file.tell()

    def read(self) -> bytes:
        """The next picture as I420."""
        if not self._file.readline():
            self._file.seek(self._start)
            self._file.readline()
        return self._file.read(self.width * self.height * 3 // 2)


async def play(source: segue.VideoSource, clip: Y4m) -> None:
    """Pushes a clip at its own pace."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        source.push(clip.read())
        due += 1 / clip.fps
        await asyncio.sleep(max(0.0, due - loop.time()))


def _open_y4m(path: Path, frame: segue.VideoFrame) -> BinaryIO:
    file = path.open("wb")
    file.write(f"YUV4MPEG2 W{frame.width} H{frame.height} F{_FRAME_RATE}:1 Ip A1:1 C420jpeg\n".encode())
    return file


async def record_video(track: segue.RemoteVideoTrack, path: Path) -> None:
    """Writes pictures as they come; where their size changes, another file begins."""
    size, part, file = (0, 0), 0, None
    try:
        async for frame in track.frames(max_queue=8):
            if (frame.width, frame.height) != size:
                if file is not None:
                    file.close()
                size = (frame.width, frame.height)
                file = _open_y4m(path.with_name(f"{path.stem}-{part}.y4m"), frame)
                part += 1
            assert file is not None
            file.write(_FRAME_HEADER + frame.to_i420())
    finally:
        if file is not None:
            file.close()


async def record_audio(track: segue.RemoteAudioTrack, path: Path) -> None:
    """Writes sound, losses made up for."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(segue.SAMPLE_RATE)
        async for frame in track.frames(max_queue=100):
            mono = frame.samples.mean(axis=1).astype(np.int16) if frame.channels > 1 else frame.samples
            file.writeframes(mono.tobytes())


def _file_for(folder: Path, track: segue.RemoteTrack) -> Path:
    who = re.sub(r"[^\w.-]", "_", track.participant.identity) or "somebody"
    suffix = "wav" if track.kind is segue.TrackKind.AUDIO else "y4m"
    return folder / f"{who}-{track.id}.{suffix}"


async def join(arguments: argparse.Namespace) -> None:
    """Joins, publishes, records and says what happens, until the room ends or the time is over."""
    clip = Y4m(arguments.video) if arguments.video else None
    folder: Path | None = arguments.record
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    tasks: set[asyncio.Task[None]] = set()
    room = await segue.Room.connect(arguments.url, arguments.token)
    async with room:
        print(f"joined {room.name} as {room.local_participant.identity}", flush=True)
        if clip is not None:
            source = segue.VideoSource(clip.width, clip.height, clip.fps)
            await room.local_participant.publish(source)
            tasks.add(asyncio.create_task(play(source, clip)))

        async def watch() -> None:
            async for event in room.events():
                print(event, flush=True)
                match event:
                    case segue.TrackPublished(track=segue.RemoteVideoTrack() as track) if folder is not None:
                        tasks.add(asyncio.create_task(record_video(track, _file_for(folder, track))))
                    case segue.TrackPublished(track=segue.RemoteAudioTrack() as track) if folder is not None:
                        tasks.add(asyncio.create_task(record_audio(track, _file_for(folder, track))))

        try:
            await asyncio.wait_for(watch(), arguments.seconds)
        except asyncio.TimeoutError:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m segue", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    joining = commands.add_parser("join", help="join a room, play a clip into it and record what others send")
    joining.add_argument("url", help="address of the relay, such as wss://relay.example/v1/connect")
    joining.add_argument("--token", required=True, help="join token, from `segue-relay token create` or AccessToken")
    joining.add_argument("--video", type=Path, metavar="FILE", help="YUV4MPEG2 clip to publish, in a loop")
    joining.add_argument("--record", type=Path, metavar="DIR", help="folder for one file per track of others")
    joining.add_argument("--seconds", type=float, help="leave after this time")
    joining.add_argument("--verbose", action="store_true", help="say what the SDK does")
    arguments = parser.parse_args()
    if arguments.verbose:
        logging.basicConfig(level=logging.DEBUG)
        segue.enable_logging(logging.DEBUG)
    try:
        asyncio.run(join(arguments))
    except segue.SegueError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
