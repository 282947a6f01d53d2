"""The registry of processors, its route, and what stream-status makes of both."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from support.waiting import wait_until
from tallylight.api.control import Control
from tallylight.diagnosis.processors import (
    LEASE_S,
    MAX_PROCESSORS,
    REMEMBERED_S,
    ProcessorLedger,
    ProcessorRegistry,
    TooManyProcessorsError,
)
from tallylight.diagnosis.sampler import WINDOW_S, LedgerSampler
from tallylight.engine.models import StreamStatus
from unit.fake_engine import FakeEngine
from unit.test_api import assert_problem, on_air

STARTED = datetime(2026, 11, 25, tzinfo=UTC)


def ledger(frames: int = 30, **fields: Any) -> dict[str, Any]:
    side = {"frames": frames, "bytes": 1000 * frames, "errors": 0, "age_ms": 12.5}
    values = {
        "name": "videoProcess", "input": "main", "output": "main-processed", "pid": 7, "state": "running",
        "error": None, "started_at": STARTED.isoformat(), "in": side, "out": side,
        "queue": {"length": 1, "age_ms": 3.5, "dropped": 0}, "fps_in": 30.0, "fps_out": 30.0,
    }  # fmt: skip
    return values | fields


def parsed(frames: int = 30, **fields: Any) -> ProcessorLedger:
    return ProcessorLedger.model_validate(ledger(frames, **fields))


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_lease_ends_without_reports_and_the_end_is_remembered_for_a_while() -> None:
    clock = Clock()
    registry = ProcessorRegistry(clock)
    assert registry.report("a", parsed(30)) is None
    clock.now_s += 2
    assert registry.report("a", parsed(90)) is not None
    (view,) = registry.all()
    assert (view.id, view.gone, view.frames_in_moved, view.frames_out_moved) == ("a", False, 60, 60)
    before_s = clock.now_s
    clock.now_s += LEASE_S + 1
    assert [view.id for view in registry.newly_gone(before_s)] == ["a"]
    assert registry.newly_gone(clock.now_s) == []
    assert registry.all()[0].gone
    clock.now_s += REMEMBERED_S
    assert registry.all() == []


def test_a_successor_takes_the_place_of_one_that_is_gone() -> None:
    clock = Clock()
    registry = ProcessorRegistry(clock)
    registry.report("a", parsed())
    clock.now_s += LEASE_S + 1
    registry.report("b", parsed(name="another"))
    assert [view.id for view in registry.all()] == ["b", "a"]
    registry.report("c", parsed())
    assert [view.id for view in registry.all()] == ["b", "c"]


def test_counters_of_another_start_are_not_compared() -> None:
    registry = ProcessorRegistry(Clock())
    registry.report("a", parsed(500))
    registry.report("a", parsed(3, started_at=datetime(2026, 11, 26, tzinfo=UTC)))
    assert registry.all()[0].frames_in_moved is None


def test_the_table_is_bounded_and_only_the_dead_make_room() -> None:
    clock = Clock()
    registry = ProcessorRegistry(clock)
    for number in range(MAX_PROCESSORS):
        registry.report(f"p{number}", parsed(input=f"stream-{number}"))
    with pytest.raises(TooManyProcessorsError):
        registry.report("one-more", parsed())
    clock.now_s += LEASE_S + 1
    registry.report("one-more", parsed())
    assert len(registry.all()) == MAX_PROCESSORS


async def test_a_ledger_is_taken_shown_and_taken_back(internal: httpx.AsyncClient, control: Control) -> None:
    assert (await internal.post("/internal/processors/p1/ledger", json=ledger())).status_code == 204
    status = (await internal.get("/internal/stream-status/main")).json()
    (shown,) = status["processors"]
    assert shown.pop("seen_at")
    assert shown == {**ledger(), "started_at": "2026-11-25T00:00:00Z", "id": "p1", "gone": False}
    made = (await control.streams.create("main-processed", "")).stream.name
    assert (await internal.get(f"/internal/stream-status/{made}")).json()["processors"][0]["id"] == "p1"
    failed = ledger(state="failed", error={"code": "source_refused", "sentence": "No."})
    for sentence in ("On picture 1.", "On picture 2."):
        failed["error"]["sentence"] = sentence
        await internal.post("/internal/processors/p1/ledger", json=failed)
    assert (await internal.get("/internal/stream-status/main")).json()["cause"]["code"] == "process.failed"
    assert (await internal.delete("/internal/processors/p1")).status_code == 204
    assert (await internal.delete("/internal/processors/p1")).status_code == 204
    assert (await internal.get("/internal/stream-status/main")).json()["processors"] == []
    events = [event.event for event in control.events.after(0) if event.event.startswith("processor_")]
    assert events == ["processor_started", "processor_failed", "processor_ended"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "happy"},
        {"input": "No Such Name"},
        {"in": {"frames": -1, "bytes": 0, "errors": 0, "age_ms": None}},
        {"fps_in": 1e9},
        {"pid": 0},
        {"error": {"code": "x", "sentence": "y" * 501}},
        {"more": 1},
        {"name": "<b>"},
    ],
)
async def test_what_is_not_a_ledger_is_refused(internal: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    answer = await internal.post("/internal/processors/p1/ledger", json=ledger() | wrong)
    assert_problem(answer, 422, "request_invalid")


async def test_too_many_processors_are_told_so(internal: httpx.AsyncClient) -> None:
    for number in range(MAX_PROCESSORS):
        await internal.post(f"/internal/processors/p{number}/ledger", json=ledger())
    answer = await internal.post("/internal/processors/more/ledger", json=ledger())
    assert_problem(answer, 503, "too_many_processors")
    assert_problem(await internal.post("/internal/processors/a b/ledger", json=ledger()), 422, "request_invalid")


async def test_a_refused_token_is_the_cause_until_somebody_is_let_in(
    internal: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    engine.streams["main"] = on_air("main", media_age_ms=20.0)
    wrong = {"Authorization": "Bearer guess"}
    for _ in range(3):
        assert_problem(await internal.get("/internal/videoExpose?stream=main", headers=wrong), 401, "token_wrong")
    status = (await internal.get("/internal/stream-status/main")).json()
    assert status["cause"]["code"] == "expose.token_rejected"
    assert "3 times" in status["cause"]["sentence"]
    assert status["ledger"]["expose"]["out"] == {"bytes": 0, "errors": 3}
    assert [(step["name"], step["state"]) for step in status["chain"]][2:5] == [
        ("request", "ok"),
        ("route", "fail"),
        ("process", "waiting"),
    ]
    rejected = [event for event in control.events.after(0) if event.event == "internal_token_rejected"]
    assert [(event.stream, event.fields["code"]) for event in rejected] == [("main", "token_wrong")]
    await internal.get("/internal/videoExpose?stream=main", headers={"Accept": "application/json"})
    assert (await internal.get("/internal/stream-status/main")).json()["cause"] is None
    # Who names no stream asks for the newest.
    await internal.get("/internal/videoExpose", headers=wrong)
    assert (await internal.get("/internal/stream-status/main")).json()["cause"]["code"] == "expose.token_rejected"


async def test_stream_status_by_broadcast_and_without_an_engine(
    internal: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    engine.streams["main"] = on_air("main", media_age_ms=20.0)
    engine.add_event({"at": "2026-11-25T00:00:00Z", "event": "publish_started", "stream": "main"})

    async def broadcast() -> Any:
        return (await internal.get("/internal/stream-status/main")).json()["broadcast"]

    known = await wait_until(broadcast, 10, "the broadcast to be written")
    by_id = (await internal.get(f"/internal/stream-status/{known['id']}")).json()
    assert (by_id["name"], by_id["broadcast"]["id"]) == ("main", known["id"])
    assert by_id["chain"][0]["state"] == "ok"
    engine.refuse = True
    away = (await internal.get("/internal/stream-status/main")).json()
    assert away["cause"]["code"] == "engine.away"
    assert {lamp["link"]: lamp["state"] for lamp in away["links"]}["deliver"] == "waiting"
    assert (await control.diagnosis.reports())["main"].cause is not None


def sampled(count: int) -> StreamStatus:
    side = {"bytes": count, "access_units": count, "keyframes": count // 100, "errors": 0, "dropped": 0, "age_ms": 3}
    return StreamStatus.model_validate(on_air("main", ledger={"ingest": {"in": side, "out": side}}))


async def test_a_window_needs_two_samples_and_one_engine(control: Control) -> None:
    clock = Clock()
    sampler = LedgerSampler(control.engine, control.diagnosis.expose, control.settings.data_dir, clock)
    assert sampler.window(sampled(100)) is None
    sampler.take([sampled(100)])
    assert sampler.window(sampled(100)) is None
    clock.now_s += WINDOW_S
    window = sampler.window(sampled(350))
    assert window is not None
    assert (window.seconds, window.at("ingest", "in").bytes, window.at("ingest", "in").keyframes) == (WINDOW_S, 250, 2)
    assert window.keyframe_age_s == WINDOW_S
    # Counters that went back are those of another engine.
    assert sampler.window(sampled(10)) is None
    sampler.take([])
    assert sampler.window(sampled(350)) is None


async def test_who_manages_a_stream_sees_its_report_without_addresses(
    api: httpx.AsyncClient, admin: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.streams["main"] = on_air("main", media_age_ms=20.0)
    engine.sessions = [
        {"id": "a", "kind": "whep", "stream": "main", "state": "connected", "age_s": 1.0, "remote": "192.0.2.7:4000"}
        | {"packets": 3, "bytes": 900}
    ]
    assert_problem(await api.get("/api/streams/main/status"), 401, "sign_in_needed")
    assert_problem(await admin.get("/api/streams/nobody/status"), 404, "stream_unknown")
    answer = await admin.get("/api/streams/main/status")
    status = answer.json()
    assert [lamp["link"] for lamp in status["links"]][-1] == "deliver"
    assert [(session["id"], session["remote"]) for session in status["consumers"]] == [("a", None)]
    assert "192.0.2.7" not in answer.text
