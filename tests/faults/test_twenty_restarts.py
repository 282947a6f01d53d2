"""The control plane is killed again and again under load, and nobody on air notices."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest

from support import hls_rules
from support.hls_viewer import HlsRecorder
from support.peers import WhepViewer
from support.publishers import card_publisher
from support.seen import missing_pictures
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

RESTARTS = 20
REQUESTS_PER_S = 100
BACK_WITHIN_S = 3.0
ANSWER_WITHIN_S = 10.0
# What a page asks for.
PATHS = ("/api/streams", "/api/streams/main", "/api/broadcasts", "/api/health", "/api/config")
# The front says that the control plane is away; what was under way in it when it was killed has no other answer.
EXPECTED = {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.BAD_GATEWAY}


@dataclass
class Load:
    """Requests at a steady rate, whether or not earlier ones were answered.

    By hand on kept connections: an HTTP library in the process that decodes the viewers' pictures would leave it too
    little time, and the viewers would fall behind because of the test.
    """

    server: Server
    statuses: Counter[int] = field(default_factory=Counter)
    answered_at_s: list[float] = field(default_factory=list)
    broken_off: int = 0

    async def __aenter__(self) -> Load:
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._start_s = time.monotonic()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for idle in self._idle:
            idle[1].close()

    async def back_after(self, killed_at_s: float) -> float:
        """Seconds from a kill to the first answer of the next control plane."""

        def first() -> float | None:
            if self._task.done():
                self._task.result()  # raises what a request ended with: the front answers every one
            return next((at_s for at_s in reversed(self.answered_at_s[-1:]) if at_s > killed_at_s), None)

        answered_at_s = await wait_until(first, BACK_WITHIN_S - (time.monotonic() - killed_at_s), "the API to answer")
        assert answered_at_s is not None
        return answered_at_s - killed_at_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    @property
    def rate(self) -> float:
        """Requests that had an end, per second."""
        return (self.statuses.total() + self.broken_off) / self.elapsed_s

    async def _run(self) -> None:
        start_s = self._start_s
        async with asyncio.TaskGroup() as requests:
            number = 0
            while True:
                requests.create_task(self._ask(PATHS[number % len(PATHS)]))
                number += 1
                await asyncio.sleep(max(0.0, start_s + number / REQUESTS_PER_S - time.monotonic()))

    async def _ask(self, path: str) -> None:
        reader, writer = await self._connection()
        asked_at_s = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status, goes_on = await _get(reader, writer, path)
        except (asyncio.IncompleteReadError, ConnectionError):
            # Its answer was half written when the process that wrote it was killed.
            self.broken_off += 1
            writer.close()
            return
        if goes_on:
            self._idle.append((reader, writer))
        else:
            writer.close()
        self.statuses[status] += 1
        if status == httpx.codes.OK:
            # Asked after the kill, not only answered after it.
            self.answered_at_s.append(asked_at_s)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # the front closes what nobody uses
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.server.http_port)


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bool]:
    """Status of the whole answer, and whether another request may follow on the connection.

    Raises:
        IncompleteReadError, ConnectionError: It was broken off.
    """
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(status_line.split()[1]), headers.get("connection") != "close"


async def test_control_plane_killed_20_times_under_load(own_server: Server) -> None:
    """`kill -9` of the control plane 20 times under 100 requests/s with a publisher, WHEP and HLS viewers on: nobody on
    air notices, and the API answers again within 3 s each time."""
    server = own_server
    async with card_publisher(server.rtmp_url()) as publisher:
        on_air = await server.wait_on_air()
        broadcast = await wait_until(lambda: _broadcast_id(server), 10, "the broadcast to have a row")
        async with (
            WhepViewer(server.http, "main") as viewer,
            WhepViewer(server.http, "main") as another,
            HlsRecorder(server.http) as recorder,
            Load(server) as load,
        ):
            await viewer.wait_frames(30)
            back_s = [await _kill_and_wait(server, load, number) for number in range(1, RESTARTS + 1)]
            await viewer.wait_more_frames(30)
            watching = await another.wait_more_frames(30)
            history = recorder.history()
            # A playlist comes with each part, five a second; a third of them shows that nothing stood still for long.
            assert len(history.playlists) > 5 / 3 * load.elapsed_s
            assert load.rate >= 0.9 * REQUESTS_PER_S, f"only {load.rate:.0f} requests/s"
        assert (await server.stream())["session"] == on_air["session"]
        assert await _broadcast_id(server) == broadcast
        assert len(publisher.events("demo_publish_started")) == 1
        for frames in (viewer.frames, another.frames):
            await publisher.assert_sent(frames)
        assert watching
        assert hls_rules.check(history) == []
        assert set(load.statuses) <= EXPECTED
        assert load.broken_off <= RESTARTS
        print(
            f"back after {min(back_s):.2f} to {max(back_s):.2f} s, on average {sum(back_s) / RESTARTS:.2f} s;"
            f" answers by status: {dict(load.statuses)}, broken off {load.broken_off};"
            f" pictures missing: {missing_pictures(viewer.frames)}"
        )


async def _broadcast_id(server: Server) -> str | None:
    broadcast_id: str | None = (await server.stream())["broadcast_id"]
    return broadcast_id


async def _kill_and_wait(server: Server, load: Load, number: int) -> float:
    """Kills it once its spare is loaded, which is the state that it is in but for the first seconds."""
    await wait_until(lambda: server.log().count('"control_standby"') >= number, 20, "the spare control plane")
    killed_at_s = time.monotonic()
    os.kill(server.control_plane_pid(), signal.SIGKILL)
    return await load.back_after(killed_at_s)
