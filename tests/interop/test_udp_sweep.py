"""UDP of any length and shape: nothing panics, no session is lost, nothing is answered (hardening matrix F2)."""

from __future__ import annotations

import asyncio
import random
import re
import socket

import pytest

from support.datagrams import SHAPES, shaped
from support.peers import WhepViewer, WhipPublisher
from support.publishers import Publisher
from support.seen import assert_counter_runs
from support.server import Server
from support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]

LENGTHS = range(1501)
SEED = 20_261_125


async def _sweep(port: int, *, ufrag: str, sock: socket.socket) -> None:
    """Sends every length of every shape."""
    rng = random.Random(SEED)
    loop = asyncio.get_running_loop()
    for length in LENGTHS:
        for shape in SHAPES:
            await loop.sock_sendto(sock, shaped(shape, length, rng, ufrag=ufrag), ("127.0.0.1", port))
        await asyncio.sleep(0)  # the viewer's packets wait meanwhile


def _received(sock: socket.socket) -> list[bytes]:
    """What came back until now."""
    answers: list[bytes] = []
    try:
        while True:
            answers.append(sock.recv(2048))
    except BlockingIOError:
        return answers


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def _datagrams_in(server: Server) -> float:
    return (await server.statistics())["webrtc.datagrams_in"]


async def test_before_ice_from_a_stranger(server: Server, on_air: Publisher) -> None:
    """UDP length sweep 0-1500 in the shapes of F2, before ICE: dropped and counted, never answered, while a viewer
    loses no picture."""
    pid = server.engine_pid()
    async with WhepViewer(server.http, "main") as viewer:
        await viewer.wait_frames(10)
        before = await _datagrams_in(server)
        with _socket() as sock:
            # Half of them name a session that exists, without its password.
            ufrag = re.search(r"a=ice-ufrag:(\S+)", viewer.answer_sdp)
            assert ufrag is not None
            await _sweep(server.http_port, ufrag="abcd:efgh", sock=sock)
            await _sweep(server.http_port, ufrag=f"{ufrag[1]}:efgh", sock=sock)
            # Sent means received on loopback, unless the socket's buffer was full for a moment.
            await wait_until(lambda: _grew(server, before, 1000), 5, "the datagrams to be counted")
            await viewer.wait_more_frames(30)
            answers = _received(sock)
    assert answers == []
    await on_air.assert_sent(viewer.frames)
    assert server.engine_pid() == pid


async def test_after_ice_from_the_peer_itself(server: Server) -> None:
    """The same from the validated address of a publisher and of a viewer, after DTLS: no session is lost."""
    pid = server.engine_pid()
    async with WhipPublisher(server.http, server.streams["sweep"]) as publisher:
        await server.wait_on_air("sweep")
        async with WhepViewer(server.http, "sweep") as viewer:
            await viewer.wait_frames(30)
            for connection in (viewer.connection, publisher.connection):
                await _sweep_through(connection, server.http_port)
            frames = await viewer.wait_more_frames(60)
            sessions = {session["kind"] for session in await server.sessions() if session["stream"] == "sweep"}
    assert sessions == {"whip", "whep"}
    assert_counter_runs(frames)
    assert server.engine_pid() == pid


async def _sweep_through(connection: object, port: int) -> None:
    """Sends from the very socket that ICE validated."""
    rng = random.Random(SEED)
    ice = connection.getTransceivers()[0].receiver.transport.transport._connection  # type: ignore[attr-defined]
    for length in LENGTHS:
        for shape in SHAPES:
            # STUN and DTLS that cannot be authentic, RTP and RTCP with wrong tags.
            await ice.send(shaped(shape, length, rng))
        await asyncio.sleep(0)


async def _grew(server: Server, before: float, by: int) -> bool:
    return await _datagrams_in(server) >= before + by
