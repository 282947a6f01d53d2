"""The event log, its names, and `/api/events`."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

import tallylight
from support.waiting import wait_until
from tallylight.accounts.identity import Role
from tallylight.api import events as events_api
from tallylight.api.app import public_app
from tallylight.api.control import MAX_EVENT_READERS, Control
from tallylight.broadcasts.lifecycle import Happening
from tallylight.db import Stream
from tallylight.engine.models import EngineEvent
from tallylight.events import EventLog
from tallylight.events.log import RING_EVENTS
from tallylight.events.names import EVENTS
from unit.fake_engine import FakeEngine
from unit.listening import Listener

PATIENCE_S = 10
SOURCE = Path(tallylight.__file__).parent


def emitted_in_the_source() -> set[str]:
    """Every name written as the first argument of an `emit`."""
    trees = (ast.parse(path.read_text()) for path in SOURCE.rglob("*.py"))
    calls = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "emit" and call.args
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def test_declared_is_what_is_emitted() -> None:
    assert set(EVENTS) == emitted_in_the_source() | set(Happening)


def test_a_name_that_is_not_declared_cannot_be_emitted() -> None:
    with pytest.raises(KeyError):
        EventLog().emit("made_up")


def test_numbers_go_on_after_a_restart() -> None:
    before = EventLog(1_000)
    before.emit("stream_created", stream="a")
    seen = before.newest
    after = EventLog(1_200)
    after.emit("stream_created", stream="b")
    assert after.newest > seen
    lost, event = after.reader(seen).take()
    assert (lost.event, lost.fields) == ("events_lost", {"oldest": event.seq})
    assert event.stream == "b"


def test_a_reader_takes_each_event_once_and_in_order() -> None:
    log = EventLog()
    reader = log.reader()
    for name in ("a", "b"):
        log.emit("stream_created", stream=name)
    assert [event.stream for event in reader.take()] == ["a", "b"]
    assert reader.take() == []
    log.emit("stream_created", stream="c")
    assert [event.stream for event in reader.take()] == ["c"]
    assert [event.stream for event in log.reader(0).take()] == ["a", "b", "c"]
    assert [event.stream for event in log.reader(log.newest - 1).take()] == ["c"]
    assert log.reader(2**53).take() == []


def test_a_slow_reader_is_told_what_it_lost_and_memory_is_bounded() -> None:
    log = EventLog()
    reader = log.reader()
    for number in range(RING_EVENTS + 5):
        log.emit("publish_denied", code=str(number))
    lost, *events = reader.take()
    assert lost.as_dict() | {"at": ""} == {
        "seq": events[0].seq - 1,
        "at": "",
        "event": "events_lost",
        "stream": None,
        "oldest": events[0].seq,
    }
    assert len(events) == RING_EVENTS
    assert (events[0].fields["code"], events[-1].fields["code"]) == ("5", str(RING_EVENTS + 4))


async def test_a_waiting_reader_wakes() -> None:
    log = EventLog()
    reader = log.reader()
    waiting = asyncio.create_task(reader.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    log.emit("stream_created", stream="a")
    await asyncio.wait_for(waiting, PATIENCE_S)


def test_a_session_is_not_told_in_full() -> None:
    log = EventLog()
    reader = log.reader()
    log.emit("publish_denied", session="0123456789abcdef")
    event = {"seq": 1, "at": "2026-11-25T00:00:00Z", "event": "publish_started", "session": "fedcba9876543210"}
    log.copy(EngineEvent.model_validate(event | {"stream": "main", "protocol": "rtmp"}))
    denied, started = (event.as_dict() for event in reader.take())
    assert denied["session"] == "01234567"
    assert (started["session"], started["protocol"], started["at"]) == ("fedcba98", "rtmp", "2026-11-25T00:00:00Z")


@asynccontextmanager
async def listening(client: httpx.AsyncClient, **request: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of an open `/api/events`."""
    async with client.stream("GET", "/api/events", **request) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


async def next_of(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(anext(events), PATIENCE_S)


async def test_what_happens_is_heard(admin_live: httpx.AsyncClient, engine: FakeEngine) -> None:
    async with listening(admin_live) as events:
        await admin_live.post("/api/streams", json={"name": "stage"})
        created = await next_of(events)
        assert (created["event"], created["stream"]) == ("stream_created", "stage")
        await admin_live.post("/api/streams/stage/rotate-key")
        assert (await next_of(events))["event"] == "stream_key_rotated"
        engine.add_event({"at": "2026-11-25T00:00:00Z", "event": "media_stalled", "stream": "stage"})
        assert (await next_of(events))["event"] == "media_stalled"


async def test_missed_events_are_replayed(admin_live: httpx.AsyncClient, control: Control) -> None:
    for name in ("a", "b", "c"):
        control.events.emit("stream_created", stream=name)
    first = control.events.newest - 2
    async with listening(admin_live, headers={"Last-Event-ID": str(first)}) as events:
        assert [(await next_of(events))["stream"] for _ in range(2)] == ["b", "c"]
    async with listening(admin_live, params={"after": first, "stream": "c"}) as events:
        assert (await next_of(events))["stream"] == "c"


async def test_a_quiet_log_keeps_the_connection_alive(
    admin_live: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "KEEP_ALIVE_S", 0.01)
    async with admin_live.stream("GET", "/api/events") as answer:
        lines = answer.aiter_lines()
        while await asyncio.wait_for(anext(lines), PATIENCE_S) != ": keep-alive":
            pass


@pytest.mark.parametrize("turns", range(8))
async def test_an_event_at_the_moment_of_leaving_keeps_nobody(control: Control, turns: int) -> None:
    """An event that comes while the one who waits for it leaves: the leaving must not be forgotten over it."""
    headers = {"Authorization": f"Bearer {control.admin_token}"}
    async with Listener(public_app(control), "/api/events", headers) as listener:
        await listener.piece()
        control.events.emit("stream_created", stream="before")
        await listener.event()
        listener.leave()
        for _ in range(turns):
            await asyncio.sleep(0)
        control.events.emit("stream_created", stream="at that moment")
    assert control.event_seats.taken == 0


async def test_at_most_so_many_listen(admin_live: httpx.AsyncClient, control: Control) -> None:
    async with listening(admin_live):
        await wait_until(lambda: control.event_seats.taken == 1, PATIENCE_S, "the listener's seat")
        control.event_seats.taken += MAX_EVENT_READERS - 1
        refused = await admin_live.get("/api/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_listeners")
        control.event_seats.taken -= MAX_EVENT_READERS - 1
    await wait_until(lambda: control.event_seats.taken == 0, PATIENCE_S, "the seat to be free again")


async def signed_in(control: Control, name: str, role: Role) -> dict[str, str]:
    """Headers of a new user, who owns a stream of that name."""
    user = await control.accounts.users.create(name, role, "x")
    token = await control.accounts.tokens.create(user, "t", ["read"], datetime.now(UTC), None)
    await control.streams.create(name)
    async with control.database.session() as session:
        await session.execute(update(Stream).where(Stream.name == name).values(owner_id=user.id))
    return {"Authorization": f"Bearer {token.secret}"}


async def test_a_streamer_hears_of_streams_of_their_own(
    admin_live: httpx.AsyncClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "MIN_INTERVAL_S", 0)
    headers = {"ada": await signed_in(control, "ada", "streamer"), "root": await signed_in(control, "root", "admin")}
    before = control.events.newest
    for stream in ("root", None, "ada"):
        control.events.emit("publish_denied", stream=stream, code=f"of {stream}")
    control.events.emit("webhook_failed", stream="ada")
    control.events.emit("publish_denied", stream="ada", code="last")
    heard: dict[str, list[str]] = {}
    for name, header in headers.items():
        async with listening(admin_live, params={"after": before}, headers=header) as events:
            heard[name] = []
            while not heard[name] or heard[name][-1] != "last":
                event = await next_of(events)
                heard[name].append(event.get("code", event["event"]))
    assert heard == {
        "ada": ["of ada", "last"],
        "root": ["of root", "of None", "of ada", "webhook_failed", "last"],
    }


async def test_who_takes_a_deleted_streams_name_hears_of_their_own_only(
    admin_live: httpx.AsyncClient, control: Control, engine: FakeEngine
) -> None:
    yesterday = {"at": "2026-01-01T00:00:00.000Z", "event": "publish_started", "stream": "ada", "session": "s"}
    control.events.copy(EngineEvent.model_validate(yesterday | {"seq": 1}))
    header = await signed_in(control, "ada", "streamer")
    control.events.emit("stream_created", stream="ada")
    async with listening(admin_live, params={"after": 0}, headers=header) as events:
        assert (await next_of(events))["event"] == "stream_created"


async def test_a_streamer_is_told_what_was_lost(admin_live: httpx.AsyncClient, control: Control) -> None:
    header = await signed_in(control, "ada", "streamer")
    async with listening(admin_live, params={"after": 1}, headers=header) as events:
        assert (await next_of(events))["event"] == "events_lost"


async def test_who_lost_the_right_hears_nothing_more(
    admin_live: httpx.AsyncClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_api, "CHECK_S", 0)
    header = await signed_in(control, "root", "admin")
    async with admin_live.stream("GET", "/api/events", headers=header) as answer:
        assert answer.status_code == 200
        await control.change_user("root", disabled=True)
        await asyncio.wait_for(answer.aread(), PATIENCE_S)


async def test_who_hears_comes_back_when_the_database_is_back(
    admin_live: httpx.AsyncClient, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = await signed_in(control, "ada", "streamer")

    async def broken(_user_id: int) -> None:
        raise OperationalError("planted", {}, Exception())

    async with admin_live.stream("GET", "/api/events", headers=header) as answer:
        monkeypatch.setattr(control.streams, "owned_by", broken)
        control.events.emit("publish_denied", stream="ada")
        await asyncio.wait_for(answer.aread(), PATIENCE_S)
    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=1e99", "stream=" + "x" * 300])
async def test_what_is_not_valid_is_refused(admin: httpx.AsyncClient, query: str) -> None:
    assert (await admin.get(f"/api/events?{query}")).status_code == 422


async def test_strangers_hear_nothing(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/events")).status_code == 401
