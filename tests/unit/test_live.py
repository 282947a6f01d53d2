"""`/api/live` against a fake engine: what listeners are told, how often the engine is asked, and who is let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from tallylight.accounts.accounts import Accounts
from tallylight.accounts.identity import ANONYMOUS, Identity
from tallylight.api import live, sse
from tallylight.api.app import public_app
from tallylight.api.control import Control
from tallylight.telemetry.streams_now import StreamNow
from unit.fake_engine import FakeEngine
from unit.listening import Listener
from unit.test_api import assert_problem, on_air


@pytest.fixture
async def app(control: Control, no_blocking_calls: None) -> AsyncIterator[FastAPI]:
    app = public_app(control)
    yield app
    assert app.state.live.seats.taken == 0, "every place is free again"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, so that tests need not wait; refreshes hardly ever, so that each event is a change."""
    monkeypatch.setattr(live, "INTERVAL_S", 0.02)
    monkeypatch.setattr(live, "REFRESH_S", 60.0)


async def test_the_list_at_once_and_after_each_change(quick: None, app: FastAPI, engine: FakeEngine) -> None:
    async with Listener(app, "/api/live") as listener:
        assert (listener.status, listener.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert listener.headers["cache-control"] == "no-store"
        name, first = await listener.event()
        assert name == "streams"
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert first == (await client.get("/api/streams")).json()
        engine.streams["main"] = on_air("main", media_age_ms=1.0)
        await listener.until(
            lambda data: data["streams"][0]["status"] == "ON_AIR" and data["streams"][0]["broadcast_id"]
        )
        engine.streams["main"] = on_air("main", media_age_ms=3.0, viewers={"webrtc": 1})
        (stream,) = (await listener.event())[1]["streams"]
        assert (stream["viewers"], stream["media_age_ms"]) == ({"webrtc": 1, "hls": 0}, 3.0)


async def test_what_only_moves_is_sent_now_and_then(
    quick: None, app: FastAPI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REFRESH_S", 0.2)
    engine.streams["main"] = on_air("main", session=None, media_age_ms=1.0)
    async with Listener(app, "/api/live") as listener:
        await listener.event()
        began_s = time.monotonic()
        engine.streams["main"] = on_air("main", session=None, media_age_ms=2.0)
        assert (await listener.event())[1]["streams"][0]["media_age_ms"] == 2.0
        assert time.monotonic() - began_s > 0.1


async def test_each_listener_sees_what_it_may(
    quick: None, app: FastAPI, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private streams only with the right to them, and only as long as it lasts."""
    monkeypatch.setattr(live, "REFRESH_S", 0.05)
    await control.streams.create("hidden", "")
    async with control.database.session() as session:
        (await session.merge(await control.streams.get("hidden"))).visibility = "private"
    async with Listener(app, "/api/live") as listener:
        assert [stream["name"] for stream in (await listener.event())[1]["streams"]] == ["main"]
    token = {"Authorization": f"Bearer {control.admin_token}"}
    async with Listener(app, "/api/live", token) as listener:
        assert [stream["name"] for stream in (await listener.event())[1]["streams"]] == ["hidden", "main"]

        async def by_token(_accounts: Accounts, _token: str) -> Identity:
            return ANONYMOUS

        monkeypatch.setattr(Accounts, "by_token", by_token)
        await listener.until(lambda data: [stream["name"] for stream in data["streams"]] == ["main"])


async def test_the_engine_is_asked_once_for_all_and_never_for_nobody(
    app: FastAPI, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    real = control.streams_now.all

    async def counted() -> tuple[StreamNow, ...]:
        nonlocal asked
        asked += 1
        return await real()

    monkeypatch.setattr(control.streams_now, "all", counted)
    began_s = time.monotonic()

    def due() -> int:
        """How often it may have been asked by now, by the first of them and then by the clock."""
        return 1 + int((time.monotonic() - began_s) / live.INTERVAL_S)

    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(Listener(app, "/api/live")) for _ in range(20)]
        for listener in listeners:
            await listener.event()
        assert 1 <= asked <= due()
        await control.streams.create("another", "")
        for listener in listeners:
            await listener.until(lambda data: len(data["streams"]) == 2)
        assert asked <= due()
    before = asked
    for _ in range(100):
        await asyncio.sleep(0)
    assert asked == before


async def test_listeners_are_bounded(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    app.state.live.seats = sse.Seats(1)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        async with Listener(app, "/api/live") as listener:
            await listener.event()
            refused = await client.get("/api/live")
            assert_problem(refused, 503, "too_many_listeners")
            assert refused.headers["retry-after"] == "1"
        async with Listener(app, "/api/live") as listener:
            assert listener.status == 200


async def test_a_listener_that_takes_nothing_is_let_go(
    quick: None, app: FastAPI, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STALLED_S", 0.05)
    async with Listener(app, "/api/live") as listener:
        await listener.event()
        listener.deaf = True
        engine.streams["main"] = on_air("main")
        await listener.ended()


async def test_an_engine_that_is_away(quick: None, app: FastAPI, engine: FakeEngine) -> None:
    async with Listener(app, "/api/live") as listener:
        await listener.event()
        engine.refuse = True
        assert (await listener.piece()).startswith(":")
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert_problem(await client.get("/api/live"), 503, "engine_away")
        engine.refuse = False
        engine.streams["main"] = on_air("main")
        await listener.until(lambda data: data["streams"][0]["status"] == "ON_AIR")
