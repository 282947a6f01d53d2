"""Posters: a picture of what is really on air, made by a process that may be killed."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from dataclasses import replace
from typing import Any

import av
import httpx
import pytest

from support.peers import WhipPublisher
from support.publishers import SMALL, card_publisher
from support.seen import SeenFrame, read_frame
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# The first look at a new stream comes within 2 s, and the second 10 s later; the rest is a busy machine.
FIRST_POSTER_S = 40
STREAM = "poster"


async def poster_path(server: Server, other_than: str | None = None) -> str:
    """Waits until the stream has a poster, another one than this."""

    async def path() -> Any:
        found = (await server.stream(STREAM))["poster"]
        return found if found != other_than else None

    found: str = await wait_until(path, FIRST_POSTER_S, "a poster", (httpx.HTTPError,))
    return found


async def read_poster(server: Server, path: str) -> SeenFrame:
    answer = await server.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    return await asyncio.to_thread(read_jpeg, answer.content)


def read_jpeg(picture: bytes) -> SeenFrame:
    with av.open(io.BytesIO(picture), "r", format="mjpeg") as container:
        frame = next(container.decode(video=0))
    # The card is read in limited range, as video has it.
    limited = frame.reformat(format="yuv420p", dst_color_range="MPEG")
    return read_frame(limited, 0.0, time.time())


def assert_recent(seen: SeenFrame, frame_rate: int, since_s: float) -> None:
    """The number on the card is that of a picture taken since then."""
    assert seen.counter is not None
    assert since_s - 1 <= seen.counter / frame_rate <= time.time()


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
async def test_it_shows_what_is_on_air(server: Server, encoder: str) -> None:
    """Within seconds of going on air the stream has a poster, 640 wide, that shows the running number of just now."""
    settings = replace(SMALL, frame_rate=15, gop_s=1, video_codec=encoder)
    before = (await server.stream(STREAM))["poster"]
    began_s = time.time()
    async with card_publisher(server.rtmp_url(STREAM), settings):
        seen = await read_poster(server, await poster_path(server, other_than=before))
        assert (seen.width, seen.height) == (640, 360)
        assert_recent(seen, settings.frame_rate, began_s)
    await server.wait_off_air(STREAM)
    assert (await server.stream(STREAM))["poster"] is not None, "the last picture stays"


async def test_it_shows_vp8_from_a_browser(server: Server) -> None:
    """VP8, which HLS cannot carry, has a poster as well."""
    before = (await server.stream(STREAM))["poster"]
    began_s = time.time()
    async with WhipPublisher(server.http, server.streams[STREAM], video_mime_type="video/VP8"):
        seen = await read_poster(server, await poster_path(server, other_than=before))
        assert_recent(seen, SMALL.frame_rate, began_s)
    await server.wait_off_air(STREAM)


async def test_its_process_may_be_killed(own_server: Server) -> None:
    """`kill -9` of the process that makes posters: it is back, and nothing else noticed."""
    server = own_server
    killed = await wait_until(lambda: server.pid_of("tallylight.posters"), 10, "the process", (AssertionError,))
    others = (server.engine_pid(), server.control_plane_pid())
    os.kill(killed, signal.SIGKILL)

    async def another() -> bool:
        health = (await server.http.get(server.internal("health"))).json()
        return any(
            process["name"] == "posters" and process["pid"] not in (None, killed) for process in health["processes"]
        )

    await wait_until(another, 10, "its return")
    assert others == (server.engine_pid(), server.control_plane_pid())
    pid = server.pid_of("tallylight.posters")
    # It steps back by itself, once the interpreter runs.
    await wait_until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 10, 10, "it to step back")
