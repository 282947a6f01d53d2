"""`/api/events`: what happens on this server, as it happens."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query

from tallylight.api.auth import AdminOnly
from tallylight.api.control import ControlPlane
from tallylight.api.sse import FIRST, KEEP_ALIVE, EventStream, message
from tallylight.events import Reader

router = APIRouter(prefix="/api/events", tags=["events"])

# Proxies give up on a connection that is silent for a minute or less; a dead reader is noticed by the first write.
KEEP_ALIVE_S = 10.0

# The largest whole number that JSON keeps exact everywhere.
Number = Annotated[int | None, Query(ge=0, le=2**53)]


@router.get("", response_class=EventStream, dependencies=[AdminOnly])
async def follow_events(
    control: ControlPlane,
    stream: Annotated[str | None, Query(max_length=256)] = None,
    after: Number = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
) -> EventStream:
    """Events after `Last-Event-ID` or `after` (0: all there are; without: from now on), then each as it happens."""
    reader = control.events.reader(after if last_event_id is None else last_event_id)
    return EventStream(_messages(reader, stream), control.event_seats)


async def _messages(reader: Reader, stream: str | None) -> AsyncGenerator[str]:
    yield FIRST
    sent_at_s = time.monotonic()
    while True:
        for event in reader.take():
            if stream is None or event.stream in (stream, None):
                yield message("event", event.as_dict(), event.seq)
                sent_at_s = time.monotonic()
        if (quiet_s := time.monotonic() - sent_at_s) >= KEEP_ALIVE_S:
            yield KEEP_ALIVE
            sent_at_s, quiet_s = time.monotonic(), 0.0
        try:
            await asyncio.wait_for(reader.wait(), KEEP_ALIVE_S - quiet_s)
        except TimeoutError:
            continue
