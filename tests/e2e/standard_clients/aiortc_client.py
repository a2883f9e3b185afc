"""An independent WebRTC client publishes by WHIP and plays by WHEP: `aiortc_client.py BASE TOKEN ROOM`.

BASE is the relay's `http://host:port`, TOKEN a join token of the identity `camera`. Prints one line of JSON with the frames
that were decoded, and fails where one of a kind is missing.
"""

import array
import asyncio
import fractions
import json
import math
import sys
import urllib.request

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AUDIO_PTIME, VIDEO_CLOCK_RATE, VIDEO_TIME_BASE

# What has to be decoded before the clients part.
PICTURES = 30
SOUNDS = 50

# Nothing takes longer on a machine that lives.
PATIENCE = 60

SAMPLE_RATE = 48_000
FRAME_RATE = 15
SIZE = (320, 240)


class Pictures(MediaStreamTrack):
    """A bar that wanders, 15 times a second."""

    kind = "video"

    def __init__(self):
        super().__init__()
        self.number = 0

    async def recv(self):
        await asyncio.sleep(1 / FRAME_RATE)
        frame = av.VideoFrame(*SIZE, "yuv420p")
        luma, *chroma = frame.planes
        row = bytearray(luma.line_size)
        at = self.number * 4 % SIZE[0]
        row[at : at + 20] = bytes([235]) * len(row[at : at + 20])
        luma.update(bytes(row) * SIZE[1])
        for plane in chroma:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = self.number * VIDEO_CLOCK_RATE // FRAME_RATE
        frame.time_base = VIDEO_TIME_BASE
        self.number += 1
        return frame


class Sounds(MediaStreamTrack):
    """A tone of 440 Hz."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.samples = 0

    async def recv(self):
        await asyncio.sleep(AUDIO_PTIME)
        count = int(AUDIO_PTIME * SAMPLE_RATE)
        angles = (2 * math.pi * 440 * (self.samples + number) / SAMPLE_RATE for number in range(count))
        tone = array.array("h", (int(8_000 * math.sin(angle)) for angle in angles))
        frame = av.AudioFrame(format="s16", layout="mono", samples=count)
        frame.planes[0].update(tone.tobytes())
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self.samples
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self.samples += count
        return frame


def request(method, url, token, sdp=None):
    headers = {"Authorization": f"Bearer {token}"}
    if sdp is not None:
        headers["Content-Type"] = "application/sdp"
    asked = urllib.request.Request(url, method=method, headers=headers, data=sdp.encode() if sdp else None)
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        return answer.status, answer.headers.get("Location"), answer.read().decode()


async def exchange(connection, base, path, token):
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    status, location, answer = await asyncio.to_thread(request, "POST", base + path, token, offer)
    assert status == 201, status
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return base + location


def prefer_h264(transceiver):
    codecs = RTCRtpSender.getCapabilities("video").codecs
    wanted = [codec for codec in codecs if codec.mimeType in ("video/H264", "video/rtx")]
    transceiver.setCodecPreferences(wanted)


async def count(track, counts, wanted):
    while counts[track.kind] < wanted:
        await track.recv()
        counts[track.kind] += 1


async def run(base, token, room):
    publisher, player = RTCPeerConnection(), RTCPeerConnection()
    publisher.addTrack(Sounds())
    publisher.addTrack(Pictures())
    for transceiver in publisher.getTransceivers():
        if transceiver.kind == "video":
            prefer_h264(transceiver)
    publishing = await exchange(publisher, base, f"/v1/whip/{room}", token)

    player.addTransceiver("audio", direction="recvonly")
    prefer_h264(player.addTransceiver("video", direction="recvonly"))
    counts, wanted = {"audio": 0, "video": 0}, {"audio": SOUNDS, "video": PICTURES}
    counting = []
    player.on("track", lambda track: counting.append(asyncio.ensure_future(count(track, counts, wanted[track.kind]))))
    playing = await exchange(player, base, f"/v1/whep/{room}/camera", token)
    try:
        await asyncio.wait_for(asyncio.gather(*counting), PATIENCE)
    finally:
        print(json.dumps({"kind": "aiortc", "pictures_decoded": counts["video"], "sounds_decoded": counts["audio"]}))
    for resource in (playing, publishing):
        status, _, _ = await asyncio.to_thread(request, "DELETE", resource, token)
        assert status == 200, status
    await asyncio.gather(publisher.close(), player.close())


asyncio.run(asyncio.wait_for(run(*sys.argv[1:4]), 2 * PATIENCE))
