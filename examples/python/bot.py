"""A bot that records what people say and answers them: it plays back each stretch of speech to the room once the speaker pauses, and writes
it to a file.

    python examples/python/bot.py ws://localhost:7880/v1/connect TOKEN [FOLDER]
"""

from __future__ import annotations

import asyncio
import sys
import wave
from pathlib import Path

import numpy as np

import segue

LOUD = 500
"""Samples above this are speech, not the noise of a room."""

PAUSE = 25
"""Frames of 20 ms without speech that end a stretch: half a second."""

LONGEST = 1_500
"""Frames of 20 ms in one stretch: half a minute is answered even without a pause."""


async def answer(track: segue.RemoteAudioTrack, voice: segue.AudioSource, folder: Path) -> None:
    """Listens to one person."""
    stretch: list[bytes] = []
    quiet = count = 0
    async for frame in track.frames(max_queue=100):
        loud = int(np.abs(frame.samples).max()) > LOUD
        quiet = 0 if loud else quiet + 1
        if loud or stretch:
            stretch.append(frame.data)
        if stretch and (quiet >= PAUSE or len(stretch) >= LONGEST):
            spoken, stretch, count = stretch, [], count + 1
            path = folder / f"{track.participant.identity}-{count}.wav"
            with wave.open(str(path), "wb") as file:
                file.setnchannels(frame.channels)
                file.setsampwidth(2)
                file.setframerate(segue.SAMPLE_RATE)
                file.writeframes(b"".join(spoken))
            print(f"{track.participant.identity} said {len(spoken) / 50:.1f} s: {path}", flush=True)
            for piece in spoken:
                voice.push(piece)
                await asyncio.sleep(0.02)


async def main(url: str, token: str, folder: Path) -> None:
    """Joins, and answers everybody until the room ends."""
    folder.mkdir(parents=True, exist_ok=True)
    voice = segue.AudioSource()
    tasks = set()
    async with await segue.Room.connect(url, token) as room:
        await room.local_participant.publish(voice, name="answers")
        print(f"listening in {room.name}", flush=True)
        async for event in room.events():
            match event:
                case segue.TrackPublished(track=segue.RemoteAudioTrack() as track):
                    tasks.add(asyncio.create_task(answer(track, voice, folder)))
                case segue.DataReceived(sender=who, payload=text) if who is not None:
                    await room.local_participant.send_data(f"{who.identity} wrote {text.decode()!r}", topic="bot")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3] if len(sys.argv) > 3 else "recordings")))
