"""Connections to the public application, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from support.waiting import wait_until
from tallylight.api import connections, sse
from tallylight.api.connections import ReadConnection

PATIENCE_S = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def without_end() -> AsyncGenerator[str]:
    while True:
        yield sse.message("filler", "x" * 10_000)


@asynccontextmanager
async def serving(app: ASGIApp, path: Path) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        app, uds=str(path), http=ReadConnection, lifespan="off", log_config=None, timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    with patch.object(server, "capture_signals", nullcontext):
        task = asyncio.create_task(server.serve())
        await wait_until(lambda: server.started, PATIENCE_S, "the server to listen")
    yield server
    server.should_exit = True
    await task


async def test_a_listener_that_stops_reading_leaves_no_connection(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STALLED_S", 0.1)
    monkeypatch.setattr(connections, "CUT_AFTER_S", 0.2)
    seats = sse.Seats(1)
    path = short_path / "public.sock"

    async def app(scope: object, receive: object, send: object) -> None:
        await sse.EventStream(without_end(), seats)(scope, receive, send)  # type: ignore[arg-type]

    async with serving(app, path) as server:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(path))
            deaf.sendall(REQUEST)
            await wait_until(lambda: seats.taken == 1, PATIENCE_S, "the listener to be heard")
            await wait_until(lambda: seats.taken == 0, PATIENCE_S, "its seat")
            await wait_until(lambda: not server.server_state.connections, PATIENCE_S, "the connection to be cut")


async def nothing(_scope: object, _receive: object, _send: object) -> None:
    return


class Wire(asyncio.Transport):
    """A transport that notes that it was cut."""

    cut = False

    def abort(self) -> None:
        self.cut = True


async def test_who_reads_on_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CUT_AFTER_S", 0)
    connection, wire = ReadConnection(uvicorn.Config(nothing, log_config=None), ServerState(), {}), Wire()
    connection.connection_made(wire)
    connection.pause_writing()
    connection.resume_writing()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not wire.cut
    connection.pause_writing()
    await wait_until(lambda: wire.cut, PATIENCE_S, "the cut")
