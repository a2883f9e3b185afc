"""A filter for pictures: everything that anybody's camera sends comes back as a negative, without a copy but the one that is changed.

    python examples/python/frame_filter.py ws://localhost:7880/v1/connect TOKEN
"""

from __future__ import annotations

import asyncio
import sys

import segue


async def invert(room: segue.Room, track: segue.RemoteVideoTrack) -> None:
    """Sends the negative of one track for as long as it lasts."""
    publication, source = None, None
    async for frame in track.frames():
        if source is None or (frame.width, frame.height) != (source.width, source.height):
            if publication is not None:
                await publication.unpublish()
            source = segue.VideoSource(frame.width, frame.height, fps=30)
            publication = await room.local_participant.publish(source, name=f"negative of {track.participant.identity}")
        source.push(frame.copy_with(y=255 - frame.y))
    if publication is not None:
        await publication.unpublish()


async def main(url: str, token: str) -> None:
    """Joins, and filters everybody."""
    tasks = set()
    async with await segue.Room.connect(url, token) as room:
        async for event in room.events():
            match event:
                case segue.TrackPublished(track=segue.RemoteVideoTrack() as track):
                    tasks.add(asyncio.create_task(invert(room, track)))
                case segue.TopologyChanged(to=to, reason=why):
                    print("now", to.name, "because", why, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
