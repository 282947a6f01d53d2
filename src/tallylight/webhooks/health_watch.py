"""Tells webhooks when the server's health is not what they were told last."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallylight.events import EventLog
from tallylight.webhooks.outbox import Outbox

log = structlog.get_logger()

# A restart of the engine takes less than 2 s: what is gone at the next look was no change.
INTERVAL_S = 5.0


class HealthWatch:
    """Looks at the health again and again; a status counts when it is seen twice running."""

    def __init__(self, look: Callable[[], Awaitable[Mapping[str, Any]]], outbox: Outbox, events: EventLog) -> None:
        """
        Args:
            look: The body of `/api/health`.
        """
        self._look = look
        self._outbox = outbox
        self._events = events

    async def run(self) -> None:
        """Watches until cancelled."""
        told = before = await self._told_last()
        while True:
            await asyncio.sleep(INTERVAL_S)
            health = await self._look()
            status = health["status"]
            if status == before != told and await self._tell(health, told):
                told = status
            before = status

    async def _told_last(self) -> str:
        """What receivers believe, also after a restart; nobody is told of a server that is well from the start."""
        try:
            text = await self._outbox.newest_body("health.changed")
        except SQLAlchemyError:
            text = None
        return "pass" if text is None else str(json.loads(text)["data"]["status"])

    async def _tell(self, health: Mapping[str, Any], previous: str) -> bool:
        """False when it could not be written down: it is tried again at the next look."""
        try:
            await self._outbox.put_alone("health.changed", {**health, "previous": previous})
        except SQLAlchemyError as error:
            log.error("health_change_not_written", cause=type(error).__name__)
            return False
        self._events.emit("health_changed", status=health["status"], previous=previous)
        return True
