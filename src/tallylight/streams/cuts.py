"""Cutting publishers: at once, or as soon as the engine answers."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from tallylight.engine.client import CutReason, EngineAwayError, EngineClient
from tallylight.engine.models import StreamStatus

log = structlog.get_logger()

# A cut is to be felt within 5 s; an engine that is busy gets another chance well before.
RETRY_S = 1.0


@dataclass(frozen=True)
class _Owed:
    reason: CutReason
    since: datetime


class PublisherCutter:
    """Cuts publishers, and remembers whom it could not cut while the engine was away."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine
        self._owed: dict[str, _Owed] = {}
        self._some = asyncio.Event()

    async def cut(self, stream: str, reason: CutReason) -> None:
        """Cuts the publisher of a stream, if there is one."""
        try:
            await self._engine.cut_publisher(stream, reason)
        except EngineAwayError as error:
            log.warning("publisher_not_cut", stream=stream, cause=error.message)
            self._owed[stream] = _Owed(reason, datetime.now(UTC))
            self._some.set()

    async def pay(self) -> None:
        """Cuts who is still there of those it could not cut. Raises EngineAwayError."""
        live = await self._engine.streams() if self._owed else {}
        for stream, owed in list(self._owed.items()):
            if (status := live.get(stream)) is not None and _was_there(status, owed.since):
                await self._engine.cut_publisher(stream, owed.reason)
            self._owed.pop(stream, None)
        self._some.clear()

    async def run(self) -> None:
        """Tries again what could not be cut, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(RETRY_S)
            try:
                await self.pay()
            except EngineAwayError:
                continue


def _was_there(status: StreamStatus, when: datetime) -> bool:
    """Whether this publication is the one that was to be cut: a later one was admitted under what holds now."""
    if status.session is None or status.started_at is None:
        return status.session is not None
    return datetime.fromisoformat(status.started_at) <= when
