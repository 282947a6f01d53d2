"""The playback policy: which streams are private, and with which key. Kept in the engine, which enforces it alone."""

import asyncio
import base64
import secrets
from collections.abc import Collection

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallylight.db import Stream
from tallylight.engine.client import EngineAwayError, EngineClient
from tallylight.engine.models import PlaybackPolicy, StreamPolicy
from tallylight.streams.store import PLAYBACK_KEY_BYTES, StreamStore

log = structlog.get_logger()

# Revoked viewers must be gone within 5 s; an engine that is busy gets another chance well before.
RETRY_S = 1.0


def policy_of(streams: Collection[Stream], live: Collection[str]) -> PlaybackPolicy:
    """Private streams with their keys; to the engine all that are not named are public.

    Args:
        streams: All that exist.
        live: Names that the engine knows. A stream of these that exists no more is private, with a key that nobody has:
            the engine offers its newest media for a while.
    """
    keys = {name: secrets.token_bytes(PLAYBACK_KEY_BYTES) for name in live}
    keys |= {stream.name: stream.playback_key for stream in streams}
    public = {stream.name for stream in streams if stream.visibility != "private"}
    return PlaybackPolicy(
        streams={
            name: StreamPolicy(visibility="private", playback_key=base64.urlsafe_b64encode(key).rstrip(b"=").decode())
            for name, key in keys.items()
            if name not in public
        }
    )


class PolicyKeeper:
    """Brings each change to the engine: at once, or as soon as the engine answers."""

    def __init__(self, engine: EngineClient, streams: StreamStore) -> None:
        self._engine = engine
        self._streams = streams
        self._one_at_a_time = asyncio.Lock()
        self._owed = asyncio.Event()

    async def push(self) -> None:
        """Tells the engine what holds now. While engine or database are away it stays owed, and `run` tries again."""
        try:
            await self.push_now()
        except (EngineAwayError, SQLAlchemyError) as error:
            log.warning("policy_not_pushed", cause=getattr(error, "message", type(error).__name__))
            self._owed.set()

    async def push_now(self) -> None:
        """As `push`.

        Raises:
            EngineAwayError: It was not told.
            SQLAlchemyError: What holds is not known.
        """
        # Read inside the lock, so that an older policy never overtakes a newer one.
        async with self._one_at_a_time:
            # The engine before the database: what it knows by then is in there, or was deleted.
            live = await self._engine.streams()
            await self._engine.set_policy(policy_of(await self._streams.all(), live.keys()))
            self._owed.clear()

    async def run(self) -> None:
        """Tries again what could not be pushed, until cancelled."""
        while True:
            await self._owed.wait()
            await asyncio.sleep(RETRY_S)
            await self.push()
