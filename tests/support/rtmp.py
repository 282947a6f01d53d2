"""RTMP by hand, to send what no library would (Adobe's RTMP specification 1.0, AMF0)."""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass, field
from typing import Any

HANDSHAKE_SIZE = 1536
# Message types (specification sections 5.4 and 7.1).
SET_CHUNK_SIZE, ABORT, COMMAND_AMF0, DATA_AMF0 = 1, 2, 20, 18

_FULL_HEADER_SIZES = {0: 11, 1: 7, 2: 3, 3: 0}


@dataclass
class _Assembly:
    """A message being put together from the chunks of one chunk stream."""

    length: int = 0
    kind: int = 0
    payload: bytearray = field(default_factory=bytearray)


@dataclass
class RtmpClient:
    """One connection; what it sends is the test's business. Use `async with`."""

    port: int
    source_ip: str = "127.0.0.1"
    incoming_chunk_size: int = 128
    _assemblies: dict[int, _Assembly] = field(default_factory=dict)

    async def __aenter__(self) -> RtmpClient:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.source_ip, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Sends; a peer that has hung up is no error here."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return

    async def handshake(self) -> None:
        """C0 to S2 (section 5.2)."""
        await self.send(b"\x03" + struct.pack(">II", 0, 0) + os.urandom(HANDSHAKE_SIZE - 8))
        answer = await self.reader.readexactly(1 + 2 * HANDSHAKE_SIZE)
        await self.send(answer[1 : 1 + HANDSHAKE_SIZE])

    async def connect(self, app: str = "live") -> None:
        """The command `connect`, accepted."""
        await self.handshake()
        await self.send(command("connect", 1.0, {"app": app, "type": "nonprivate", "tcUrl": f"rtmp://127.0.0.1/{app}"}))
        await self.read_command("_result", "_error")

    async def publish(self, key: str) -> dict[str, Any]:
        """Connects and asks to publish; returns the information object of the answering `onStatus`."""
        await self.connect()
        await self.send(command("createStream", 2.0, None))
        result = await self.read_command("_result")
        await self.send(command("publish", 3.0, None, key, "live", stream_id=int(result[3])))
        status = await self.read_command("onStatus")
        info: dict[str, Any] = status[3]
        return info

    async def read_command(self, *names: str, timeout_s: float = 5) -> list[Any]:
        """The next command with one of these names; others are passed over."""
        async with asyncio.timeout(timeout_s):
            while True:
                kind, payload = await self._read_message()
                if kind == COMMAND_AMF0 and (values := decode_amf0(payload))[0] in names:
                    return values

    async def wait_closed(self, timeout_s: float) -> float:
        """Waits until the server hangs up; returns how long that took.

        Raises:
            TimeoutError: It did not.
        """
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        async with asyncio.timeout(timeout_s):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return loop.time() - start_s

    async def _read_message(self) -> tuple[int, bytes]:
        while True:
            first = (await self.reader.readexactly(1))[0]
            header = await self.reader.readexactly(_FULL_HEADER_SIZES[first >> 6])
            assembly = self._assemblies.setdefault(first & 0x3F, _Assembly())
            if len(header) >= 7:
                assembly.length, assembly.kind = int.from_bytes(header[3:6], "big"), header[6]
            want = min(self.incoming_chunk_size, assembly.length - len(assembly.payload))
            assembly.payload += await self.reader.readexactly(want)
            if len(assembly.payload) < assembly.length:
                continue
            payload, assembly.payload = bytes(assembly.payload), bytearray()
            if assembly.kind == SET_CHUNK_SIZE:
                self.incoming_chunk_size = int.from_bytes(payload[:4], "big")
            return assembly.kind, payload


def chunk_header(csid: int, kind: int, length: int, *, stream_id: int = 0) -> bytes:
    """A full (type 0) chunk header with timestamp 0."""
    basic = bytes([csid]) if csid < 64 else bytes([0, csid - 64])
    return basic + bytes(3) + length.to_bytes(3, "big") + bytes([kind]) + struct.pack("<I", stream_id)


def message(kind: int, payload: bytes, *, csid: int = 3, stream_id: int = 0, chunk_size: int = 128) -> bytes:
    """A whole message, cut into chunks."""
    pieces = [payload[at : at + chunk_size] for at in range(0, len(payload), chunk_size)] or [b""]
    header = chunk_header(csid, kind, len(payload), stream_id=stream_id)
    return header + bytes([0xC0 | csid]).join(pieces)


def command(*values: object, stream_id: int = 0) -> bytes:
    return message(COMMAND_AMF0, b"".join(encode_amf0(value) for value in values), stream_id=stream_id)


def encode_amf0(value: object) -> bytes:
    match value:
        case None:
            return b"\x05"
        case float() | int():
            return b"\x00" + struct.pack(">d", value)
        case str():
            return b"\x02" + _amf_text(value)
        case dict():
            pairs = b"".join(_amf_text(name) + encode_amf0(item) for name, item in value.items())
            return b"\x03" + pairs + b"\x00\x00\x09"
        case _:
            raise TypeError(f"no AMF0 for {type(value).__name__}")


def decode_amf0(data: bytes) -> list[Any]:
    """All values of a command the server sent."""
    values, at = [], 0
    while at < len(data):
        value, at = _decode_value(data, at)
        values.append(value)
    return values


def _decode_value(data: bytes, at: int) -> tuple[Any, int]:
    marker, at = data[at], at + 1
    match marker:
        case 0x00:
            return struct.unpack_from(">d", data, at)[0], at + 8
        case 0x01:
            return bool(data[at]), at + 1
        case 0x02:
            return _decode_text(data, at)
        case 0x03 | 0x08:
            return _decode_object(data, at + (4 if marker == 0x08 else 0))
        case 0x05 | 0x06:
            return None, at
        case 0x0A:
            count, at = struct.unpack_from(">I", data, at)[0], at + 4
            items = []
            for _ in range(count):
                item, at = _decode_value(data, at)
                items.append(item)
            return items, at
        case _:
            raise ValueError(f"AMF0 marker {marker:#x} in an answer")


def _decode_object(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while True:
        name, at = _decode_text(data, at)
        if not name and data[at] == 0x09:
            return fields, at + 1
        fields[name], at = _decode_value(data, at)


def _decode_text(data: bytes, at: int) -> tuple[str, int]:
    length = struct.unpack_from(">H", data, at)[0]
    return data[at + 2 : at + 2 + length].decode(), at + 2 + length


def _amf_text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
