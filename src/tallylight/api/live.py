"""`/api/live`: the list of streams, sent again whenever it has changed."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError

from tallylight.accounts.identity import ANONYMOUS, Identity
from tallylight.api.auth import identify
from tallylight.api.control import Control
from tallylight.api.models import StreamDetails, StreamView
from tallylight.api.problems import answers
from tallylight.api.sse import FIRST, KEEP_ALIVE, EventStream, message_of_json
from tallylight.api.stream_views import details_of
from tallylight.engine.client import EngineAwayError
from tallylight.telemetry.shared import Shared
from tallylight.telemetry.streams_now import StreamNow

router = APIRouter(prefix="/api", tags=["streams"])

# Between two looks at the engine and the database; a publication is announced within this.
INTERVAL_S = 1.0
# Figures that move all the time (ages, rates) are no change; they are as old as this at most.
REFRESH_S = 5.0
# Who signed out, or may less than before, sees less within 5 s.
IDENTIFY_S = 3.0
# What does not make the list another one.
_MOVING: dict[str, Any] = {
    "uptime_s": True,
    "media_age_ms": True,
    "ledger": True,
    "tracks": {"__all__": {"bitrate_bps", "age_ms", "frame_rate", "keyframe_interval_s"}},
}


@dataclass(frozen=True)
class _Entry:
    """One stream as JSON: everything, and only what is a change when it changes."""

    whole: str
    steady: str


@dataclass(frozen=True)
class Snapshot:
    """The streams at one moment, each rendered at most once for each kind of asker, however many listen."""

    streams: tuple[StreamNow, ...]
    details: dict[str, StreamDetails]
    _rendered: dict[tuple[str, bool, bool, bool], _Entry] = field(default_factory=dict)

    def entries(self, who: Identity) -> list[_Entry]:
        """What this asker may see."""
        return [self._entry(now, who) for now in self.streams if who.may_list(now.stream)]

    def _entry(self, now: StreamNow, who: Identity) -> _Entry:
        name, stream = now.stream.name, now.stream
        kind = (name, who.may_edit(stream), who.may_watch(stream), who.may_inspect(stream))
        entry = self._rendered.get(kind)
        if entry is None:
            view = StreamView.of(now, who, self.details.get(name))
            entry = _Entry(view.model_dump_json(), view.model_dump_json(exclude=_MOVING))
            self._rendered[kind] = entry
        return entry


class LiveStreams:
    """What `/api/live` needs between requests: the shared snapshot, and seats."""

    def __init__(self, control: Control) -> None:
        async def take() -> Snapshot:
            streams = await control.streams_now.all()
            return Snapshot(streams, await details_of([now.stream for now in streams], control))

        self.seats = control.live_seats
        self.snapshots = Shared(take, INTERVAL_S)


def _live_streams(request: Request) -> LiveStreams:
    live: LiveStreams = request.app.state.live
    return live


@router.get("/live", response_class=EventStream, responses=answers("engine_away", "too_many_listeners"))
async def get_live(request: Request, live: Annotated[LiveStreams, Depends(_live_streams)]) -> EventStream:
    """Server-sent events `streams`: what `/api/streams` answers, at once, after each change, and every 5 s at least.

    At most one event a second. 503 `too_many_listeners` when too many listen already.
    """
    return EventStream(_messages(request, live.snapshots), live.seats)


async def _messages(request: Request, snapshots: Shared[Snapshot]) -> AsyncGenerator[str]:
    who = ANONYMOUS
    sent: list[str] | None = None
    refresh_at_s = identify_at_s = 0.0
    while True:
        try:
            if time.monotonic() >= identify_at_s:
                who, identify_at_s = await identify(request), time.monotonic() + IDENTIFY_S
            entries = (await snapshots.get()).entries(who)
        except (EngineAwayError, SQLAlchemyError):
            if sent is None:
                raise
            # Who listens already learns what is true when it is known again, in a moment.
            yield KEEP_ALIVE
        else:
            steady = [entry.steady for entry in entries]
            if steady != sent or time.monotonic() >= refresh_at_s:
                whole = ",".join(entry.whole for entry in entries)
                yield (FIRST if sent is None else "") + message_of_json("streams", f'{{"streams":[{whole}]}}')
                sent, refresh_at_s = steady, time.monotonic() + REFRESH_S
        await asyncio.sleep(snapshots.due_in_s())
