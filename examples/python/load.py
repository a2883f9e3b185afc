"""Load: many participants of this process join one room, send a tone each and count what arrives of everybody else.

    python examples/python/load.py ws://localhost:7880/v1/connect KEY_ID SECRET [PARTICIPANTS] [SECONDS]
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

import segue


class Participant:
    """One of many."""

    def __init__(self, number: int) -> None:
        self.identity = f"load-{number}"
        self.frames = 0
        self.concealed = 0
        self._turns = np.arange(960) * (300 + 10 * number) / segue.SAMPLE_RATE

    async def listen(self, track: segue.RemoteAudioTrack) -> None:
        """Counts what arrives."""
        async for frame in track.frames(max_queue=50):
            self.frames += 1
            self.concealed += frame.playout is segue.Playout.CONCEALED

    async def run(self, url: str, key: segue.AccessToken, seconds: float) -> None:
        """Joins, sends and listens for a while."""
        source = segue.AudioSource()
        wave = (8_000 * np.sin(2 * np.pi * self._turns)).astype(np.int16)
        listening = set()
        async with await segue.Room.connect(url, key.with_identity(self.identity).to_jwt()) as room:
            await room.local_participant.publish(source)

            async def watch() -> None:
                async for event in room.events():
                    match event:
                        case segue.TrackPublished(track=segue.RemoteAudioTrack() as track):
                            listening.add(asyncio.create_task(self.listen(track)))

            watching = asyncio.create_task(watch())
            loop = asyncio.get_running_loop()
            end = due = loop.time()
            end += seconds
            while due < end:
                source.push(wave)
                due += 0.02
                await asyncio.sleep(max(0.0, due - loop.time()))
            watching.cancel()


async def main(url: str, key_id: str, secret: str, count: int, seconds: float) -> None:
    """Runs them all."""
    key = segue.AccessToken(key_id, secret, room="load")
    everybody = [Participant(number) for number in range(count)]
    await asyncio.gather(*(one.run(url, key, seconds) for one in everybody))
    for one in everybody:
        print(f"{one.identity}: {one.frames} frames of sound from others, {one.concealed} made up")


if __name__ == "__main__":
    numbers = sys.argv[4:] + ["4", "5"][len(sys.argv[4:]) :]
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(numbers[0]), float(numbers[1])))
