"""The dashboard against a fake engine: who may see it, its shape, and what it says when parts are away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from tallylight.accounts.accounts import Accounts
from tallylight.accounts.identity import ANONYMOUS, Identity
from tallylight.api.app import public_app
from tallylight.api.control import Control
from tallylight.api.sse import Seats
from tallylight.diagnosis.processors import ProcessorLedger
from tallylight.telemetry import sampler as sampling
from unit.fake_engine import FakeEngine
from unit.listening import Listener
from unit.test_api import assert_problem, on_air

LINKS = ["host", "control", "engine", "capture", "ingest", "package", "expose", "process", "deliver"]
SERIES = {"viewers_webrtc", "viewers_hls", "egress_bps", "ingress_bps", "cpu_percent", "rss_bytes"}
PATHS = ("/api/dashboard", "/api/dashboard/live")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "INTERVAL_S", 0.05)


@pytest.fixture
async def app(control: Control, no_blocking_calls: None) -> AsyncIterator[FastAPI]:
    app = public_app(control)
    yield app
    assert app.state.live_dashboard.seats.taken == 0


@pytest.fixture
def token(control: Control) -> dict[str, str]:
    return {"Authorization": f"Bearer {control.admin_token}"}


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_for_administrators(api: httpx.AsyncClient, control: Control, path: str) -> None:
    assert_problem(await api.get(path), 401, "sign_in_needed")
    assert_problem(await api.get(path, headers={"Authorization": "Bearer wrong"}), 401, "token_wrong")


async def test_everything_at_a_glance(admin: httpx.AsyncClient, engine: FakeEngine, control: Control) -> None:
    await control.streams.create("silent", "Nobody there")
    engine.statistics = {"webrtc.bytes_out": 0}
    engine.streams["main"] = on_air("main", viewers={"webrtc": 2, "hls": 1}, started_at="2126-11-25T00:00:00.000Z")
    engine.streams["deleted"] = on_air("deleted", status="OFF_AIR", session=None)
    await fresh_sample(control)
    seen = (await admin.get("/api/dashboard")).json()
    server = seen["server"]
    assert {process["name"] for process in server["processes"]} >= {"supervisor", "control", "engine", "posters"}
    assert server["uptime_s"] > 0
    assert server["loop_delay_ms"] >= 0
    assert server["database_ms"] > 0
    assert server["memory"]["rss_bytes"] > 0
    assert server["disk"]["free_bytes"] <= server["disk"]["total_bytes"]
    samples = seen["samples"]
    assert samples.keys() == SERIES | {"interval_s", "at"}
    assert {len(samples[name]) for name in SERIES} == {len(samples["at"])}
    assert (samples["viewers_webrtc"][-1], samples["viewers_hls"][-1]) == (2, 1)
    assert [stream["name"] for stream in seen["streams"]] == ["main", "silent"]
    main, silent = seen["streams"]
    assert (main["status"], main["viewers"], main["started_at"]) == (
        "ON_AIR",
        {"webrtc": 2, "hls": 1},
        "2126-11-25T00:00:00.000Z",
    )
    assert (silent["title"], silent["status"], silent["ingress_bps"]) == ("Nobody there", "OFF_AIR", None)
    for stream in seen["streams"]:
        assert [lamp["link"] for lamp in stream["links"]] == LINKS
    assert seen["processors"] == []


async def test_live_is_the_same_with_the_newest_sample_each_time(
    app: FastAPI, token: dict[str, str], engine: FakeEngine, control: Control
) -> None:
    engine.streams["main"] = on_air("main")
    await fresh_sample(control)
    async with Listener(app, "/api/dashboard/live", token) as listener, Listener(app, PATHS[1], token) as another:
        name, first = await listener.event()
        assert name == "dashboard"
        second = (await listener.event())[1]
        for seen in (first, second):
            assert {len(seen["samples"][name]) for name in (*SERIES, "at")} == {1}
        assert second["samples"]["at"] > first["samples"]["at"]
        await another.until(lambda seen: seen["samples"]["at"] >= second["samples"]["at"])
        processor(control)
        await listener.until(lambda seen: [processor["name"] for processor in seen["processors"]] == ["draw"])


async def test_live_ends_for_who_is_no_administrator_any_more(
    app: FastAPI, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Listener(app, "/api/dashboard/live", token) as listener:
        await listener.event()

        async def by_token(_accounts: Accounts, _token: str) -> Identity:
            return ANONYMOUS

        monkeypatch.setattr(Accounts, "by_token", by_token)
        await listener.ended()


async def test_listeners_are_bounded(app: FastAPI, token: dict[str, str]) -> None:
    app.state.live_dashboard.seats = Seats(1)
    transport = httpx.ASGITransport(app=app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=token) as client,
        Listener(app, "/api/dashboard/live", token) as listener,
    ):
        await listener.event()
        assert_problem(await client.get("/api/dashboard/live"), 503, "too_many_listeners")


async def test_without_an_engine_it_says_which_link_is_broken(
    admin: httpx.AsyncClient, engine: FakeEngine, control: Control
) -> None:
    engine.refuse = True
    await fresh_sample(control)
    seen = (await admin.get("/api/dashboard")).json()
    assert seen["samples"]["viewers_webrtc"][-1] is None
    assert seen["samples"]["cpu_percent"][-1] is not None
    (main,) = seen["streams"]
    assert main["cause"]["link"] == "engine"
    (process,) = [process for process in seen["server"]["processes"] if process["name"] == "engine"]
    assert (process["pid"], process["state"]) == (None, "not_answering")


async def test_without_a_database_it_still_answers(
    admin: httpx.AsyncClient, engine: FakeEngine, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> Any:
        raise OperationalError("SELECT", {}, Exception("gone"))

    engine.streams["main"] = on_air("main")
    await fresh_sample(control)
    monkeypatch.setattr(control.streams, "all", fail)
    monkeypatch.setattr(control.broadcasts, "open", fail)
    seen = (await admin.get("/api/dashboard")).json()
    (main,) = seen["streams"]
    assert main["cause"]["link"] == "control"


async def fresh_sample(control: Control) -> None:
    """Waits for a sample that was begun after now: the second one from here."""
    seen = control.sampler.history[-1] if control.sampler.history else None
    for _ in range(2):
        seen = await control.sampler.newer_than(seen)


def processor(control: Control) -> None:
    flow = {"frames": 1, "bytes": 1, "errors": 0, "age_ms": 1.0}
    ledger = {
        "name": "draw",
        "input": "main",
        "output": "main-processed",
        "pid": 7,
        "state": "running",
        "error": None,
        "started_at": "2026-11-25T00:00:00Z",
        "in": flow,
        "out": flow,
        "queue": {"length": 0, "age_ms": 0.0, "dropped": 0},
        "fps_in": 30.0,
        "fps_out": 30.0,
    }
    control.diagnosis.processors.report("draw-1", ProcessorLedger.model_validate(ledger))
