"""The script all languages play (tests/e2e/conformance.json), through this package."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest
from stage import LOOPBACK, Player, Stage, eventually

import segue


def _script() -> Path:
    here = Path(__file__).resolve()
    found = os.environ.get("SEGUE_CONFORMANCE")
    return Path(found) if found else here.parents[3] / "tests/e2e/conformance.json"


SCENARIOS = json.loads(_script().read_text(encoding="utf-8"))["scenarios"]


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Runner:
    """Plays one scenario."""

    def __init__(self, stage: Stage, room: str, players: list[Player]) -> None:
        self.stage = stage
        self.room = room
        self.everybody = players
        self.cast: dict[str, Player] = {}
        self.remembered: dict[str, dict[int, segue.RemoteTrack]] = {}

    async def play(self, step: dict[str, Any]) -> None:
        words = {name: value for name, value in step.items() if name not in ("do", "as")}
        who = (step["as"],) if "as" in step else ()
        await getattr(self, f"do_{step['do']}")(*who, **words)

    async def do_stage(self, ask: dict[str, Any]) -> None:
        words = {name: self.room if value == "$room" else value for name, value in ask.items()}
        await self.stage.ask(**words)

    async def do_join(self, who: str) -> None:
        player = Player(await self.stage.join(self.room, who))
        self.everybody.append(player)
        self.cast[who] = player

    async def do_join_fails(self, who: str, token: str, code: str) -> None:
        given = await self.stage.token(self.room, who, token)
        with pytest.raises(segue.RefusedError) as raised:
            await segue.Room.connect(await self.stage.url(), given, LOOPBACK)
        assert raised.value.code == code

    async def do_cancel_join(self, who: str, after_ms: int, at: str = "url") -> None:
        places, token = await self.stage.ask("places"), await self.stage.token(self.room, who)
        joining = asyncio.create_task(segue.Room.connect(places[at], token, LOOPBACK))
        await asyncio.sleep(after_ms / 1000)
        joining.cancel()
        try:
            room = await joining
        except asyncio.CancelledError:
            return
        await room.leave()

    async def do_publish(self, who: str) -> None:
        await self.cast[who].publish()

    async def do_sees(self, who: str, whom: str) -> None:
        await self.cast[who].sees(whom)

    async def do_hears(self, who: str, whom: str) -> None:
        await self.cast[who].hears(whom)

    async def do_mute(self, who: str, kind: str, muted: bool) -> None:
        await self.cast[who].publications[kind].set_muted(muted)

    async def do_told_muted(self, who: str, whom: str, kind: str, muted: bool) -> None:
        def told() -> bool:
            changes = [
                event
                for event in self.cast[who].events
                if isinstance(event, segue.TrackMuted)
                and event.track.participant.identity == whom
                and event.track.kind.value == kind
            ]
            return bool(changes) and changes[-1].muted is muted and changes[-1].track.is_muted is muted

        await eventually(f"{who} being told", told)

    async def do_send(self, who: str, topic: str, text: str, reliable: bool) -> None:
        await self.cast[who].room.local_participant.send_data(text, topic=topic, reliable=reliable)

    async def do_receives(self, who: str, topic: str, texts: list[str], **words: str) -> None:
        def received() -> bool:
            found = [
                event.payload.decode()
                for event in self.cast[who].events
                if isinstance(event, segue.DataReceived)
                and event.topic == topic
                and event.sender is not None
                and event.sender.identity == words["from"]
            ]
            return found == texts

        await eventually(f"{who} receiving {texts}", received)

    async def do_topology(self, who: str, **words: str) -> None:
        room, wanted = self.cast[who].room, words["is"]
        path = {"mesh": segue.MediaPath.DIRECT, "relayed": segue.MediaPath.RELAYED}.get(wanted)

        def arrived() -> bool:
            settled = all(info.active and not info.moving and path in (None, info.path) for info in room.paths)
            return room.topology.value == wanted and settled and len(room.paths) >= 2 * len(room.participants)

        await eventually(f"{who} being in a room that is {wanted}", arrived)

    async def do_told_state(self, who: str, states: list[str]) -> None:
        def told() -> bool:
            found = [event.state.value for event in self.cast[who].events if isinstance(event, segue.ConnectionStateChanged)]
            return any(found[at : at + len(states)] == states for at in range(len(found)))

        await eventually(f"{who} being told {states}", told)

    async def do_remember_tracks(self, who: str) -> None:
        self.remembered[who] = self.cast[who].tracks()
        assert self.remembered[who]

    async def do_same_tracks(self, who: str) -> None:
        now = self.cast[who].tracks()
        for number, track in self.remembered[who].items():
            assert now.get(number) is track and not track.has_ended

    async def do_leave(self, who: str) -> None:
        await self.cast[who].leave()

    async def do_ended(self, who: str) -> None:
        await eventually(f"the events of {who} ending", lambda: self.cast[who].ended)
        assert isinstance(self.cast[who].events[-1], segue.Disconnected)

    async def do_call_fails(self, who: str, call: str, code: str) -> None:
        room = self.cast[who].room
        calls = {
            "publish": lambda: room.local_participant.publish(segue.AudioSource()),
            "send": lambda: room.local_participant.send_data(b"too late"),
            "stats": room.stats,
        }
        with pytest.raises(segue.RoomLeftError) as raised:
            await calls[call]()
        assert raised.value.code == code and "connect again" in str(raised.value)

    async def do_cycles(self, who: str, count: int, at_once: int, megabytes: float) -> None:
        count = int(os.environ.get("SEGUE_CYCLES", count))
        url, left = await self.stage.url(), iter(range(count))

        async def cycle() -> None:
            for number in left:
                token = await self.stage.token(f"{self.room}-{number}", who)
                async with await segue.Room.connect(url, token, LOOPBACK):
                    pass
                if number == count // 5:
                    gc.collect()
                    self.before = resident_megabytes()

        await asyncio.gather(*(cycle() for _ in range(at_once)))
        gc.collect()
        grown = resident_megabytes() - self.before
        print(f"{count} cycles: memory grew by {grown:.1f} MB after the first fifth, {resident_megabytes():.0f} MB now")
        assert grown < megabytes


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
async def test_scenario(scenario: dict[str, Any], stage: Stage, room_name: str, players: list[Player]) -> None:
    runner = Runner(stage, room_name, players)
    for step in scenario["steps"]:
        await runner.play(step)
