"""Cutting publishers: at once, or as soon as the engine and the database answer."""

import asyncio
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallylight.engine.client import CutReason, EngineAwayError, EngineClient
from tallylight.engine.models import StreamStatus
from tallylight.streams.store import PublishingRule, StreamStore

log = structlog.get_logger()

# A cut is to be felt within 5 s; an engine that is busy gets another chance well before.
RETRY_S = 1.0


def why_cut(status: StreamStatus, rule: PublishingRule | None) -> CutReason | None:
    """Why the publication that is live on a stream may not stay; None when it may, or there is none. Pure.

    Args:
        rule: What holds for the stream now; None when there is no such stream.
    """
    if status.session is None:
        return None
    if rule is None or not rule.owner_may_publish:
        return "removed"
    # Nobody can publish with a key that is made later, so it was let in with the one before.
    if status.started_at is not None and datetime.fromisoformat(status.started_at) < rule.key_created_at:
        return "key_rotated"
    return None


class PublisherCutter:
    """Cuts publishers; a cut that the engine did not hear is made up for by judging everything that is live."""

    def __init__(self, engine: EngineClient, streams: StreamStore) -> None:
        self._engine = engine
        self._streams = streams
        self._owed = asyncio.Event()

    async def cut(self, stream: str, reason: CutReason) -> None:
        """Cuts the publisher of a stream, if there is one. While the engine is away it stays owed."""
        try:
            await self._engine.cut_publisher(stream, reason)
        except EngineAwayError as error:
            log.warning("publisher_not_cut", stream=stream, cause=error.message)
            self._owed.set()

    async def enforce(self) -> None:
        """Cuts every publication that may not stay.

        Raises:
            EngineAwayError: Not all are cut.
            SQLAlchemyError: Who may stay is not known.
        """
        # First: a cut that fails from here on is owed anew.
        self._owed.clear()
        # The engine before the database: what it was allowed to take is in there by then.
        live = await self._engine.streams()
        rules = await self._streams.publishing_rules()
        for name, status in live.items():
            reason = why_cut(status, rules.get(name))
            if reason is not None and await self._engine.cut_publisher(name, reason):
                log.warning("publisher_cut_late", stream=name, reason=reason)

    async def run(self) -> None:
        """Tries again what could not be cut, until cancelled."""
        while True:
            await self._owed.wait()
            await asyncio.sleep(RETRY_S)
            try:
                await self.enforce()
            except (EngineAwayError, SQLAlchemyError):
                self._owed.set()
