"""RTMP limits (hardening matrix G1 to G4 and G9) against the running engine, with a publisher and a viewer watching."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support import processes
from support.peers import WhepViewer
from support.publishers import Publisher
from support.rtmp import (
    ABORT,
    COMMAND_AMF0,
    HANDSHAKE_SIZE,
    SET_CHUNK_SIZE,
    RtmpClient,
    chunk_header,
    command,
    encode_amf0,
    message,
)
from support.server import Server
from support.waiting import Stopwatch, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="session")]

SEED = 20_261_125
# Thresholds of the matrix.
GARBAGE_CLOSED_S = 5.0
SLOW_CLOSED_S = 10.0
UNAUTHORISED_BYTES_PER_CONNECTION = 64 << 10
# What a closed connection's socket buffers and task cost for a moment.
RSS_SLACK_BYTES = 16 << 20
HANDSHAKE = b"\x03" + bytes(8) + bytes(range(256)) * 5 + bytes(HANDSHAKE_SIZE - 8 - 1280)


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def bystander(server: Server, on_air: Publisher) -> AsyncIterator[None]:
    """A viewer that loses no picture, an engine that stays the same process and gives everything back."""
    pid = server.engine_pid()
    before = processes.resources_of(pid)
    async with WhepViewer(server.http, "main") as viewer:
        await viewer.wait_frames(10)
        yield
        await viewer.wait_more_frames(15)
    await on_air.assert_sent(viewer.frames)
    assert server.engine_pid() == pid, "the engine was restarted"

    def is_back() -> bool:
        now = processes.resources_of(pid)
        return now.file_descriptors <= before.file_descriptors + 2

    await wait_until(is_back, 15, "the engine's file descriptors to come back")
    assert processes.resources_of(pid).rss_bytes - before.rss_bytes < RSS_SLACK_BYTES
    assert len(on_air.events("demo_publish_started")) == 1


# The one of these that is not refused at sight.
PARTIAL = 5


def _garbage() -> list[bytes]:
    rng = random.Random(SEED)
    return [
        rng.randbytes(1 << 16),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + bytes(4096),
        bytes.fromhex("16030100c8010000c40303") + rng.randbytes(4096),
        bytes(1 << 16),
        b"\x06" + rng.randbytes(HANDSHAKE_SIZE),
        b"\x03" + rng.randbytes(100),  # a partial C0 C1, then silence
        HANDSHAKE + rng.randbytes(HANDSHAKE_SIZE) + rng.randbytes(1 << 16),
        HANDSHAKE + rng.randbytes(HANDSHAKE_SIZE) + b"\xff" * 65536,
    ]


async def test_g1_garbage_is_hung_up_on(server: Server) -> None:
    """G1 garbage (random, HTTP, TLS hello, zeros, partial C0): closed <= 5 s, 1,000 connections."""

    async def one(index: int) -> float:
        async with RtmpClient(server.rtmp_port, source_ip=f"127.0.1.{1 + index % 50}") as client:
            garbage = _garbage()
            # All but the last of these are refused at sight; a partial handshake may wait for its deadline.
            await client.send(garbage[index % len(garbage)])
            return await client.wait_closed(SLOW_CLOSED_S + 1)

    kinds = len(_garbage())
    closing: list[asyncio.Task[float]] = []
    for start in range(0, 1000, 250):
        batch = [asyncio.create_task(one(index)) for index in range(start, start + 250)]
        closing += batch
        # A partial handshake waits for its deadline; the next batch need not wait with it.
        await asyncio.wait([task for index, task in enumerate(batch, start) if index % kinds != PARTIAL])
    closed_s = await asyncio.gather(*closing)
    late = [round(seconds, 1) for seconds in closed_s if seconds > GARBAGE_CLOSED_S]
    assert not late, f"hung up only after {late} s"


async def test_g2_half_open_handshakes_do_not_lock_others_out(server: Server) -> None:
    """G2 half-open handshakes, 10,000 from 50 addresses within 30 s: a legitimate publisher is served within 1 s
    in their midst and after them; memory grows by less than 100 MiB."""
    before = processes.resources_of(server.engine_pid()).rss_bytes
    clients: list[RtmpClient] = []
    flood = Stopwatch()
    try:
        for start in range(0, 10_000, 100):
            batch = [RtmpClient(server.rtmp_port, f"127.0.2.{1 + index % 50}") for index in range(start, start + 100)]
            opened = await asyncio.gather(*(client.__aenter__() for client in batch), return_exceptions=True)
            # The caps may refuse some.
            clients += [client for client in opened if isinstance(client, RtmpClient)]
            if start in (5_000, 9_900):
                await _assert_publishes_within_a_second(server)
        assert flood.elapsed_s() < 30
        assert len(clients) > 5_000, "the flood really came"
        assert processes.resources_of(server.engine_pid()).rss_bytes - before < 100 << 20
    finally:
        for number, client in enumerate(clients):
            client.writer.transport.abort()
            if number % 200 == 0:
                await asyncio.sleep(0)  # the bystander's packets wait meanwhile


async def _assert_publishes_within_a_second(server: Server) -> None:
    clock = Stopwatch()
    async with RtmpClient(server.rtmp_port) as legitimate:
        info = await legitimate.publish(server.streams["hostile"])
        assert info["code"] == "NetStream.Publish.Start"
        assert clock.elapsed_s() <= 1.0
        # With the goodbye the stream is free for the next publisher at once.
        await legitimate.send(command("deleteStream", 4.0, None, 1.0))
    await server.wait_off_air("hostile")


@pytest.mark.parametrize("size", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
async def test_g3_chunk_sizes_are_clamped_or_refused(server: Server, size: int) -> None:
    """G3 SetChunkSize 0, 1, 2^31 - 1, 2^31, 2^32 - 1: clamped or closed, never a large allocation."""
    memory = processes.PeakMemory(server.engine_pid())
    async with RtmpClient(server.rtmp_port) as client:
        await client.connect()
        await client.send(message(SET_CHUNK_SIZE, struct.pack(">I", size), csid=2))
        # A message that claims 16 MiB, of which 1 MiB comes: more than anybody needs before authorisation.
        await client.send(chunk_header(3, COMMAND_AMF0, 0xFFFFFF))
        for _ in range(16):
            await client.send(bytes(65536))
        await client.wait_closed(SLOW_CLOSED_S + 1)
    assert memory.grown_bytes() < 8 << 20, f"grew by {memory.grown_bytes() >> 10} KiB"


async def test_g3_many_large_messages_at_once_stay_small(server: Server) -> None:
    """G3 16 MiB messages begun on 61 chunk streams of 20 connections: memory bounded by 64 KiB a connection."""
    memory = processes.PeakMemory(server.engine_pid())
    clients = [RtmpClient(server.rtmp_port, source_ip=f"127.0.3.{1 + index}") for index in range(20)]
    for client in clients:
        await client.__aenter__()
        await client.connect()
        for csid in range(3, 64):
            await client.send(chunk_header(csid, COMMAND_AMF0, 0xFFFFFF) + bytes(128))
    for client in clients:
        for _ in range(8):
            await client.send((b"\xc3" + bytes(128)) * 512)
    # Hung up on is what was read to the limit.
    await asyncio.gather(*(client.wait_closed(SLOW_CLOSED_S + 1) for client in clients))
    for client in clients:
        client.writer.transport.abort()
    grown = memory.grown_bytes()
    assert grown < 20 * UNAUTHORISED_BYTES_PER_CONNECTION + (6 << 20), f"grew by {grown >> 10} KiB"


async def test_g3_abort_in_the_middle_goes_on(server: Server) -> None:
    """G3 an aborted message (type 2) is forgotten, and the connection goes on."""
    async with RtmpClient(server.rtmp_port) as client:
        await client.connect()
        await client.send(chunk_header(5, COMMAND_AMF0, 4096) + bytes(128))
        await client.send(message(ABORT, struct.pack(">I", 5), csid=2))
        await client.send(command("createStream", 2.0, None))
        assert (await client.read_command("_result"))[1] == 2.0


def _hostile_amf() -> dict[str, bytes]:
    name = encode_amf0("connect") + encode_amf0(1.0)
    return {
        "objects nested 70,000 deep": name + (b"\x03\x00\x01a") * 70_000,
        "arrays nested 70,000 deep": name + (b"\x0a\x00\x00\x00\x01") * 70_000,
        "an array of 4 billion": name + b"\x0a\xff\xff\xff\xff" + b"\x05" * 64,
        "an ecma array of 4 billion": name + b"\x08\xff\xff\xff\xff\x00\x01a\x05",
        "a reference to itself": name + b"\x03\x00\x01a\x07\x00\x00\x00\x00\x09",
        "a long string of 4 GiB": name + b"\x0c\xff\xff\xff\xff" + b"a" * 64,
        "a string longer than its message": name + b"\x02\xff\xffabc",
        "10,000 nulls": name + b"\x05" * 10_000,
        "an unknown marker": name + b"\x42",
        "no values": b"",
        "a name that is no text": b"\x02\x00\x04\xff\xfe\xfd\xfc",
    }


@pytest.mark.parametrize("shape", _hostile_amf())
async def test_g4_hostile_amf(server: Server, shape: str) -> None:
    """G4 AMF nesting 70,000; array count 2^32 - 1; self-reference; string of 4 GiB: an error or a close,
    no CPU spent."""
    pid = server.engine_pid()
    cpu_before_s = processes.cpu_seconds(pid)
    async with RtmpClient(server.rtmp_port) as client:
        await client.handshake()
        await client.send(message(COMMAND_AMF0, _hostile_amf()[shape]))
        # Answered, ignored or hung up: then a proper command shows which; both are fine, hanging is not.
        await client.send(command("connect", 1.0, {"app": "live", "tcUrl": "rtmp://127.0.0.1/live"}))
        try:
            answer = await client.read_command("_result", "_error", "onStatus", timeout_s=GARBAGE_CLOSED_S)
            assert answer[0] in ("_result", "_error", "onStatus")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
    # The engine also serves the bystander, hence more than the 10 ms that the matrix allows for this alone.
    assert processes.cpu_seconds(pid) - cpu_before_s < 0.3


async def test_g9_slow_senders_meet_an_absolute_deadline(server: Server) -> None:
    """G9 one byte at a time in the handshake, in a chunk and after `connect`: closed <= 10 s, 150 connections."""

    async def drip(prefix: bytes | None, index: int) -> float:
        clock = Stopwatch()
        async with RtmpClient(server.rtmp_port, source_ip=f"127.0.4.{1 + index % 50}") as client:
            if prefix is None:
                await client.connect()
                await client.send(chunk_header(3, COMMAND_AMF0, 4096))
            else:
                await client.send(prefix)
            closed = asyncio.create_task(client.wait_closed(SLOW_CLOSED_S + 2))
            while not closed.done():
                await client.send(os.urandom(1))
                await asyncio.wait([closed], timeout=0.5)
            await closed
            return clock.elapsed_s()

    in_chunk = HANDSHAKE + bytes(HANDSHAKE_SIZE) + chunk_header(3, COMMAND_AMF0, 4096)
    drips = [drip((b"\x03", in_chunk, None)[index % 3], index) for index in range(150)]
    assert max(await asyncio.gather(*drips)) <= SLOW_CLOSED_S + 0.5
