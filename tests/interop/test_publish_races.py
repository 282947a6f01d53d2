"""Two publishers at once with the same key: exactly one is on air, whichever way they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection

from support.peers import post_sdp
from support.rtmp import RtmpClient, command
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]

# Streams raced on side by side: while one waits for an answer, the others use the time.
LANES = 8
# Races in all: RTMP against RTMP, RTMP against WHIP, WHIP against WHIP, and two that both take over a third.
RTMP_RTMP, RTMP_WHIP, WHIP_WHIP, TAKE_OVERS = 400, 300, 100, 200
TAKE_OVER = "?takeover=1"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def offer() -> AsyncIterator[str]:
    """A publisher's offer. The races end before any media would flow, so one will do for all."""
    connection = RTCPeerConnection()
    for kind in ("video", "audio"):
        connection.addTransceiver(kind, direction="sendonly")
    await connection.setLocalDescription(await connection.createOffer())
    yield connection.localDescription.sdp
    await connection.close()


class Rtmp:
    """An encoder that has connected, and asks for the stream when it is told to."""

    def __init__(self, server: Server, key: str) -> None:
        self._client, self._key = RtmpClient(server.rtmp_port), key

    async def prepare(self) -> None:
        await self._client.__aenter__()
        await self._client.connect()
        await self._client.send(command("createStream", 2.0, None))
        self._stream_id = int((await self._client.read_command("_result"))[3])

    async def publish(self) -> bool:
        await self._client.send(command("publish", 3.0, None, self._key, "live", stream_id=self._stream_id))
        info = (await self._client.read_command("onStatus", timeout_s=20))[3]
        assert info["code"] in ("NetStream.Publish.Start", "NetStream.Publish.Denied"), info
        return bool(info["code"] == "NetStream.Publish.Start")

    async def parting_words(self) -> str:
        return str((await self._client.read_command("onStatus", timeout_s=20))[3]["description"])

    async def leave(self) -> None:
        await self._client.send(command("deleteStream", 4.0, None, float(self._stream_id)))
        await self._client.__aexit__()


class Whip:
    """A browser that has made its offer."""

    def __init__(self, server: Server, key: str, offer: str) -> None:
        self._http, self._key, self._offer = server.http, key, offer
        self._location: str | None = None

    async def prepare(self) -> None:
        pass

    async def publish(self) -> bool:
        answer = await post_sdp(self._http, "/whip", self._offer, self._key)
        assert answer.status_code in (httpx.codes.CREATED, httpx.codes.CONFLICT), answer.text
        self._location = answer.headers.get("location")
        return self._location is not None

    async def leave(self) -> None:
        if self._location is not None:
            await self._http.delete(self._location, headers={"Authorization": f"Bearer {self._key}"})


async def test_1000_races_have_one_winner_each(offer: str) -> None:
    """1,000 races of two publishers with the same key: one winner each, over RTMP and WHIP; of two that take over at
    once, both are let in, and one of them is cut again."""
    lanes = [f"lane{number}" for number in range(LANES)]
    async with Server.with_streams(*lanes) as server:
        await asyncio.gather(*(_races(server, lane, offer) for lane in lanes))
        numbers = await server.statistics()
        questions = 2 * (RTMP_RTMP + RTMP_WHIP + WHIP_WHIP) + 3 * TAKE_OVERS
        assert numbers["admission.questions"] == questions
        assert numbers["admission.denied"] == numbers["admission.unanswered"] == 0


async def _races(server: Server, lane: str, offer: str) -> None:
    """This lane's share of each kind."""
    key = server.streams[lane]

    def rtmp() -> Rtmp:
        return Rtmp(server, key)

    def whip() -> Whip:
        return Whip(server, key, offer)

    for _ in range(RTMP_RTMP // LANES):
        await _race(server, lane, rtmp(), rtmp())
    for number in range(-(-RTMP_WHIP // LANES)):
        if number * LANES + int(lane[4:]) < RTMP_WHIP:
            await _race(server, lane, rtmp(), whip())
    for number in range(-(-WHIP_WHIP // LANES)):
        if number * LANES + int(lane[4:]) < WHIP_WHIP:
            await _race(server, lane, whip(), whip())
    for _ in range(TAKE_OVERS // LANES):
        await _take_over_race(server, lane, key)


async def _race(server: Server, lane: str, one: Rtmp | Whip, other: Rtmp | Whip) -> None:
    await asyncio.gather(one.prepare(), other.prepare())
    admitted = await asyncio.gather(one.publish(), other.publish())
    assert sorted(admitted) == [False, True]
    await asyncio.gather(one.leave(), other.leave())
    await _until_free(server, lane)


async def _take_over_race(server: Server, lane: str, key: str) -> None:
    first, one, other = Rtmp(server, key), Rtmp(server, key + TAKE_OVER), Rtmp(server, key + TAKE_OVER)
    await asyncio.gather(first.prepare(), one.prepare(), other.prepare())
    assert await first.publish()
    assert all(await asyncio.gather(one.publish(), other.publish()))
    assert "took over" in await first.parting_words()
    cut = await _first(one.parting_words(), other.parting_words())
    assert "took over" in cut
    assert (await server.engine_stream(lane))["session"] is not None
    await asyncio.gather(first.leave(), one.leave(), other.leave())
    await _until_free(server, lane)


async def _first(*waits: Coroutine[Any, Any, str]) -> str:
    """What the first of them gave; the others go on waiting in vain, and are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    assert len(done) == 1, "both were cut"
    return done.pop().result()


async def _until_free(server: Server, lane: str) -> None:
    async def free() -> bool:
        return (await server.engine_stream(lane)).get("session") is None

    await wait_until(free, 10, f"{lane} to be free")
