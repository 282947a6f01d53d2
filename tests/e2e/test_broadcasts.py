"""Broadcasts of a whole server: rows follow the media, through returns, ends and crashes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.publishers import card_publisher
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# The promise: nothing is on air longer than this without media, whatever crashed.
NOT_ON_AIR_WITHIN_S = 10


async def rows(server: Server) -> list[dict[str, Any]]:
    answer = await server.http.get("/api/broadcasts", params={"stream": "main"})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["broadcasts"]
    return found


async def newest_with(server: Server, status: str, timeout_s: float = 30) -> dict[str, Any]:
    """Waits until the newest broadcast has this status."""

    async def newest() -> dict[str, Any] | None:
        found = await rows(server)
        return found[0] if found and found[0]["status"] == status else None

    found: dict[str, Any] | None = await wait_until(newest, timeout_s, f"a broadcast {status}", (httpx.HTTPError,))
    assert found is not None
    return found


async def test_a_publisher_that_returns_continues_its_broadcast(own_server: Server) -> None:
    """The row is ON_AIR while media arrives, RECONNECTING when the publisher left, and the same row when it is back."""
    server = own_server
    async with card_publisher(server.rtmp_url()):
        first = await newest_with(server, "ON_AIR")
        assert first["stream_type"] == "RTMP_STREAM"
        assert (await server.stream())["broadcast_id"] == first["id"]
    left = await newest_with(server, "RECONNECTING")
    assert left["end_reason"]
    async with card_publisher(server.rtmp_url()):
        back = await newest_with(server, "ON_AIR")
    assert left["id"] == back["id"] == first["id"]
    assert back["epoch"] > first["epoch"]
    assert len(await rows(server)) == 1
    for event in ("broadcast_started", "broadcast_reconnecting", "broadcast_continued"):
        assert event in server.log()


async def test_after_the_window_it_has_ended() -> None:
    """With a window of 1 s the broadcast ends, and who comes later starts another."""
    async with Server.with_streams(extra_environment={"TALLYLIGHT_RECONNECT_WINDOW_S": "1"}) as server:
        async with card_publisher(server.rtmp_url()):
            first = await newest_with(server, "ON_AIR")
        ended = await newest_with(server, "ENDED")
        assert ended["id"] == first["id"]
        assert ended["ended_at"] >= ended["started_at"]
        assert (await server.stream())["broadcast_id"] is None
        async with card_publisher(server.rtmp_url()):
            second = await newest_with(server, "ON_AIR")
        assert second["id"] != first["id"]
        assert "broadcast_ended" in server.log()


async def test_nothing_is_on_air_after_everything_was_killed(own_server: Server) -> None:
    """`kill -9` of all processes while on air, and a start without a publisher: within 10 s no row is ON_AIR."""
    server = own_server
    async with card_publisher(server.rtmp_url()):
        first = await newest_with(server, "ON_AIR")
        server.kill()
        assert server.process is not None
        server.process.wait()
    await wait_until(lambda: not server.pids(), 5, "every process to be gone")
    await server.start()
    left = await newest_with(server, "RECONNECTING", NOT_ON_AIR_WITHIN_S)
    assert left["id"] == first["id"]
    assert [row["status"] for row in await rows(server)] == ["RECONNECTING"]
