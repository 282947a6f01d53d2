"""Server-sent events: the answer, its text, and a bound on how many listen at once."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tallylight.errors import TallylightError

# A page that lost its connection comes back after this (the control plane restarts in less than 3 s).
RETRY_MS = 1000
FIRST = f"retry: {RETRY_MS}\n\n"
KEEP_ALIVE = ": keep-alive\n\n"
# A listener that has taken nothing for this long is gone, or holds its seat to keep others out.
STALLED_S = 10.0


class TooManyListenersError(TallylightError):
    """Every place is taken."""

    def __init__(self, limit: int) -> None:
        super().__init__("too_many_listeners", f"{limit} listeners are here already.", "Ask again in a minute.")


class Seats:
    """At most `limit` listeners at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Holds one place. Raises TooManyListenersError."""
        if self.taken >= self._limit:
            raise TooManyListenersError(self._limit)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class EventStream(Response):
    """Sends messages as they come, and holds a seat: until they end, or the listener leaves or stops listening.

    What making the first message raises, and that no seat is free, is answered like any other error. Nothing queues up
    for a slow listener: the next message is made when the one before was taken.
    """

    media_type = "text/event-stream"

    def __init__(self, messages: AsyncGenerator[str], seats: Seats, status_code: int = 200) -> None:
        # A reverse proxy that gathers answers would hold events back.
        super().__init__(status_code=status_code, headers={"X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self._messages = messages
        self._seats = seats

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._messages) as messages:
            with self._seats.seat():
                first = await anext(messages)
                sending = asyncio.create_task(self._send_all(first, messages, send))
                leaving = asyncio.create_task(_left(receive))
                try:
                    await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sending.cancel()
                    leaving.cancel()
                    await asyncio.wait((sending, leaving))
                if not sending.cancelled():
                    sending.result()

    async def _send_all(self, first: str, messages: AsyncGenerator[str], send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        taken = await _sent(first, send)
        while taken and (piece := await anext(messages, None)) is not None:
            taken = await _sent(piece, send)
        if taken:  # else the server closes the connection, as that of any answer without an end
            await send({"type": "http.response.body", "body": b""})


async def _sent(piece: str, send: Send) -> bool:
    """False when the listener did not take it in time."""
    try:
        async with asyncio.timeout(STALLED_S):
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
    except TimeoutError:
        return False
    return True


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def message(name: str, data: Any, event_id: int | None = None) -> str:
    """One message."""
    return message_of_json(name, json.dumps(data, separators=(",", ":")), event_id)


def message_of_json(name: str, data: str, event_id: int | None = None) -> str:
    """One message whose data is JSON already. JSON has no raw line feed, so the data is one line."""
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"{number}event: {name}\ndata: {data}\n\n"
