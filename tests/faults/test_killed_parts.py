"""Parts of the server are killed while others publish and watch."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest
from playwright.async_api import Browser

from support import processes
from support.browser import open_page
from support.hls_viewer import HlsRecorder
from support.peers import WhepViewer
from support.publishers import card_publisher
from support.seen import missing_pictures
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

CONTROL_PLANE_BACK_S = 3.0
ENGINE_BACK_S = 2.0
HUNG_NOTICED_S = 15.0


async def test_control_plane_killed_while_on_air(own_server: Server) -> None:
    """`kill -9` of the control plane while on air: publisher and viewers go on, a new WHEP viewer and a new HLS viewer
    can still join; it is back within 3 s."""
    server = own_server
    async with card_publisher(server.rtmp_url()) as publisher:
        session = (await server.wait_on_air())["session"]
        async with WhepViewer(server.http, "main") as viewer, HlsRecorder(server.http) as recorder:
            await viewer.wait_frames(30)
            # Steady state: a spare is loaded a few seconds after the start, and it is what makes the return quick.
            await wait_until(lambda: "control_standby" in server.log(), 20, "the spare control plane")
            killed = server.control_plane_pid()
            os.kill(killed, signal.SIGKILL)
            killed_at_s = time.monotonic()
            async with WhepViewer(server.http, "main") as late, HlsRecorder(server.http) as late_recorder:
                # The joins above happened while nobody answered at the control socket, or shortly after its return.
                await late.wait_frames(15)
                assert late_recorder.playlists
            await wait_until(
                lambda: _is_healthy(server), CONTROL_PLANE_BACK_S - (time.monotonic() - killed_at_s), "its return"
            )
            assert server.control_plane_pid() != killed
            frames = await viewer.wait_more_frames(30)
            await publisher.assert_sent(viewer.frames)
            assert frames
            parts = len(recorder.history().playlists)
            await wait_until(lambda: len(recorder.history().playlists) > parts + 5, 5, "the playlist to go on")
            assert (await server.stream())["session"] == session
            assert len(publisher.events("demo_publish_started")) == 1


async def test_viewers_join_while_the_control_plane_is_stopped(own_server: Server) -> None:
    """The same while it surely does not answer: frozen by SIGSTOP, a WHEP and an HLS viewer still join; a new
    publisher is told to try again."""
    server = own_server
    async with card_publisher(server.rtmp_url()):
        await server.wait_on_air()
        pid = server.control_plane_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            async with WhepViewer(server.http, "main") as viewer, HlsRecorder(server.http) as recorder:
                await viewer.wait_frames(15)
                assert recorder.playlists
            answer = await server.http.post(
                "/whip",
                content="v=0\r\n",
                headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {server.streams['main']}"},
            )
            # A broken offer may be refused before anybody is asked.
            assert answer.status_code in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.BAD_REQUEST)
        finally:
            # The supervisor may have replaced a part that does not answer.
            if processes.is_alive(pid):
                os.kill(pid, signal.SIGCONT)
        await wait_until(lambda: _is_healthy(server), 10, "the control plane to answer again")


async def test_engine_killed(own_server: Server, browser: Browser) -> None:
    """`kill -9` of the engine: restarted within 2 s; publisher's reconnect and viewers' players recover by
    themselves."""
    server = own_server
    async with card_publisher(server.rtmp_url()) as publisher:
        await server.wait_on_air()
        async with open_page(browser, server.page("/watch/main")) as watch:
            await watch.wait_transport("webrtc")
            killed = server.engine_pid()
            os.kill(killed, signal.SIGKILL)
            killed_s = time.time()
            await wait_until(lambda: _engine_serves(server, killed), ENGINE_BACK_S, "the engine's restart")
            await publisher.wait_event("demo_publish_started", 2)

            async def plays_again() -> bool:
                frames = (await watch.frames())[-5:]
                return any(frame.counter is not None and frame.counter / 30 > killed_s for frame in frames)

            await wait_until(plays_again, 15, "the page to play again by itself")
        async with WhepViewer(server.http, "main") as viewer:
            missing_pictures(await viewer.wait_frames(30))


async def test_a_hung_engine_is_replaced(own_server: Server) -> None:
    """SIGSTOP of the engine: it is noticed, ended and started again within 15 s, and the publisher is on air again."""
    server = own_server
    async with card_publisher(server.rtmp_url()) as publisher:
        await server.wait_on_air()
        hung = server.engine_pid()
        os.kill(hung, signal.SIGSTOP)
        await wait_until(lambda: not processes.is_alive(hung), HUNG_NOTICED_S, "the hung engine to be ended")
        await wait_until(lambda: _engine_serves(server, hung), ENGINE_BACK_S, "the engine's restart")
        await publisher.wait_event("demo_publish_started", 2)
        await server.wait_on_air()
        async with WhepViewer(server.http, "main") as viewer:
            missing_pictures(await viewer.wait_frames(30))
        assert "part_hung" in server.log()


async def test_supervisor_killed_leaves_nothing(own_server: Server) -> None:
    """`kill -9` of `serve` itself: engine and control plane end, ports are free again within 3 s."""
    server = own_server
    process = server.process
    assert process is not None
    server.process = None
    process.kill()
    await asyncio.to_thread(process.wait)
    await wait_until(lambda: not server.pids(), 3, f"nothing to be left running; left: {server.pids()}")
    assert processes.is_port_free(server.http_port)


async def _is_healthy(server: Server) -> bool:
    return (await server.http.get("/api/health")).status_code == httpx.codes.OK


async def _engine_serves(server: Server, not_pid: int) -> bool:
    try:
        answer = await server.engine.get("/v1/health")
    except httpx.TransportError:
        return False
    return bool(answer.json()["pid"] != not_pid)
