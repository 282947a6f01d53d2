"""The control plane's process: what ends it, and whom it still answers while it is busy."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from support.processes import free_port
from support.waiting import wait_until
from tallylight.api import limits
from tallylight.api.__main__ import serve
from tallylight.api.limits import ForwardedLimit
from tallylight.cli.local_api import TIMEOUT_S
from tallylight.config import Settings
from tallylight.db.postgresql import STATEMENT_TIMEOUT_S
from tallylight.engine.client import POLICY_TIMEOUT_S, REQUEST_TIMEOUT_S
from tallylight.paths import DataDirectory
from tallylight.telemetry.sampler import Sampler
from unit.test_api import ask, assert_problem

PATIENCE_S = 10.0


async def test_the_failure_of_a_part_ends_the_process(
    settings: Settings, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_self: Any) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(Sampler, "run", fails)
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as stdin, os.fdopen(write_end, "w"), structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(sys, "stdin", stdin)
        mine = settings.model_copy(update={"internal_port": free_port()})
        await asyncio.wait_for(serve(mine, data), PATIENCE_S)
    (failure,) = [entry for entry in logged if entry["event"] == "background_part_ended"]
    assert (failure["part"], failure["log_level"], str(failure["exc_info"])) == ("Sampler", "error", "planted")


FORWARDED = {"X-Forwarded-For": "192.0.2.1"}


class SlowApp:
    """Answers at once, or when it may: a request, or an event stream that has begun."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/slow":
                await self._wait()
                await Response("done")(scope, receive, send)
            case "/events":
                await StreamingResponse(self._events(), media_type="text/event-stream")(scope, receive, send)
            case _:
                await Response("at once")(scope, receive, send)

    async def _events(self) -> AsyncIterator[str]:
        yield "first"
        await self._wait()

    async def _wait(self) -> None:
        self.waiting += 1
        await self.may.wait()


async def test_so_many_forwarded_requests_are_under_way_and_our_own_always_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_FORWARDED", 2)
    app = SlowApp()
    transport = httpx.ASGITransport(app=ForwardedLimit(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client, asyncio.TaskGroup() as group:
        begun = []
        for path in ("/events", "/events", "/events", "/slow", "/slow"):
            begun.append(group.create_task(client.get(path, headers=FORWARDED)))
            await wait_until(lambda: app.waiting == len(begun), PATIENCE_S, f"{path} to be under way")
        refused = await client.get("/", headers=FORWARDED)
        assert_problem(refused, 503, "server_busy")
        assert refused.headers["Retry-After"] == "1"
        assert (await client.get("/")).text == "at once", "the engine and the command line"
        app.may.set()
        assert [(await answer).status_code for answer in begun] == [200] * 5
        assert (await client.get("/", headers=FORWARDED)).text == "at once"


async def test_the_engine_is_answered_while_the_public_is_not(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FORWARDED", 0)
    assert_problem(await api.get("/api/config", headers=FORWARDED), 503, "server_busy")
    assert (await ask(api, "guess"))["code"] == "key_wrong"


def test_the_command_line_waits_for_what_a_change_may_wait_for() -> None:
    assert TIMEOUT_S > POLICY_TIMEOUT_S + 2 * (REQUEST_TIMEOUT_S + STATEMENT_TIMEOUT_S)
