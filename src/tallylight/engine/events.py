"""The engine's events, followed for as long as the control plane lives.

Events are hints; the engine's answers are the truth.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import structlog
from pydantic import ValidationError

from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import EngineEvent
from tallylight.errors import TallylightError

log = structlog.get_logger()

# The engine sends a heartbeat every 5 s; three missing ones mean a dead peer.
SILENCE_TIMEOUT_S = 15.0
# Between two tries to reach an engine that is restarting (which takes less than 2 s).
RECONNECT_DELAY_S = 0.25
# One event is a line of a few hundred bytes; track lists are the longest.
MAX_LINE_BYTES = 64 * 1024


class EventFollower:
    """Reads the engine's events and hands each to `on_event`; after each new connection calls `on_connected` first.

    `on_connected` is the place to ask the engine what is true now. Both run one after the other, so a slow one delays
    the next event (the engine keeps 1,000 for us). After a TallylightError of `on_connected` it connects anew.
    """

    def __init__(
        self,
        engine: EngineClient,
        on_event: Callable[[EngineEvent], Awaitable[None]],
        on_connected: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._on_event = on_event
        self._on_connected = on_connected
        self._boot_id: str | None = None
        self._last_seq = 0

    async def run(self) -> None:
        """Follows events until cancelled."""
        away = False
        while True:
            try:
                await self._follow()
            except (TallylightError, httpx.HTTPError) as error:
                if not away:
                    cause = error.code if isinstance(error, TallylightError) else type(error).__name__
                    log.warning("engine_events_lost", cause=cause)
                away = True
            else:
                away = False
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _follow(self) -> None:
        health = await self._engine.health()
        if health.boot_id != self._boot_id:
            self._boot_id, self._last_seq = health.boot_id, 0
        timeout = httpx.Timeout(1.0, read=SILENCE_TIMEOUT_S)
        async with self._engine.http.stream(
            "GET", "/v1/events", params={"after": self._last_seq}, timeout=timeout
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise EngineAwayError(f"status {response.status_code}")
            log.info("engine_events_connected", boot_id=health.boot_id, after=self._last_seq)
            await self._on_connected()
            async for line in _lines(response.aiter_bytes()):
                await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if "heartbeat" in fields:
                return
            if fields.get("event") == "events_lost":
                log.warning("events_lost", oldest=fields.get("oldest"))
                return
            event = EngineEvent.model_validate(fields)
        except (ValueError, ValidationError, TypeError, AttributeError) as error:
            log.warning("engine_event_not_as_agreed", cause=type(error).__name__)
            return
        self._last_seq = max(self._last_seq, event.seq)
        await self._on_event(event)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of an NDJSON body; one that grows beyond the limit ends the connection."""
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(pending) > MAX_LINE_BYTES:
            raise EngineAwayError("an event longer than agreed")
