"""The engine's events: replay, reconnecting, and lines that are not as agreed."""

import asyncio
from contextlib import suppress

import pytest

from tallylight.engine.client import EngineClient
from tallylight.engine.events import EventFollower
from tallylight.engine.models import EngineEvent
from tallylight.paths import DataDirectory
from unit.conftest import served
from unit.fake_engine import FakeEngine

AT = "2026-11-25T00:00:00Z"
PATIENCE_S = 10


class Follower:
    """Follows a fake engine and keeps what it hears."""

    def __init__(self, client: EngineClient) -> None:
        self.heard: list[EngineEvent] = []
        self.connections = 0
        self.changed = asyncio.Condition()
        self.task = asyncio.create_task(EventFollower(client, self._on_event, self._on_connected).run())

    async def _on_event(self, event: EngineEvent) -> None:
        async with self.changed:
            self.heard.append(event)
            self.changed.notify_all()

    async def _on_connected(self) -> None:
        async with self.changed:
            self.connections += 1
            self.changed.notify_all()

    async def until_heard(self, *names: str) -> None:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: [event.event for event in self.heard] == list(names))

    async def until_connected(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.connections == times)

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
def engine_with_history() -> FakeEngine:
    engine = FakeEngine()
    for name in ("engine_started", "publish_started"):
        engine.add_event({"at": AT, "event": name, "stream": "main", "protocol": "rtmp"})
    return engine


async def test_history_then_news(data: DataDirectory, engine_with_history: FakeEngine) -> None:
    async with served(engine_with_history, data.engine_socket), EngineClient(data.engine_socket) as client:
        follower = Follower(client)
        await follower.until_heard("engine_started", "publish_started")
        engine_with_history.add_event({"at": AT, "event": "publish_ended", "reason": "finished"})
        await follower.until_heard("engine_started", "publish_started", "publish_ended")
        assert follower.heard[-1].fields() == {"reason": "finished"}
        await follower.stop()


async def test_after_a_lost_connection_nothing_is_heard_twice(
    data: DataDirectory, engine_with_history: FakeEngine
) -> None:
    async with EngineClient(data.engine_socket) as client:
        async with served(engine_with_history, data.engine_socket):
            follower = Follower(client)
            await follower.until_heard("engine_started", "publish_started")
            engine_with_history.hang_up()
            await follower.until_connected(2)
        engine_with_history.add_event({"at": AT, "event": "media_stalled"})
        engine_with_history.hang_up()
        async with served(engine_with_history, data.engine_socket):
            await follower.until_heard("engine_started", "publish_started", "media_stalled")
        await follower.stop()


async def test_a_new_engine_is_heard_from_its_start(data: DataDirectory, engine_with_history: FakeEngine) -> None:
    async with EngineClient(data.engine_socket) as client:
        async with served(engine_with_history, data.engine_socket):
            follower = Follower(client)
            await follower.until_heard("engine_started", "publish_started")
            engine_with_history.hang_up()
        reborn = FakeEngine()
        reborn.add_event({"at": AT, "event": "engine_started"})
        async with served(reborn, data.engine_socket):
            await follower.until_heard("engine_started", "publish_started", "engine_started")
            await follower.stop()


async def test_lines_not_as_agreed_are_passed_over(data: DataDirectory, engine_with_history: FakeEngine) -> None:
    engine_with_history.events[0] = {"surprise": True}
    engine_with_history.events.insert(1, {"event": "events_lost", "oldest": 2})
    async with served(engine_with_history, data.engine_socket), EngineClient(data.engine_socket) as client:
        follower = Follower(client)
        await follower.until_heard("publish_started")
        await follower.stop()
