"""A listener to server-sent events of an application: httpx would wait for the end of an answer that has none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Message

# Generous: no test waits this long unless it fails.
PATIENCE_S = 10.0


class Listener:
    """`async with Listener(app, path) as listener`: leaves when the block ends.

    Attributes:
        status: Of the answer, once it has begun.
        deaf: While set, it takes nothing.
    """

    def __init__(self, app: ASGIApp, path: str, headers: dict[str, str] | None = None) -> None:
        self._app = app
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("192.0.2.1", 1),
            "server": ("test", 80),
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.deaf = False
        self._leaving = asyncio.Event()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._started = asyncio.Event()
        self._task: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait((self._task, started), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert self._started.is_set(), "no answer"
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.leave()
        await self.ended()

    def leave(self) -> None:
        """Closes the connection, as far as the listener is concerned."""
        self._leaving.set()

    async def ended(self) -> None:
        """Waits until the application has let go of this listener."""
        assert self._task is not None
        await asyncio.wait_for(self._task, PATIENCE_S)

    async def piece(self) -> str:
        """The next event or comment, as it was sent."""
        return (await asyncio.wait_for(self._pieces.get(), PATIENCE_S)).decode()

    async def event(self) -> tuple[str, Any]:
        """Name and data of the next event; comments are passed over."""
        while (piece := await self.piece()).startswith(":"):
            pass
        fields = dict(line.split(": ", 1) for line in piece.strip().split("\n") if line)
        return fields["event"], json.loads(fields["data"])

    async def until(self, condition: Callable[[Any], Any]) -> Any:
        """Data of the first event that meets the condition."""
        while not condition(data := (await self.event())[1]):
            pass
        return data

    async def _receive(self) -> Message:
        await self._leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
        elif message.get("body"):
            self._pieces.put_nowait(message["body"])
