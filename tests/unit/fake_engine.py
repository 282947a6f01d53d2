"""A stand-in for the media engine that behaves: it holds the ports, answers the API, and ends as the real one does.

`python fake_engine.py --config FILE`. Tests steer it over its socket:
`PUT /fake/streams/NAME` with a StreamStatus puts a stream on air, `POST /fake/events` with an event appends it,
`GET /fake/policy` is the playback policy it was given last.
`FAKE_ENGINE_FATAL=1` makes it refuse to start, `FAKE_ENGINE_ENDS=1` makes it end at once without a word,
`FAKE_ENGINE_VERSION` is what it says of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from tallylight import __version__

FATAL = {"fatal": {"code": "port_in_use", "message": "udp port 9 is taken by a test.", "fix": "Free it."}}
HEARTBEAT_S = 0.5


class FakeEngine:
    """State of the fake, and its HTTP routes."""

    def __init__(self) -> None:
        self.boot_id = uuid.uuid4().hex
        self.streams: dict[str, Any] = {}
        self.policy_not_kept = False
        self.events: list[dict[str, Any]] = []
        self.cut: list[str] = []
        self.cut_reasons: list[str] = []
        self.policy: Any = None
        self.sessions: list[dict[str, Any]] = []
        self.statistics: dict[str, float] = {}
        self.workers: list[dict[str, Any]] = []
        # Pieces of the taps' answers by stream, or (a dict) why there is none.
        self.taps: dict[str, list[bytes] | dict[str, Any]] = {}
        self.changed = asyncio.Event()
        self.refuse = False
        self.connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[writer] = asyncio.current_task()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await _read_head(reader):
                method, target, length = head
                body = await reader.readexactly(length)
                if target.startswith("/v1/events"):
                    await self._stream_events(writer, int(target.partition("after=")[2] or 0))
                    break
                if target.endswith("/tap") and isinstance(pieces := self.taps.get(target.split("/")[3]), list):
                    await _stream(writer, pieces)
                    break
                status, answer = self.answer(method, target, json.loads(body) if body else None)
                payload = b"" if answer is None else json.dumps(answer).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
                await writer.drain()
        self.connections.pop(writer, None)
        writer.close()

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:  # noqa: PLR0911, PLR0912 - a table of routes
        """Status and body; with `refuse` set the fake is of no use, as an engine that is starting."""
        if self.refuse:
            return 500, None
        path, _, query = target.partition("?")
        match method, path.strip("/").split("/"):
            case "GET", ["v1", "health"]:
                facts = {"version": "0.1.0", "boot_id": self.boot_id, "pid": os.getpid(), "uptime_s": 1.0}
                return 200, {"status": "pass", "workers": self.workers, **facts}
            case "GET", ["v1", "statistics"]:
                return 200, self.statistics
            case "GET", ["v1", "sessions"]:
                return 200, {"sessions": self.sessions}
            case "GET", ["v1", "streams", name, "tap"]:
                refusal = self.taps.get(name)
                if isinstance(refusal, dict):
                    return refusal["status"], refusal
                return 404, {"code": "nothing_on_air", "detail": "Nothing is on air on this stream."}
            case "GET", ["v1", "streams"]:
                return 200, {"streams": list(self.streams.values())}
            case "GET", ["v1", "streams", name] if name in self.streams:
                return 200, self.streams[name]
            case "DELETE", ["v1", "streams", name, "publisher"] if self.streams.get(name, {}).get("session"):
                gone = {"status": "OFF_AIR", "session": None, "stream_type": None, "started_at": None}
                self.streams[name] = self.streams[name] | gone
                self.cut.append(name)
                self.cut_reasons.append(query.removeprefix("reason="))
                return 204, None
            case "PUT", ["v1", "policy"]:
                self.policy = body
                if self.policy_not_kept:
                    return 500, {
                        "code": "policy_not_kept",
                        "detail": "The playback policy is in force, but not on disk.",
                    }
                return 204, None
            case "GET", ["fake", "policy"]:
                return 200, self.policy
            case "PUT", ["fake", "streams", name]:
                self.streams[name] = body
                return 204, None
            case "POST", ["fake", "events"]:
                self.add_event(body)
                return 204, None
            case "GET", ["fake", "cut"]:
                return 200, self.cut
        return 404, {"code": "stream_unknown"}

    def add_event(self, event: dict[str, Any]) -> None:
        """Appends an event under the next number."""
        self.events.append({"seq": len(self.events) + 1} | event)
        self.changed.set()

    def hang_up(self) -> None:
        """Closes every connection."""
        for writer in self.connections:
            writer.close()
        self.changed.set()

    async def _stream_events(self, writer: asyncio.StreamWriter, after: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
        while not writer.is_closing():
            for event in self.events[after:]:
                writer.write(json.dumps(event).encode() + b"\n")
            after = max(after, len(self.events))
            self.changed.clear()
            writer.write(b'{"heartbeat":true}\n')
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), HEARTBEAT_S)


async def _stream(writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (*pieces, b""):
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, str, int] | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *headers = head.strip().split("\r\n")
    method, target, _ = request.split(" ")
    lengths = [line.split(":")[1] for line in headers if line.lower().startswith("content-length")]
    return method, target, int(lengths[0]) if lengths else 0


async def run(config: dict[str, Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(0, 64) else stop.set())
    engine = FakeEngine()
    listeners = [
        await asyncio.start_server(lambda _, w: w.close(), *_address(config[name]))
        for name in ("http_bind", "rtmp_bind")
    ]
    media, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=_address(config["webrtc_bind"]))
    path = Path(config["engine_socket"])
    path.unlink(missing_ok=True)  # noqa: ASYNC240
    api = await asyncio.start_unix_server(engine.handle, path)
    await stop.wait()
    connections = [task for task in engine.connections.values() if task is not None]
    engine.hang_up()
    await asyncio.gather(*connections)
    media.close()
    for server in (*listeners, api):
        server.close()
    path.unlink(missing_ok=True)  # noqa: ASYNC240


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> int:
    if "--version" in sys.argv:
        print(os.environ.get("FAKE_ENGINE_VERSION", f"tallylight-engine {__version__}"))
        return 0
    if os.environ.get("FAKE_ENGINE_ENDS"):
        return 7
    if os.environ.get("FAKE_ENGINE_FATAL"):
        print(json.dumps(FATAL), file=sys.stderr)
        return 3
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    asyncio.run(run(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
