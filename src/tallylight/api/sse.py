"""Server-sent events: the answer, its text, and a bound on how many listen at once."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tallylight.errors import TallylightError

# A page that lost its connection comes back after this (the control plane restarts in less than 3 s).
RETRY_MS = 1000
FIRST = f"retry: {RETRY_MS}\n\n"
KEEP_ALIVE = ": keep-alive\n\n"


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


class EventStream(StreamingResponse):
    """Sends messages as they come; holds a seat from its first byte until it ends, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, messages: AsyncIterator[str], seats: Seats) -> None:
        # A reverse proxy that gathers answers would hold events back.
        super().__init__(messages, headers={"X-Accel-Buffering": "no"})
        self._seats = seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seats.seat():
            await super().__call__(scope, receive, send)


def message(name: str, data: Any, event_id: int | None = None) -> str:
    """One message. JSON has no raw line feed, so the data is one line."""
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"{number}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
