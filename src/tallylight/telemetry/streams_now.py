"""Every stream as it is now: what we know of it and what the engine measures."""

from dataclasses import dataclass

from tallylight.broadcasts.store import BroadcastStore
from tallylight.db import Stream
from tallylight.engine.client import EngineClient
from tallylight.engine.models import StreamStatus, off_air
from tallylight.streams.store import StreamStore


@dataclass(frozen=True)
class StreamNow:
    stream: Stream
    status: StreamStatus
    # The broadcast that has not ended, if there is one.
    broadcast_id: str | None


async def streams_now(engine: EngineClient, streams: StreamStore, broadcasts: BroadcastStore) -> tuple[StreamNow, ...]:
    """All streams by name. Raises EngineAwayError."""
    live = await engine.streams()
    broadcast_ids = await broadcasts.open_ids()
    return tuple(
        StreamNow(stream, live.get(stream.name) or off_air(stream.name), broadcast_ids.get(stream.name))
        for stream in await streams.all()
    )
