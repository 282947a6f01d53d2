"""Coming and going leaves nothing behind in the engine."""

from __future__ import annotations

import asyncio

import pytest

from support import processes
from support.peers import WhepViewer
from support.processes import Resources
from support.publishers import card_publisher
from support.rtmp import DATA_AMF0, RtmpClient, encode_amf0, message
from support.server import Server
from support.waiting import wait_until
from tallylight.demo.encoding import CardSettings

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

# Allocator arenas and caches settle during the first joins; what grows after that is a leak. 200 sessions that each
# kept their 66 KB would be 13 MB.
RSS_SLACK_BYTES = 6 << 20
WARM_UP = 20
# The HLS window fills for 72 s whatever the viewers do. At this rate that can neither hide a leak nor be taken for one.
LEAN = CardSettings(width=320, height=180, frame_rate=30, bitrate_bps=200_000)


async def test_200_joins_and_leaves_of_viewers(own_server: Server) -> None:
    """200 joins and leaves of viewers leave file descriptors, sessions and memory where they were."""
    server = own_server
    async with card_publisher(server.rtmp_url(), LEAN):
        await server.wait_on_air()
        await _join_and_leave(server, WARM_UP)
        before = await _settled(server)
        await _join_and_leave(server, 200)
        await _assert_back_at(server, before)
        await wait_until(lambda: _nobody_watches(server), 5, "the public count of viewers to be 0")


async def test_50_publish_cycles(own_server: Server) -> None:
    """50 publish/unpublish cycles leave file descriptors, sessions and memory where they were."""
    server = own_server
    for _ in range(5):
        await _publish_once(server)
    before = await _settled(server)
    for _ in range(50):
        await _publish_once(server)
    await _assert_back_at(server, before)


async def _join_and_leave(server: Server, count: int) -> None:
    """Joins four at a time, each until its first picture; half of them leave without a goodbye."""

    async def one(index: int) -> None:
        viewer = WhepViewer(server.http, "main")
        await viewer.join()
        await viewer.wait_frames(1)
        if index % 2:
            await viewer.leave()
        else:
            # A closed DTLS connection is a goodbye of its own; the DELETE never comes.
            viewer.location = ""
            await viewer.leave()

    for start in range(0, count, 4):
        await asyncio.gather(*(one(index) for index in range(start, min(start + 4, count))))


async def _publish_once(server: Server) -> None:
    """Publishes metadata only, by hand: 50 encoders would take minutes and test the encoder."""
    async with RtmpClient(server.rtmp_port) as client:
        info = await client.publish(server.streams["main"])
        assert info["code"] == "NetStream.Publish.Start", info
        await client.send(message(DATA_AMF0, encode_amf0("@setDataFrame") + encode_amf0("onMetaData"), stream_id=1))
    await wait_until(lambda: _no_sessions(server), 5, "the publisher's session to end")


async def _nobody_watches(server: Server) -> bool:
    return not (await server.stream())["viewers"]["webrtc"]


async def _no_sessions(server: Server) -> bool:
    return not await server.sessions()


async def _settled(server: Server) -> Resources:
    """The engine's resources once no viewer's session is left."""

    async def no_viewers() -> bool:
        return not await server.sessions("whep")

    await wait_until(no_viewers, 40, "the viewers' sessions to end")
    return processes.resources_of(server.engine_pid())


async def _assert_back_at(server: Server, before: Resources) -> None:
    async def is_back() -> bool:
        now = await _settled(server)
        return now.file_descriptors <= before.file_descriptors + 2

    await wait_until(is_back, 40, f"the file descriptors to come down to {before.file_descriptors}")
    grown = (await _settled(server)).rss_bytes - before.rss_bytes
    assert grown < RSS_SLACK_BYTES, f"the engine grew by {grown >> 10} KiB"
