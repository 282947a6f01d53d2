"""The server crashes while a publisher hangs: nothing stays on air alone, and no ghost locks anybody out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import httpx
import pytest
from aiortc import RTCPeerConnection

from support import processes
from support.peers import post_sdp
from support.publishers import Publisher, card_publisher, whip_muxer_publisher
from support.rtmp import RtmpClient
from support.server import Server
from support.waiting import Stopwatch, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

# The promises: no row is ON_AIR without media after 10 s, no publisher is refused by its own ghost after 5 s.
NOT_ON_AIR_WITHIN_S = 10.0
ADMITTED_WITHIN_S = 5.0
# How long a killed part may be away is promised elsewhere.
BACK_WITHIN_S = 20.0

NewPublisher = Callable[[Server], Publisher]
Admitted = Callable[[Server], Awaitable[bool]]


async def admitted_by_rtmp(server: Server) -> bool:
    """Whether an encoder with the key is let in; it leaves again at once."""
    async with RtmpClient(server.rtmp_port) as client:
        info = await client.publish(server.streams["main"])
    return bool(info["code"] == "NetStream.Publish.Start")


async def admitted_by_whip(server: Server) -> bool:
    """Whether a browser with the key is let in; it leaves again at once."""
    connection = RTCPeerConnection()
    connection.addTransceiver("video", direction="sendonly")
    await connection.setLocalDescription(await connection.createOffer())
    key = server.streams["main"]
    answer = await post_sdp(server.http, "/whip", connection.localDescription.sdp, key)
    await connection.close()
    if answer.status_code == httpx.codes.CREATED:
        await server.http.delete(answer.headers["location"], headers={"Authorization": f"Bearer {key}"})
    return answer.status_code == httpx.codes.CREATED


@pytest.mark.parametrize(
    ("publisher", "admitted"),
    [
        (lambda server: card_publisher(server.rtmp_url(), once=True), admitted_by_rtmp),
        (lambda server: whip_muxer_publisher(server.page("/whip"), server.streams["main"]), admitted_by_whip),
    ],
    ids=["rtmp", "whip"],
)
async def test_no_ghost_is_left_by_any_kill(own_server: Server, publisher: NewPublisher, admitted: Admitted) -> None:
    """A publisher hangs, connected but silent, and then nothing, any single process, or everything is killed -9: within
    10 s no row is ON_AIR, and within 5 s the same key is let in again."""
    server = own_server
    victims: dict[str, Callable[[], list[int]]] = {
        "nobody": list,
        "engine": lambda: [server.engine_pid()],
        "control plane": lambda: [server.control_plane_pid()],
        "posters": lambda: [server.pid_of("tallylight.posters")],
        "everything": server.pids,
    }
    for name, victim in victims.items():
        async with publisher(server) as ghost:
            await wait_until(lambda: _statuses_are(server, "ON_AIR"), BACK_WITHIN_S, "a broadcast", (httpx.HTTPError,))
            ghost.signal(signal.SIGSTOP)
            hung = Stopwatch()
            processes.kill_all(victim())
            if name == "everything":
                await _start_again(server)
            await wait_until(lambda: _is_well(server), BACK_WITHIN_S, "the server to answer", (httpx.HTTPError,))
            back = Stopwatch()
            refused = (OSError, TimeoutError, httpx.HTTPError, asyncio.IncompleteReadError)
            await wait_until(lambda: admitted(server), ADMITTED_WITHIN_S, "the same key to be let in", refused)
            admitted_s = back.elapsed_s()
            since = back if name == "everything" else hung
            left_s = NOT_ON_AIR_WITHIN_S - since.elapsed_s()
            await wait_until(lambda: _statuses_are(server, "RECONNECTING"), left_s, "no row to be ON_AIR")
            print(f"{name} killed: let in after {admitted_s:.1f} s, no row on air after {since.elapsed_s():.1f} s")


async def _start_again(server: Server) -> None:
    assert server.process is not None
    server.process.wait()
    await wait_until(lambda: not server.pids(), 5, "every process to be gone")
    await server.start()


async def _is_well(server: Server) -> bool:
    return (await server.http.get("/api/health")).status_code == httpx.codes.OK


async def _statuses_are(server: Server, status: str) -> bool:
    answer = await server.http.get("/api/broadcasts", params={"stream": "main"})
    answer.raise_for_status()
    return {row["status"] for row in answer.json()["broadcasts"]} == {status}
