"""Broadcasts against a fake engine that behaves: the reconciler, restarts, and the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from support.waiting import wait_until
from tallylight.api.app import public_app
from tallylight.api.control import Control, open_control
from tallylight.broadcasts.lifecycle import LEASE, Broadcast, Change, Happening, Status
from tallylight.broadcasts.reconciler import Reconciler
from tallylight.broadcasts.store import BroadcastStore
from tallylight.config import Settings
from tallylight.db import Database
from tallylight.engine.client import EngineClient
from tallylight.engine.models import off_air
from tallylight.events import EventLog
from tallylight.paths import DataDirectory
from tallylight.streams.store import StreamStore
from unit.conftest import served
from unit.fake_engine import FakeEngine

ON_BOTH_DATABASES = True
PATIENCE_S = 10
AT = "2026-11-25T00:00:00Z"


def on_air(epoch: int, name: str = "main", **fields: Any) -> dict[str, Any]:
    facts = {"status": "ON_AIR", "stream_type": "RTMP_STREAM", "session": f"s{epoch}", "epoch": epoch}
    return off_air(name).model_dump() | facts | {"media_age_ms": 20, "viewers": {"webrtc": 2}} | fields


def gone(epoch: int, name: str = "main") -> dict[str, Any]:
    return off_air(name).model_dump() | {"epoch": epoch, "last_end": "finished"}


def stale_row(**fields: Any) -> Broadcast:
    """A broadcast that a server left on air when it was killed."""
    last_media_at = datetime.now(UTC) - timedelta(seconds=9)
    row = Broadcast(
        id="left",
        stream="main",
        title="",
        status=Status.ON_AIR,
        stream_type="RTMP_STREAM",
        session="s1",
        epoch=1,
        boot_id="before",
        started_at=last_media_at,
        last_media_at=last_media_at,
        expires_at=last_media_at + LEASE,
    )
    return replace(row, **fields)


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Stage:
    """A reconciler that runs when told to, on a clock of its own."""

    def __init__(
        self,
        engine: FakeEngine,
        streams: StreamStore,
        broadcasts: BroadcastStore,
        reconciler: Reconciler,
        clock: Clock,
    ) -> None:
        self.engine = engine
        self.streams = streams
        self.broadcasts = broadcasts
        self.reconciler = reconciler
        self.clock = clock

    async def after(self, seconds: float, *streams: dict[str, Any]) -> list[Broadcast]:
        """Newest first, once the engine says this."""
        self.engine.streams = {stream["name"]: stream for stream in streams}
        self.clock.passes(seconds)
        await self.reconciler.reconcile()
        return await self.broadcasts.newest(10)


@pytest.fixture
async def stage(data: DataDirectory, engine: FakeEngine, database: Database) -> AsyncIterator[Stage]:
    streams = StreamStore(database, data.first_run)
    await streams.create("main", "The main one")
    broadcasts, clock = BroadcastStore(database), Clock()
    async with EngineClient(data.engine_socket) as client:
        reconciler = Reconciler(client, streams, broadcasts, 60, EventLog(), clock=clock)
        yield Stage(engine, streams, broadcasts, reconciler, clock)


async def test_a_broadcast_from_start_to_end(stage: Stage) -> None:
    (started,) = await stage.after(0, on_air(1))
    assert (started.status, started.title, started.stream_type) == (Status.ON_AIR, "The main one", "RTMP_STREAM")
    assert (started.session, started.epoch, started.boot_id) == ("s1", 1, stage.engine.boot_id)
    (waiting,) = await stage.after(2, gone(1))
    assert (waiting.status, waiting.end_reason) == (Status.RECONNECTING, "finished")
    (back,) = await stage.after(30, on_air(2))
    assert (back.id, back.status, back.epoch, back.peak_viewers) == (started.id, Status.ON_AIR, 2, 2)
    await stage.after(2, gone(2))
    (ended,) = await stage.after(60, gone(2))
    assert (ended.id, ended.status) == (started.id, Status.ENDED)
    newest, oldest = await stage.after(1, on_air(3))
    assert (oldest, newest.status) == (ended, Status.ON_AIR)


async def test_streams_that_are_not_ours_have_no_broadcasts(stage: Stage) -> None:
    assert await stage.after(0, on_air(1, "stranger")) == []


async def test_the_broadcast_of_a_deleted_stream_ends_at_once(stage: Stage) -> None:
    await stage.after(0, on_air(1))
    await stage.streams.delete("main")
    (ended,) = await stage.after(1, on_air(1))
    assert (ended.status, ended.end_reason) == (Status.ENDED, "removed")


async def test_a_pass_that_fails_is_not_the_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile, failures = stage.reconciler.reconcile, [RuntimeError("planted")]

    async def fail_once() -> None:
        stage.reconciler.hint("publish_started")
        if failures:
            raise failures.pop()
        await reconcile()

    monkeypatch.setattr(stage.reconciler, "reconcile", fail_once)
    stage.engine.streams["main"] = on_air(1)
    task = asyncio.create_task(stage.reconciler.run())
    await wait_until(lambda: stage.broadcasts.newest(10), PATIENCE_S, "a broadcast after the failure")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_of_no_use_is_waited_for(stage: Stage) -> None:
    await stage.after(0, on_air(1))
    stage.engine.refuse = True
    (waiting,) = await stage.after(600, on_air(1))
    assert (waiting.status, waiting.end_reason) == (Status.RECONNECTING, "engine_away")
    stage.engine.refuse = False
    (back,) = await stage.after(1, on_air(1))
    assert (back.id, back.status) == (waiting.id, Status.ON_AIR)


async def test_a_change_of_a_row_that_is_not_as_it_was_is_not_made(stage: Stage) -> None:
    (first,) = await stage.after(0, on_air(1))
    await stage.after(2, on_air(2))
    late_end = Change(first, replace(first, status=Status.ENDED), None)
    assert await stage.broadcasts.apply([late_end]) == []
    (row,) = await stage.broadcasts.newest(10)
    assert (row.status, row.epoch) == (Status.ON_AIR, 2)


async def test_an_end_that_comes_30_seconds_late_ends_nothing(stage: Stage) -> None:
    """The end of epoch 1 is held back while epoch 2 is on air: as the change of the row, and as the engine's word."""
    (first,) = await stage.after(0, on_air(1))
    held_back = Change(first, replace(first, status=Status.ENDED, end_reason="finished"), Happening.ENDED)
    for _ in range(15):
        (row,) = await stage.after(2, on_air(2))
    assert stage.clock.now - first.started_at >= timedelta(seconds=30)
    assert await stage.broadcasts.apply([held_back]) == []
    assert await stage.after(0, gone(1)) == [row]
    (after,) = await stage.after(2, on_air(2))
    assert (after.id, after.status, after.epoch, after.end_reason) == (first.id, Status.ON_AIR, 2, None)
    # The end of the epoch that is on air does count.
    (after,) = await stage.after(2, gone(2))
    assert after.status is Status.RECONNECTING


async def test_a_stream_has_no_second_open_broadcast(stage: Stage) -> None:
    (first,) = await stage.after(0, on_air(1))
    assert await stage.broadcasts.apply([Change(None, replace(first, id="second"), None)]) == []
    assert await stage.broadcasts.newest(10) == [first]


async def test_a_late_end_of_an_old_epoch_ends_nothing(control: Control, engine: FakeEngine) -> None:
    engine.streams["main"] = on_air(2)
    engine.add_event({"at": AT, "event": "publish_started", "stream": "main", "session": "s2", "epoch": 2})
    (started,) = await wait_until(lambda: control.broadcasts.newest(10), PATIENCE_S, "a broadcast")
    renewed = started.expires_at
    engine.add_event({"at": AT, "event": "publish_ended", "stream": "main", "session": "s1", "epoch": 1})
    engine.streams["main"] = on_air(2, viewers={"webrtc": 7})

    async def looked_again() -> bool:
        (row,) = await control.broadcasts.newest(10)
        assert (row.id, row.status, row.end_reason) == (started.id, Status.ON_AIR, None)
        return row.expires_at > renewed and row.peak_viewers == 7

    await wait_until(looked_again, PATIENCE_S, "the lease to be renewed")


async def test_after_a_restart_nothing_is_left_on_air(
    data: DataDirectory, settings: Settings, database: Database
) -> None:
    """The row is not on air from the first answer on, whether or not the engine answers."""
    await BroadcastStore(database).apply([Change(None, stale_row(), None)])
    async with open_control(settings, data) as control:
        transport = httpx.ASGITransport(app=public_app(control))
        headers = {"Authorization": f"Bearer {control.admin_token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as api:
            assert (await api.get("/api/broadcasts/left")).json()["status"] == "RECONNECTING"
            async with served(FakeEngine(), data.engine_socket):
                await wait_until(
                    lambda: _has_status(control, Status.RECONNECTING), PATIENCE_S, "the row to be set right"
                )


async def test_after_a_restart_an_old_row_ends(
    data: DataDirectory, settings: Settings, database: Database, engine: FakeEngine
) -> None:
    hours_ago = datetime.now(UTC) - timedelta(hours=2)
    row = stale_row(started_at=hours_ago, last_media_at=hours_ago, expires_at=hours_ago + LEASE)
    await BroadcastStore(database).apply([Change(None, row, None)])
    async with open_control(settings, data) as control:
        await wait_until(lambda: _has_status(control, Status.ENDED), PATIENCE_S, "the row to end")
        assert (await control.broadcasts.get("left")).ended_at == hours_ago


async def test_a_publisher_that_stayed_on_air_through_a_restart_goes_on(
    data: DataDirectory, settings: Settings, database: Database, engine: FakeEngine
) -> None:
    await StreamStore(database, data.first_run).create("main")
    row = stale_row(boot_id=engine.boot_id)
    await BroadcastStore(database).apply([Change(None, row, None)])
    engine.streams["main"] = on_air(1)
    async with open_control(settings, data) as control:

        async def renewed() -> bool:
            now = await control.broadcasts.get("left")
            return now.status is Status.ON_AIR and now.expires_at > row.expires_at

        await wait_until(renewed, PATIENCE_S, "the lease to be renewed")


async def _has_status(control: Control, status: Status) -> bool:
    return (await control.broadcasts.get("left")).status is status


async def test_api_lists_the_newest_first_page_by_page(api: httpx.AsyncClient, control: Control) -> None:
    for name in "ab":
        await control.streams.create(name)
    now = datetime.now(UTC)
    rows = [
        stale_row(id=f"{number}", status=Status.ENDED, stream="ab"[number % 2], started_at=now) for number in range(5)
    ]
    await control.broadcasts.apply([Change(None, row, None) for row in rows])
    first = (await api.get("/api/broadcasts", params={"limit": 2})).json()
    assert [row["id"] for row in first["broadcasts"]] == ["4", "3"]
    second = (await api.get("/api/broadcasts", params={"limit": 2, "before": first["next"]})).json()
    assert [row["id"] for row in second["broadcasts"]] == ["2", "1"]
    last = (await api.get("/api/broadcasts", params={"limit": 2, "before": second["next"]})).json()
    assert ([row["id"] for row in last["broadcasts"]], last["next"]) == (["0"], None)
    of_one = (await api.get("/api/broadcasts", params={"stream": "b"})).json()
    assert [row["id"] for row in of_one["broadcasts"]] == ["3", "1"]


async def test_api_shows_one_and_its_stream_names_it(
    api: httpx.AsyncClient, control: Control, engine: FakeEngine
) -> None:
    engine.streams["main"] = on_air(1)
    engine.add_event({"at": AT, "event": "publish_started", "stream": "main", "session": "s1"})
    (row,) = await wait_until(lambda: control.broadcasts.newest(10), PATIENCE_S, "a broadcast")
    shown = (await api.get(f"/api/broadcasts/{row.id}")).json()
    assert (shown["id"], shown["stream"], shown["status"]) == (row.id, "main", "ON_AIR")
    assert (await api.get("/api/streams/main")).json()["broadcast_id"] == row.id
    assert (await api.get("/api/streams")).json()["streams"][0]["broadcast_id"] == row.id


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/broadcasts/none", 404, "broadcast_unknown"),
        ("/api/broadcasts?before=none", 404, "broadcast_unknown"),
        ("/api/broadcasts?limit=0", 422, "request_invalid"),
        ("/api/broadcasts?limit=101", 422, "request_invalid"),
        ("/api/broadcasts?limit=many", 422, "request_invalid"),
    ],
)
async def test_api_errors_are_problems(api: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_many_hints_are_one_pass(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[None] = []
    enough = asyncio.Event()

    async def counted() -> None:
        passes.append(None)
        if len(passes) == 1:
            for _ in range(100):
                stage.reconciler.hint("publish_ended")
        else:
            enough.set()

    monkeypatch.setattr(stage.reconciler, "reconcile", counted)
    task = asyncio.create_task(stage.reconciler.run())
    await asyncio.wait_for(enough.wait(), PATIENCE_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(passes) == 2
