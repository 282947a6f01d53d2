"""The ring of events, and readers that follow it. Everything runs on one event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import structlog

from tallylight.engine.models import EngineEvent
from tallylight.events.names import EVENTS, EVENTS_LOST

log = structlog.get_logger()

# As the engine's own ring: minutes of a busy server, about a megabyte.
RING_EVENTS = 1000
# The id of a WebRTC session gives power over it; this much of it tells sessions apart.
SESSION_SHOWN = 8


@dataclass(frozen=True)
class Event:
    """One thing that happened. `seq` only grows, also from one control plane to the next."""

    seq: int
    at: str
    event: str
    stream: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def moment(self) -> datetime:
        """When it happened; long ago when the engine's clock says nothing sensible."""
        try:
            return datetime.fromisoformat(self.at).astimezone(UTC)
        except ValueError:
            return datetime.min.replace(tzinfo=UTC)

    def as_dict(self) -> dict[str, Any]:
        """The event as it is sent: its own fields beside those that every event has."""
        return {"seq": self.seq, "at": self.at, "event": self.event, "stream": self.stream, **self.fields}


class EventLog:
    """Keeps the newest `RING_EVENTS` events. No secret and no full address belongs into an event.

    Args:
        started_ms: Unix time, when it is not now.
    """

    def __init__(self, started_ms: int | None = None) -> None:
        self._ring: deque[Event] = deque(maxlen=RING_EVENTS)
        # Milliseconds leave room for a thousand events a second, so a reader that returns after a restart misses none.
        self._last_seq = time.time_ns() // 1_000_000 if started_ms is None else started_ms
        self._more = asyncio.Event()

    def emit(self, name: str, *, stream: str | None = None, **fields: Any) -> None:
        """Keeps an event of the control plane, and logs it.

        Raises:
            KeyError: The name is not declared in `names.EVENTS`.
        """
        if name not in EVENTS:
            raise KeyError(name)
        known = {"stream": stream} | fields if stream is not None else fields
        log.info(name, **known)
        self._add(_now(), name, stream, fields)

    def copy(self, event: EngineEvent) -> None:
        """Keeps an event of the engine, which has logged it already."""
        self._add(event.at, event.event, event.stream, {"session": event.session} | event.fields())

    def reader(self, after: int | None = None) -> "Reader":
        """Follows the log from the event after this number on (0: from the oldest); without one, from the next on."""
        return Reader(self, self._last_seq if after is None else after)

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is still here, or of the next one when there is none."""
        return self._ring[0].seq if self._ring else self._last_seq + 1

    @property
    def newest(self) -> int:
        return self._last_seq

    def after(self, seq: int) -> list[Event]:
        """Events with a higher number, oldest first."""
        return list(islice(self._ring, max(0, seq + 1 - self.oldest), None))

    async def wait_beyond(self, seq: int) -> None:
        """Waits until there is an event with a higher number."""
        while self._last_seq <= seq:
            await self._more.wait()

    def _add(self, at: str, name: str, stream: str | None, fields: dict[str, Any]) -> None:
        if isinstance(session := fields.pop("session", None), str):
            fields["session"] = session[:SESSION_SHOWN]
        self._last_seq += 1
        self._ring.append(Event(self._last_seq, at, name, stream, fields))
        self._more.set()
        self._more = asyncio.Event()


class Reader:
    """One reader's place in the log. The ring is its queue: what a slow reader has not taken in time is lost to it."""

    def __init__(self, events: EventLog, after: int) -> None:
        self._events = events
        # A number from the future was given by a server whose clock was ahead.
        self._after = min(after, events.newest) if after > 0 else events.oldest - 1

    def take(self) -> list[Event]:
        """What is new, oldest first; begins with an `events_lost` notice when events were missed."""
        lost = self._after + 1 < self._events.oldest
        oldest = self._events.oldest
        notice = [Event(oldest - 1, _now(), EVENTS_LOST, None, {"oldest": oldest})] if lost else []
        events = self._events.after(self._after)
        self._after = self._events.newest
        return notice + events

    async def wait(self) -> None:
        """Waits until there is something to take."""
        await self._events.wait_beyond(self._after)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
