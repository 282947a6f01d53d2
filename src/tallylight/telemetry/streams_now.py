"""Streams as they are now: what we know of them and what the engine measures."""

from collections.abc import Sequence
from dataclasses import dataclass

from tallylight.broadcasts.store import BroadcastStore
from tallylight.db import Stream
from tallylight.engine.client import EngineClient
from tallylight.engine.models import StreamStatus, off_air
from tallylight.posters.store import PosterStore, current
from tallylight.streams.store import StreamStore


@dataclass(frozen=True)
class StreamNow:
    """One stream at one moment.

    Attributes:
        broadcast_id: Of the broadcast that has not ended, if there is one.
        poster_at_s: When its poster was taken, Unix time, if there is one.
    """

    stream: Stream
    status: StreamStatus
    broadcast_id: str | None
    poster_at_s: float | None


class StreamsNow:
    """Brings together what is known of streams. Everything raises EngineAwayError."""

    def __init__(
        self, engine: EngineClient, streams: StreamStore, broadcasts: BroadcastStore, posters: PosterStore
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._broadcasts = broadcasts
        self._posters = posters

    async def all(self) -> tuple[StreamNow, ...]:
        """All streams by name."""
        return await self.of(await self._streams.all())

    async def of(self, streams: Sequence[Stream]) -> tuple[StreamNow, ...]:
        """These streams, in this order."""
        live = await self._engine.streams()
        broadcast_ids = await self._broadcasts.open_ids()
        posters = await self._posters.taken_at()
        return tuple(self._now(stream, live.get(stream.name), broadcast_ids, posters) for stream in streams)

    @staticmethod
    def _now(
        stream: Stream, status: StreamStatus | None, broadcast_ids: dict[str, str], posters: dict[str, float]
    ) -> StreamNow:
        name = stream.name
        poster_at_s = current(posters.get(name), stream.created_at)
        return StreamNow(stream, status or off_air(name), broadcast_ids.get(name), poster_at_s)
