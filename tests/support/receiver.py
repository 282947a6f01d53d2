"""A receiver of webhooks on loopback: notes every message, and answers each path as it is told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

from support.waiting import wait_until

# Instead of a status: the request is read and never answered.
HANG = 0


@dataclass(frozen=True)
class Message:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(self.json()["type"])

    def json(self) -> Any:
        return json.loads(self.body)

    def verified_by(self, secret: str) -> Any:
        """The content, once an independent library has found the signature to be right."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Use as `async with Receiver() as receiver`. `answers` has, by path, statuses to give; the last one stays."""

    answers: dict[str, list[int]] = field(default_factory=dict)
    answer_headers: str = ""
    messages: list[Message] = field(default_factory=list)
    connections: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Message]:
        return [message for message in self.messages if message.path == path]

    async def wait_for(self, count: int, path: str = "/", timeout_s: float = 30) -> list[Message]:
        """Waits until this many messages came to a path, and returns all that did."""
        seen = lambda: f"{count} messages at {path}; have {[message.path for message in self.messages]}"  # noqa: E731
        await wait_until(lambda: len(self.at(path)) >= count, timeout_s, seen)
        return self.at(path)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = request.split(" ")[1]
            self.messages.append(Message(path, headers, body))
            status = self._status(path)
            if status == HANG:
                await reader.read()
            else:
                writer.write(f"HTTP/1.1 {status} X\r\n{self.answer_headers}Content-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _status(self, path: str) -> int:
        answers = self.answers.get(path, [204])
        return answers.pop(0) if len(answers) > 1 else answers[0]
