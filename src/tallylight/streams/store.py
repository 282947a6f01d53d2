"""Streams in the database."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Select, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from tallylight.config import BootstrapStream
from tallylight.db import Database, Installation, RetiredKey, Stream, User
from tallylight.errors import StartError, TallylightError
from tallylight.first_secret import FIRST_STREAM, first_key
from tallylight.streams.keys import hash_key, new_key

log = structlog.get_logger()

# Below this a key chosen by hand may be guessed.
SHORT_KEY = 16
PLAYBACK_KEY_BYTES = 32
# An old encoder's settings turn up again after a season; later than that "wrong key" is enough.
REMEMBERED = timedelta(days=90)
MAX_RETIRED_KEYS = 20


class StreamUnknownError(TallylightError):
    def __init__(self, name: str) -> None:
        super().__init__("stream_unknown", f"There is no stream named {name!r}.")


class StreamExistsError(TallylightError):
    def __init__(self, name: str) -> None:
        super().__init__("stream_exists", f"There is already a stream named {name!r}.", "Choose another name.")


class TooManyStreamsError(TallylightError):
    def __init__(self, limit: int) -> None:
        super().__init__("too_many_streams", f"A user has at most {limit} streams.", "Delete one first.")


class BootstrapKeyTakenError(StartError):
    def __init__(self, name: str, other: str) -> None:
        super().__init__(
            "bootstrap_key_taken",
            f"The bootstrap stream {name!r} has the key of the stream {other!r}.",
            f"In TALLYLIGHT_BOOTSTRAP_STREAMS, give it a key of its own or the name {other!r} again.",
        )


@dataclass(frozen=True)
class NewKey:
    """A stream with its key in plain text: the only moment anybody can see it."""

    stream: Stream
    key: str

    def __repr__(self) -> str:
        return f"NewKey(stream={self.stream.name!r})"


@dataclass(frozen=True)
class PublishingRule:
    """What decides whether a publication of a stream may stay, but for the key, which was right when it began."""

    key_created_at: datetime
    owner_may_publish: bool


@dataclass(frozen=True)
class ChangedStream:
    """A stream after a change, and whether its old key opens it no more."""

    stream: Stream
    key_rotated: bool


class StreamStore:
    """Creates, finds and deletes streams.

    `first_run` holds the key of the stream that the first start made, readable by the owner of the data directory only;
    it goes away together with the key.
    """

    def __init__(self, database: Database, first_run: Path) -> None:
        self._database = database
        self._first_key = first_key(first_run)

    async def all(self) -> Sequence[Stream]:
        async with self._database.session() as session:
            return (await session.scalars(select(Stream).order_by(Stream.name))).all()

    async def get(self, name: str) -> Stream:
        """Raises StreamUnknownError."""
        async with self._database.session() as session:
            stream = await session.scalar(select(Stream).where(Stream.name == name))
        if stream is None:
            raise StreamUnknownError(name)
        return stream

    async def find_by_key(self, key: str) -> Stream | None:
        """The stream that a key opens. The look-up is by hash: its timing tells nothing about any key."""
        async with self._database.session() as session:
            return await session.scalar(select(Stream).where(Stream.key_hash == hash_key(key)))

    async def exists(self, name: str) -> bool:
        async with self._database.session() as session:
            return await session.scalar(select(Stream.id).where(Stream.name == name)) is not None

    async def owned_by(self, user_id: int) -> Sequence[Stream]:
        async with self._database.session() as session:
            return (await session.scalars(select(Stream).where(Stream.owner_id == user_id))).all()

    async def owner_may_publish(self, stream: Stream) -> bool:
        """False when the owner has been disabled, or is no streamer any more."""
        async with self._database.session() as session:
            return bool(await session.scalar(_with_owner(_OWNER_MAY_PUBLISH).where(Stream.id == stream.id)))

    async def publishing_rules(self) -> dict[str, PublishingRule]:
        """What holds for publishers of each stream, by name."""
        query = _with_owner(Stream.name, Stream.key_created_at, _OWNER_MAY_PUBLISH)
        async with self._database.session() as session:
            return {name: PublishingRule(made, bool(may)) for name, made, may in await session.execute(query)}

    async def find_retired(self, key: str) -> RetiredKey | None:
        """What is known of a key that opens nothing any more."""
        async with self._database.session() as session:
            return await session.scalar(select(RetiredKey).where(RetiredKey.key_hash == hash_key(key)))

    async def create(
        self,
        name: str,
        title: str = "",
        *,
        description: str = "",
        visibility: str = "public",
        owner_id: int | None = None,
        limit: int | None = None,
    ) -> NewKey:
        """Makes a stream.

        Args:
            limit: How many streams the owner may have.

        Raises:
            StreamExistsError: The name is taken.
            TooManyStreamsError: The owner has as many as allowed.
        """
        key = new_key()
        stream = _stream(name, title, key)
        stream.description, stream.visibility, stream.owner_id = description, visibility, owner_id
        try:
            async with self._database.session() as session:
                owned = select(func.count()).select_from(Stream).where(Stream.owner_id == owner_id)
                if limit is not None and (await session.scalar(owned) or 0) >= limit:
                    raise TooManyStreamsError(limit)
                session.add(stream)
        except IntegrityError as error:
            raise StreamExistsError(name) from error
        return NewKey(stream, key)

    async def change(self, name: str, **values: Any) -> ChangedStream:
        """Sets `title`, `description`, `visibility` or `owner_id`. Raises StreamUnknownError.

        A stream that becomes private gets a new playback key: tokens from before, which anybody could have, end.
        One that is taken from its owner gets a new key as well. One that was nobody's keeps it: whoever made the
        stream gives it away together with its key.
        """
        async with self._database.session() as session:
            stream = await _get(session, name)
            taken = stream.owner_id is not None and values.get("owner_id", stream.owner_id) != stream.owner_id
            if taken:
                await take_from_owner(session, stream)
            if values.get("visibility") == "private" and stream.visibility != "private":
                new_playback_key(stream)
            for column, value in values.items():
                setattr(stream, column, value)
        if taken:
            await self.forget_first_key(name)
        return ChangedStream(stream, key_rotated=taken)

    async def void_playback_tokens(self, name: str) -> None:
        """Makes every playback token of a stream void. Raises StreamUnknownError."""
        async with self._database.session() as session:
            new_playback_key(await _get(session, name))

    async def delete(self, name: str) -> None:
        """Raises StreamUnknownError."""
        async with self._database.session() as session:
            stream = await _get(session, name)
            await _retire(session, stream, "deleted")
            await session.delete(stream)
        await self.forget_first_key(name)

    async def rotate_key(self, name: str) -> NewKey:
        """Gives a stream a new key; the old one opens nothing from now on. Raises StreamUnknownError."""
        async with self._database.session() as session:
            stream = await _get(session, name)
            key = await _rotate(session, stream)
        await self.forget_first_key(name)
        return NewKey(stream, key)

    async def forget_first_key(self, name: str) -> None:
        """The key from the first start is no more; nothing when it was another stream's."""
        await asyncio.to_thread(self._first_key.forget, name)

    async def provision(self, bootstrap: Sequence[BootstrapStream]) -> None:
        """Makes what must exist after a start: the streams asked for or, at the very first start, `main`.

        Raises:
            BootstrapKeyTakenError: One of them has been renamed, and its key is that of the stream with the old name.
        """
        async with self._database.session() as session:
            first_start = await session.get(Installation, 1) is None
            found = await session.execute(select(Stream.key_hash, Stream.name))
            by_key = {row.key_hash: row.name for row in found}
            existing = set(by_key.values())
            for wanted in bootstrap:
                if wanted.name not in existing:
                    if (other := by_key.get(hash_key(wanted.key))) is not None:
                        raise BootstrapKeyTakenError(wanted.name, other)
                    session.add(_stream(wanted.name, "", wanted.key))
                    log.info("stream_created", stream=wanted.name, by="bootstrap")
                    if len(wanted.key) < SHORT_KEY:
                        log.warning(
                            "stream_key_short", stream=wanted.name, advice=f"use {SHORT_KEY} characters or more"
                        )
            if first_start:
                session.add(Installation(id=1, provisioned_at=datetime.now(UTC)))
                if not bootstrap and not existing:
                    key = new_key()
                    session.add(_stream(FIRST_STREAM, "", key))
                    # Before the commit: a crash in between leaves a file that the next start writes again.
                    await asyncio.to_thread(self._first_key.write, FIRST_STREAM, key)
                    log.info("stream_created", stream=FIRST_STREAM, by="first_start")


# Of a stream joined with its owner, if it has one.
_OWNER_MAY_PUBLISH = or_(
    Stream.owner_id.is_(None), and_(User.disabled.is_(False), User.role.in_(("admin", "streamer")))
)


def _with_owner(*columns: Any) -> Select[Any]:
    return select(*columns).select_from(Stream).outerjoin(User, Stream.owner_id == User.id)


async def take_from_owner(session: AsyncSession, stream: Stream) -> None:
    """Leaves the owner nothing that opens the stream: neither its key nor its playback tokens."""
    await _rotate(session, stream)
    new_playback_key(stream)
    stream.owner_id = None


def new_playback_key(stream: Stream) -> None:
    """Makes every playback token of the stream void."""
    stream.playback_key = secrets.token_bytes(PLAYBACK_KEY_BYTES)


def _stream(name: str, title: str, key: str) -> Stream:
    now = datetime.now(UTC)
    return Stream(name=name, title=title, key_hash=hash_key(key), created_at=now, key_created_at=now)


async def _get(session: AsyncSession, name: str) -> Stream:
    stream = await session.scalar(select(Stream).where(Stream.name == name).with_for_update())
    if stream is None:
        raise StreamUnknownError(name)
    return stream


async def _rotate(session: AsyncSession, stream: Stream) -> str:
    """Gives the stream a new key, which it returns; the old one is retired."""
    key = new_key()
    await _retire(session, stream, "rotated")
    stream.key_hash = hash_key(key)
    stream.key_created_at = datetime.now(UTC)
    return key


async def _retire(session: AsyncSession, stream: Stream, reason: str) -> None:
    """Remembers a key that is about to go, for a while and only so many of each stream."""
    now = datetime.now(UTC)
    mine = RetiredKey.stream == stream.name
    newest = select(RetiredKey.id).where(mine).order_by(RetiredKey.id.desc()).limit(MAX_RETIRED_KEYS - 1)
    kept = (await session.scalars(newest)).all()
    await session.execute(
        delete(RetiredKey).where(
            or_(
                RetiredKey.retired_at < now - REMEMBERED,
                RetiredKey.key_hash == stream.key_hash,
                and_(mine, RetiredKey.id.not_in(kept)),
            )
        )
    )
    session.add(RetiredKey(key_hash=stream.key_hash, stream=stream.name, reason=reason, retired_at=now))
