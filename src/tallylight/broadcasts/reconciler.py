"""Keeps the rows true: asks the engine, plans, and writes. Events only make it ask sooner."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from tallylight.broadcasts.lifecycle import Broadcast, Change, Happening, Publication, plan
from tallylight.broadcasts.store import BroadcastStore
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import StreamStatus
from tallylight.events import EventLog
from tallylight.streams.store import StreamStore

log = structlog.get_logger()

# A lease of 8 s survives two passes that failed.
INTERVAL_S = 2.0
# However many events arrive, the engine is asked no more often than this.
MIN_INTERVAL_S = 0.1
# Events after which a broadcast may have another status.
TELLING_EVENTS = frozenset(
    {"engine_started", "publish_started", "tracks_announced", "publish_ended", "media_stalled", "media_resumed"}
)


class Reconciler:
    """The one writer of broadcasts."""

    def __init__(
        self,
        engine: EngineClient,
        streams: StreamStore,
        broadcasts: BroadcastStore,
        window_s: float,
        events: EventLog,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._broadcasts = broadcasts
        self._window = timedelta(seconds=window_s)
        self._events = events
        self._clock = clock
        self._hint = asyncio.Event()

    def hint(self, event: str) -> None:
        """An engine event of this name was heard."""
        if event in TELLING_EVENTS:
            self._hint.set()

    async def run(self) -> None:
        """Reconciles at once, then on hints and every `INTERVAL_S`, until cancelled."""
        failed = False
        while True:
            self._hint.clear()
            try:
                await self.reconcile()
                failed = False
            except Exception as error:  # noqa: BLE001 - whatever was wrong, the next pass may be right; leases end anyway
                if not failed:
                    log.error("broadcasts_not_written", cause=f"{type(error).__name__}: {error.__cause__ or error}")
                failed = True
            await asyncio.sleep(MIN_INTERVAL_S)
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._hint.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> None:
        """One pass. The rows are read first: what the engine says is never older than they are."""
        rows = await self._broadcasts.open()
        now = self._clock()
        try:
            publications = await self._publications()
        except EngineAwayError:
            publications = None
        changes = plan(rows, publications, now, self._window, lambda: uuid.uuid4().hex)
        for change in await self._broadcasts.apply(changes):
            self._tell(change)

    def _tell(self, change: Change) -> None:
        if change.happening is None:
            return
        after = change.after
        facts: dict[str, Any] = {"broadcast": after.id, "session": after.session, "epoch": after.epoch}
        if change.happening in (Happening.RECONNECTING, Happening.ENDED):
            facts["reason"] = after.end_reason
        if change.happening is Happening.ENDED:
            facts["duration_s"] = _duration_s(after)
        self._events.emit(change.happening.value, stream=after.stream, **facts)

    async def _publications(self) -> dict[str, Publication]:
        boot_id = (await self._engine.health()).boot_id
        live = await self._engine.streams()
        titles = {stream.name: stream.title for stream in await self._streams.all()}
        return {name: _publication(status, titles.get(name), boot_id) for name, status in live.items()}


def _publication(status: StreamStatus, title: str | None, boot_id: str) -> Publication:
    age_ms = status.media_age_ms if status.status == "ON_AIR" else None
    return Publication(
        title=title,
        boot_id=boot_id,
        epoch=status.epoch or 0,
        session=status.session,
        stream_type=status.stream_type,
        media_age=None if age_ms is None else timedelta(milliseconds=age_ms),
        viewers=sum(status.viewers.values()),
        last_end=status.last_end,
    )


def _duration_s(broadcast: Broadcast) -> float:
    return round((broadcast.last_media_at - broadcast.started_at).total_seconds(), 3)
