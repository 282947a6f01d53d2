"""`/api/events`: what happens on this server, as it happens. Administrators hear all, streamers their streams."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from sqlalchemy.exc import SQLAlchemyError

from tallylight.accounts.identity import Identity
from tallylight.api.auth import SignedIn, identify
from tallylight.api.control import Control, ControlPlane
from tallylight.api.problems import answers
from tallylight.api.sse import FIRST, KEEP_ALIVE, EventStream, message
from tallylight.events import Event, Reader
from tallylight.events.names import ADMIN_ONLY, EVENTS_LOST

router = APIRouter(prefix="/api/events", tags=["events"])

# Proxies give up on a connection that is silent for a minute or less; a dead reader is noticed by the first write.
KEEP_ALIVE_S = 10.0
# Who signs out, or loses a role or a token, hears nothing more within 5 s.
CHECK_S = 4.0
# Between two looks at whose streams these are, however much happens.
MIN_INTERVAL_S = 0.25

# The largest whole number that JSON keeps exact everywhere.
Number = Annotated[int | None, Query(ge=0, le=2**53)]


class _Ear:
    """What who asks may hear, for as long as the connection lasts."""

    def __init__(self, request: Request, who: Identity, control: Control) -> None:
        self._request = request
        self._who = who
        self._control = control
        self._check_at_s = time.monotonic() + CHECK_S

    async def is_open(self) -> bool:
        """False when who asked is nobody any more; that is asked every `CHECK_S`."""
        if time.monotonic() < self._check_at_s:
            return True
        self._who = await identify(self._request)
        self._check_at_s = time.monotonic() + CHECK_S
        return "read" in self._who.scopes

    async def heard_of(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those that they may know of."""
        if self._who.role == "admin" or not events:
            return events
        own = await self._own_since()
        await asyncio.sleep(MIN_INTERVAL_S)
        return [event for event in events if _is_for(own, event)]

    async def _own_since(self) -> dict[str, datetime]:
        """Names of one's own streams, and when each was made: what is older was another's."""
        if self._who.role != "streamer" or self._who.user_id is None:
            return {}
        return {stream.name: stream.created_at for stream in await self._control.streams.owned_by(self._who.user_id)}


async def _ear(request: Request, who: SignedIn, control: ControlPlane) -> _Ear:
    return _Ear(request, who, control)


@router.get("", response_class=EventStream, responses=answers("too_many_listeners"))
async def follow_events(
    control: ControlPlane,
    ear: Annotated[_Ear, Depends(_ear)],
    stream: Annotated[str | None, Query(max_length=256)] = None,
    after: Number = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
) -> EventStream:
    """Events after `Last-Event-ID` or `after` (0: all there are; without: from now on), then each as it happens."""
    reader = control.events.reader(after if last_event_id is None else last_event_id)
    return EventStream(_messages(reader, ear, stream), control.event_seats)


def _is_for(own: Mapping[str, datetime], event: Event) -> bool:
    if event.event == EVENTS_LOST:
        return True
    since = None if event.stream is None else own.get(event.stream)
    if since is None or event.event in ADMIN_ONLY:
        return False
    # Events tell milliseconds: the one of the stream's making is not older than the stream.
    return event.moment() >= since.replace(microsecond=since.microsecond // 1000 * 1000)


async def _messages(reader: Reader, ear: _Ear, stream: str | None) -> AsyncGenerator[str]:
    yield FIRST
    sent_at_s = time.monotonic()
    while True:
        try:
            events = await ear.heard_of(reader.take()) if await ear.is_open() else None
        except SQLAlchemyError:
            # Nobody can say now what they may hear; they come back, and go on where they were.
            events = None
        if events is None:
            return
        for event in events:
            if stream is None or event.stream in (stream, None):
                yield message("event", event.as_dict(), event.seq)
                sent_at_s = time.monotonic()
        if time.monotonic() - sent_at_s >= KEEP_ALIVE_S:
            yield KEEP_ALIVE
            sent_at_s = time.monotonic()
        try:
            async with asyncio.timeout(min(CHECK_S, KEEP_ALIVE_S)):
                await reader.wait()
        except TimeoutError:
            continue
